"""The one shell of all services: sockets, timers, jobs, configuration swap (DESIGN.md section 1).

``main(["KIND", "ID"])`` runs one service until its agent says stop, and returns the exit code. The same by hand, with
the agent's side of the contract played by somebody else: ``python -m telephony.service KIND ID``.

- `loop`: one epoll loop; no asyncio.
- `datagrams`, `streams`: SIP over UDP, and over connections; `channel`, `secure`, `websocket`: what is between bytes and messages there.
- `jobs`: the ZeroMQ sockets of a `telephony.jobs.participant.Participant`.
- `agent`: descriptors and environment that the agent hands over, its socket, systemd's notifications.
- `running`: a core with its sockets; `shell`: the process.
"""

COMPILED_KINDS = ("proxy", "call_router")
"""Kinds that work on SIP: they take the compiled core where there is one (`telephony.compiled`)."""


def main(arguments: list[str]) -> int:
    """Run the service ``arguments[0]`` (its kind) under the id ``arguments[1]``; returns 0, or 2 for wrong use."""
    if arguments and arguments[0] in COMPILED_KINDS:
        from telephony import compiled

        compiled.enable()
    from telephony.service.shell import run

    return run(arguments)
