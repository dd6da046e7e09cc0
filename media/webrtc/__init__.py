"""What a browser's leg needs before its first packet of RTP: ICE (RFC 8445) and keys by DTLS (RFC 5763, 5764)."""
