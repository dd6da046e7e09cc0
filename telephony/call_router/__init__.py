"""The call router: a back-to-back user agent that asks dependents what to do (RFC 7092 section 3.2.1).

- `core`: its place in the shell: SIP endpoint, jobs, drain.
- `desk`: what the behaviour of a platform works with.
- `ledger`: calls that outlive its process.
- `failure`: what goes wrong elsewhere, as SIP statuses.

What it does with a request is the platform's matter: `telephony.voice`, `telephony.messaging`.
"""
