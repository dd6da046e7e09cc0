"""A SIP and RTP load generator, and benchmarks: an ordinary user of the cores."""
