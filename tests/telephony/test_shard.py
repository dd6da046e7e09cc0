"""The kernel and `shard_of` agree on who hears whom."""

import socket
from collections import Counter

import pytest

from telephony.shard import shard_of, steer


def group(host: str, count: int) -> list[socket.socket]:
    """Sockets of one address, steered."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound: list[socket.socket] = []
    for _ in range(count):
        one = socket.socket(family, socket.SOCK_DGRAM)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        one.bind((host, bound[0].getsockname()[1] if bound else 0))
        one.setblocking(False)
        bound.append(one)
    steer(bound[0], count, family == socket.AF_INET6)
    return bound


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_each_peer_is_heard_by_one_socket(host: str, count: int) -> None:
    sockets = group(host, count)
    heard: Counter[int] = Counter()
    for number in range(60):
        with socket.socket(sockets[0].family, socket.SOCK_DGRAM) as peer:
            peer.bind((host if ":" in host else f"127.0.{number}.{number + 1}", 0))
            expected = shard_of(*peer.getsockname()[:2], count)
            for data in (b"one", b"two"):
                peer.sendto(data, sockets[0].getsockname())
            assert [sockets[expected].recv(10) for _ in range(2)] == [b"one", b"two"]
            heard[expected] += 1
    assert len(heard) == count
    for one in sockets:
        one.close()


def test_shares_are_even() -> None:
    for count in (2, 4):
        shares = Counter(shard_of(f"10.1.{number % 200}.{number % 250}", 5060 + number % 7, count) for number in range(10_000))
        assert max(shares.values()) < 1.15 * min(shares.values())
        ports = Counter(shard_of("192.0.2.1", port, count) for port in range(1024, 65536, 9))
        assert max(ports.values()) < 1.15 * min(ports.values())
