"""Where everybody listens: addresses of loopback that nothing else uses."""

KAMAILIO = "127.77.0.1"
OURS = "127.77.0.2"
FLOOR = "127.77.0.3"
BESIDE = "127.77.0.6"
"""Another working copy of ours."""
SHARDS = "127.77.0.5"
"""Two processes of ours on one address."""
COMPILED = "127.77.0.7"
"""This one with its core compiled."""
RTPENGINE = "127.77.0.4"
JANUS = "127.0.0.1"
"""Janus binds only addresses that an interface shows."""
CALLER = "127.77.0.8"
CALLEE = "127.77.0.9"
GENERATOR = "127.77.0.10"
"""RTP load."""

SIP_PORT = 5060
INNER_PORT = 5062
"""Our proxy's own address, that faces routers."""
SECOND_INNER_PORT = 5063
"""The same of the second of two that share a public address."""
CALLEE_PORT = 5070
CALLER_PORT = 5080
