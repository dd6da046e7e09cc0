"""SRTP (RFC 3711): the library, the crypto suites, keys in SDP (RFC 4568), and protection of a whole batch of packets."""
