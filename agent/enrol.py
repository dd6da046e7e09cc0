"""How a machine joins: asks the controller, through the broker, until it is answered. Blocking; before anything else runs."""

import os
import random
import socket
import time
from collections.abc import Callable

import zmq

from agent.log import Log
from agent.trust import Trust
from agent.wire.enrolment import AnswerError, EnrolmentBody, EnrolmentError, make_request, read_answer
from agent.wire.keys import MachineKeys
from agent.wire.link import connect_enrolment
from agent.wire.token import JoinToken

ASK_SECONDS_FIRST = 0.5
ASK_SECONDS_MAX = 10.0
LOOK_MILLISECONDS = 100
"""How often it is looked whether this machine shall stop."""


def describe(token: JoinToken, keys: MachineKeys, name: str, host: str) -> EnrolmentBody:
    """What this machine says of itself."""
    from agent.wire.archive import bytecode_tag

    return EnrolmentBody(
        cluster=token.cluster,
        role=token.role,
        identity=keys.identity.public,
        security=keys.security.public,
        transport=keys.transport.public,
        name=name or socket.gethostname(),
        host=host,
        cores=os.cpu_count() or 1,
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        python=bytecode_tag(),
        nonce=os.urandom(16),
    )


def enrol(
    context: "zmq.Context[zmq.Socket[bytes]]",
    token: JoinToken,
    keys: MachineKeys,
    name: str,
    host: str,
    log: Log,
    stopped: Callable[[], bool],
) -> Trust | None:
    """Join; returns what to trust from then on; None: ``stopped`` was true first. Waits for as long as nobody answers, one broker
    after the other.

    Raises:
        EnrolmentError: the controller refuses.
    """
    request = make_request(token, keys, describe(token, keys, name, host))
    pause = ASK_SECONDS_FIRST
    attempt = 0
    while True:
        broker = token.brokers[attempt % len(token.brokers)]
        newcomer = connect_enrolment(context, broker)
        try:
            newcomer.send(request)
            until = time.monotonic() + pause * (1 + 0.25 * random.random())
            while (left := until - time.monotonic()) > 0:
                if stopped():
                    return None
                if not newcomer.poll(min(int(left * 1000) + 1, LOOK_MILLISECONDS)):
                    continue
                frames = newcomer.recv_multipart()
                try:
                    answer = read_answer(frames[-1], request, token, keys)
                except AnswerError as error:
                    log.say("agent", f"enrolment: answer ignored: {error}")
                    continue
                return Trust.of_token(token, answer.machine)
        finally:
            newcomer.close(0)
        attempt += 1
        if attempt in (3, 10) or attempt % 60 == 0:
            log.say("agent", f"enrolment: no answer yet through {broker.enrol}")
        pause = min(pause * 1.5, ASK_SECONDS_MAX)


__all__ = ["EnrolmentError", "describe", "enrol"]
