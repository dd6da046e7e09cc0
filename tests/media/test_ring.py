"""Many sockets at once, with a ring and without: the same datagrams, in the same order."""

import socket

import numpy as np
import pytest

from media.datagrams import RING_SOCKETS_MIN, Inbox, Outbox, pointers
from media.ring import Ring
from tests.media.phone import drain

COUNT = 2 * RING_SOCKETS_MIN


def udp() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    made.bind(("127.0.0.1", 0))
    return made


@pytest.mark.parametrize("with_ring", [True, False])
def test_what_waits_at_many_sockets_is_taken_and_sent_back(with_ring: bool) -> None:
    ring = Ring.open(256) if with_ring else None
    if with_ring and ring is None:
        pytest.skip("waits for a host that allows io_uring")
    inbox, outbox = Inbox(ring), Outbox(ring)
    peer, own = udp(), [udp() for _ in range(COUNT)]
    fds = np.array([each.fileno() for each in own], np.int32)
    try:
        for turn in range(300):
            silent = {turn % COUNT, (turn * 7) % COUNT} if turn % 2 else set()
            for number, each in enumerate(own):
                if number not in silent:
                    peer.sendto(b"%d %d" % (turn, number), each.getsockname())
            served = inbox.receive_each(fds, 3)
            assert served.tolist() == [fd for number, fd in enumerate(fds) if number not in silent]
            rows = range(3, 3 + len(served))
            said = [inbox.data[row, : inbox.length[row]].tobytes() for row in rows]
            assert said == [b"%d %d" % (turn, number) for number in range(COUNT) if number not in silent]
            inbox.size[rows] = inbox.length[rows]
            outbox.load(pointers(inbox.address)[rows], inbox.iov[rows], 1)
            outbox.send_each(served)
            inbox.rewind()
            assert drain(peer) == said
        assert outbox.unsent == 0
        assert ring is None or ring.works
        outbox.load(np.zeros(COUNT, np.uint64), inbox.iov[:COUNT], 1)
        outbox.send_each(fds)
        assert outbox.unsent == COUNT, "without an address nothing goes out, and each is counted"
    finally:
        for each in (peer, *own):
            each.close()
        if ring is not None:
            ring.close()


def test_a_ring_that_fails_is_not_used_again() -> None:
    ring = Ring.open(256)
    if ring is None:
        pytest.skip("waits for a host that allows io_uring")
    ring.close()
    ring.works = True  # as one that the kernel refuses from now on
    outbox = Outbox(ring)
    peer, own = udp(), [udp() for _ in range(COUNT)]
    inbox = Inbox()
    try:
        own[0].sendto(b"here", own[1].getsockname())
        peer.sendto(b"from", own[2].getsockname())
        assert inbox.receive_each(np.array([own[2].fileno()], np.int32), 0).tolist() == [own[2].fileno()]
        inbox.size[0] = 4
        for expected in (0, COUNT):
            outbox.load(np.repeat(pointers(inbox.address)[:1], COUNT), np.repeat(inbox.iov[:1], COUNT), 1)
            outbox.send_each(np.array([each.fileno() for each in own], np.int32))
            assert len(drain(peer)) == expected
            assert not ring.works
        assert outbox.unsent == COUNT
    finally:
        for each in (peer, *own):
            each.close()
