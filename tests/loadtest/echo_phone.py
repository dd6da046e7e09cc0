"""A phone that answers everything and sends back what it hears: the other end of a test call, made of the same cores."""

import contextlib
import select
import socket
import threading
import time
from types import TracebackType

from loadtest.description import agreed, offer
from telephony.effects import Send
from telephony.sip.endpoint import Endpoint
from telephony.sip.events import InviteReceived
from telephony.sip.flow import Flow


class EchoPhone:
    """Answers on ``port`` of 127.0.0.1 (UDP) in a thread of its own, until it is left.

    Every ``lose``-th packet is lost; ``status`` other than 200 refuses calls.
    """

    def __init__(self, *, lose: int = 0, status: int = 200, silent: bool = False) -> None:
        self._sip = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sip.bind(("127.0.0.1", 0))
        self._rtp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._rtp.bind(("127.0.0.1", 0))
        self._wake, self._woken = socket.socketpair()
        self.port: int = self._sip.getsockname()[1]
        self._endpoint = Endpoint(f"127.0.0.1:{self.port}")
        self._lose, self._status, self._silent = lose, status, silent
        self._count = 0
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "EchoPhone":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._wake.close()
        self._thread.join()
        for one in (self._sip, self._rtp, self._woken):
            one.close()

    def _run(self) -> None:
        while True:
            due = self._endpoint.deadline()
            wait = None if due is None else max(due - time.monotonic(), 0.0)
            ready, _, _ = select.select([self._sip, self._rtp, self._woken], [], [], wait)
            if self._woken in ready:
                return
            if self._sip in ready:
                with contextlib.suppress(ConnectionError):
                    data, (host, port) = self._sip.recvfrom(65535)
                    self._endpoint.receive(data, Flow("udp", "line", host, port), time.monotonic())
            if self._rtp in ready:
                with contextlib.suppress(ConnectionError):
                    self._echo(*self._rtp.recvfrom(2048))
            self._endpoint.timeout(time.monotonic())
            self._do()

    def _echo(self, data: bytes, address: tuple[str, int]) -> None:
        self._count += 1
        if not self._silent and (not self._lose or self._count % self._lose):
            self._rtp.sendto(data, address)

    def _do(self) -> None:
        while effects := self._endpoint.take():
            for effect in effects:
                if isinstance(effect, Send):
                    self._sip.sendto(effect.data, (effect.flow.host, effect.flow.port))
                elif isinstance(effect, InviteReceived):
                    now = time.monotonic()
                    if self._status != 200:
                        effect.session.reject(self._status, now=now)
                        continue
                    wanted = agreed(effect.message.body)
                    assert wanted is not None
                    effect.session.progress(180, now=now)
                    effect.session.accept(offer("127.0.0.1", self._rtp.getsockname()[1], (wanted.payload_type,)), now=now)
