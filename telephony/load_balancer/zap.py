"""Who may connect to a load balancer: the ZAP handler without a socket (ZeroMQ RFC 27).

Rules:
- A CURVE client whose public key the configuration lists is let in as the service that the key belongs to.
- Another one is kept waiting for `WAIT_SECONDS`, since a service often connects a moment before the balancer's list has it;
  the list that names it lets it in at once. Then it is turned away with 300 (try later), silently: its
  handshake times out and it may try again.
- Any other mechanism is refused with 400.

Bound: `WAITING_MAX` wait; beyond that the unknown are turned away at once.
"""

import binascii
from typing import NamedTuple

WAIT_SECONDS = 0.8
WAITING_MAX = 256
DOMAIN = b"jobs"

_Z85 = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"


def z85(key: bytes) -> str:
    """A CURVE key of 32 bytes as 40 printable characters (ZeroMQ RFC 32).

    Raises:
        ValueError: not 32 bytes.
    """
    if len(key) != 32:
        raise ValueError(f"a CURVE key has 32 bytes, this one {len(key)}")
    text = bytearray()
    for start in range(0, 32, 4):
        number = int(binascii.hexlify(key[start : start + 4]), 16)
        text += bytes(_Z85[number // 85**power % 85] for power in (4, 3, 2, 1, 0))
    return text.decode()


class _Waiting(NamedTuple):
    address: bytes
    """Routing frame of the request: where the reply goes."""
    request: bytes
    key: str
    until: float


class Doorkeeper:
    """Answers ZAP requests from a list of keys."""

    def __init__(self) -> None:
        self._services: dict[str, str] = {}
        self._waiting: list[_Waiting] = []
        self._replies: list[list[bytes]] = []
        self.refused = 0
        """Connections turned away so far."""

    def configure(self, services: dict[str, str], now: float) -> None:
        """Take the keys that are let in: public key (Z85) to service id."""
        self._services = services
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            self._decide(one, now)

    def knows(self, service: str) -> bool:
        """Whether the service may be connected."""
        return service in self._services.values()

    def request(self, frames: list[bytes], now: float) -> None:
        """One request, frames as received by a ROUTER: address, empty, version, request id, domain, peer's address, identity,
        mechanism, credentials. What is malformed is ignored: only libzmq itself can be its sender."""
        if len(frames) < 8 or frames[2] != b"1.0":
            return
        if frames[7] != b"CURVE" or len(frames) != 9 or len(frames[8]) != 32 or frames[4] != DOMAIN:
            self._reply(frames[0], frames[3], b"400", b"")
            return
        self._decide(_Waiting(frames[0], frames[3], z85(frames[8]), now + WAIT_SECONDS), now)

    def timeout(self, now: float) -> None:
        """Turn away who has waited long enough."""
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            self._decide(one, now)

    def deadline(self) -> float | None:
        """When `timeout` is wanted next."""
        return self._waiting[0].until if self._waiting else None

    def take(self) -> list[list[bytes]]:
        """Replies to send, in frames."""
        replies, self._replies = self._replies, []
        return replies

    def _decide(self, one: _Waiting, now: float) -> None:
        service = self._services.get(one.key)
        if service is not None:
            self._reply(one.address, one.request, b"200", service.encode())
        elif now < one.until and len(self._waiting) < WAITING_MAX:
            self._waiting.append(one)
        else:
            self.refused += 1
            self._reply(one.address, one.request, b"300", b"")

    def _reply(self, address: bytes, request: bytes, status: bytes, user: bytes) -> None:
        self._replies.append([address, b"", b"1.0", request, status, b"", user, b""])
