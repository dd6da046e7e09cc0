"""A proxy without manners: transactions kept, routes recorded, 100 sent, 100 taken, retransmissions absorbed. Nothing else.

No authentication, no CANCEL, no checks, one destination, one timer, one socket: the floor of what a proxy in plain CPython costs.
``python -m loadtest.bench.floor_proxy HOST PORT CALLEE_HOST CALLEE_PORT``; runs until it is ended.
"""

import heapq
import select
import socket
import sys
import time
from typing import NoReturn

from loadtest.bench.floor_message import FloorMessage, parameter

BUFFER_BYTES = 4 << 20
BATCH = 64
RETRANSMIT_SECONDS = 0.5
LINGER_SECONDS = 4.5

Address = tuple[str, int]


class Transaction:
    __slots__ = ("branch", "key", "last", "request", "source", "state", "target")

    def __init__(self, source: Address, key: tuple[str, str], request: bytes, target: Address, branch: str) -> None:
        self.source, self.key, self.request, self.target, self.branch = source, key, request, target, branch
        self.last = b""
        self.state = 0


class FloorProxy:
    """One socket, one callee."""

    def __init__(self, host: str, port: int, callee: Address) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        self.socket.bind((host, port))
        self.socket.setblocking(False)
        self._callee = callee
        self._via = f"Via: SIP/2.0/UDP {host}:{port};branch=z9hG4bK"
        self._record_route = f"Record-Route: <sip:{host}:{port};lr>"
        self._client: dict[str, Transaction] = {}
        self._server: dict[tuple[str, str], Transaction] = {}
        self._wheel: list[tuple[float, int, Transaction]] = []
        self._out: list[tuple[bytes, Address]] = []
        self._count = 0

    def request(self, message: FloorMessage, source: Address, now: float) -> None:
        lines, index, method = message.lines, message.index, message.method
        via, cseq = message.get("via"), message.get("cseq")
        key = (parameter(via, "branch"), method)
        known = self._server.get(key)
        if known is not None:
            if known.last:
                self._out.append((known.last, source))
            return
        if (at := index.get("max-forwards")) is not None:
            lines[at] = f"Max-Forwards: {int(message.get('max-forwards')) - 1}"
        target, route = self._callee, index.get("route")
        if route is not None:
            host, _, port = message.uri[4:].rpartition("@")[2].partition(";")[0].partition(":")
            target = (host, int(port or 5060))
        self._count += 1
        branch, top = f"{self._count:x}", index["via"]
        own = f"{self._via}{branch}\r\n{lines[top]}"
        lines[top] = f"{self._record_route}\r\n{own}" if method == "INVITE" else own
        if route is not None:
            del lines[route]
        data = message.serialize()
        if method != "ACK":
            transaction = Transaction(source, key, data, target, branch)
            self._server[key] = self._client[branch] = transaction
            heapq.heappush(self._wheel, (now + RETRANSMIT_SECONDS, self._count, transaction))
            if method == "INVITE":
                get = message.get
                transaction.last = (
                    f"SIP/2.0 100 Trying\r\nVia: {via};received={source[0]}\r\nFrom: {get('from')}\r\nTo: {get('to')}\r\n"
                    f"Call-ID: {get('call-id')}\r\nCSeq: {cseq}\r\nContent-Length: 0\r\n\r\n"
                ).encode()
                self._out.append((transaction.last, source))
        self._out.append((data, target))

    def response(self, message: FloorMessage) -> None:
        own, comma, others = message.get("via").partition(",")
        transaction = self._client.get(parameter(own, "branch")[7:])
        if transaction is None or message.status == 100:
            return
        if comma:
            message.lines[message.index["via"]] = f"Via:{others}"
        else:
            del message.lines[message.index["via"]]
        transaction.last = message.serialize()
        if message.status >= 200:
            transaction.state = 2
        self._out.append((transaction.last, transaction.source))

    def timers(self, now: float) -> None:
        wheel = self._wheel
        while wheel and wheel[0][0] <= now:
            _, number, transaction = heapq.heappop(wheel)
            if transaction.state == 0 and not transaction.last:
                transaction.state = 1
                self._out.append((transaction.request, transaction.target))
                heapq.heappush(wheel, (now + RETRANSMIT_SECONDS, number, transaction))
            elif transaction.state < 3:
                transaction.state = 3
                heapq.heappush(wheel, (now + LINGER_SECONDS, number, transaction))
            else:
                self._client.pop(transaction.branch, None)
                self._server.pop(transaction.key, None)

    def turn(self) -> None:
        """Take what waits at the socket, and send what comes of it."""
        now = time.monotonic()
        receive, send = self.socket.recvfrom, self.socket.sendto
        self.timers(now)
        for _ in range(BATCH):
            try:
                data, source = receive(65535)
            except BlockingIOError:
                break
            try:
                message = FloorMessage(data)
                if message.method:
                    self.request(message, source, now)
                else:
                    self.response(message)
            except (ValueError, KeyError):
                continue
        for data, target in self._out:
            send(data, target)
        self._out.clear()


def main(arguments: list[str]) -> NoReturn:
    host, port, callee_host, callee_port = arguments
    proxy = FloorProxy(host, int(port), (callee_host, int(callee_port)))
    poll = select.poll()
    poll.register(proxy.socket, select.POLLIN)
    while True:
        poll.poll(100)
        proxy.turn()


if __name__ == "__main__":
    main(sys.argv[1:])
