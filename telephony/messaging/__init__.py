"""The messaging platform: pager-mode messages between users (RFC 3428).

- `delivery`: what a call router of this platform does with MESSAGE.
"""

SERVICES = ("proxy", "call_router", "load_balancer", "routing", "resource_database")
"""Kinds of services that the platform is made of."""
