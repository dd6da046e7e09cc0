"""Asking name servers, without a socket: what the shell's `telephony.service.names` drives.

- `resolver`: questions, their exchanges with name servers, the cache.
- `codec`: messages of DNS, by dnspython; imported by the shell when the first name is asked for.
- `system`: what ``/etc/resolv.conf`` and ``/etc/hosts`` say.

What is asked, and what the answers mean for SIP, is `telephony.sip.resolution`.
"""
