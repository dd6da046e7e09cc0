"""Sockets of legs pass to a standby while they are open."""

import os
import socket

from media.handover import ROUND_MESSAGES_MAX, Giver, Taker


def ends() -> tuple[Giver, Taker, socket.socket]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return Giver(ours.detach()), Taker(theirs.fileno()), theirs


def udp() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind(("127.0.0.1", 0))
    return made


def test_what_is_open_is_there_and_what_was_shut_is_not() -> None:
    giver, taker, theirs = ends()
    first, second = (udp(), udp()), (udp(), udp())
    pairs = {100: (first[0].fileno(), first[1].fileno()), 102: (second[0].fileno(), second[1].fileno())}
    giver.opened(100)
    giver.opened(102)
    giver.opened(104)  # shut again before it was said
    giver.shut(104)
    giver.say(pairs)
    assert not giver
    assert taker.hear()
    assert sorted(taker.pairs) == [100, 102]
    assert [os.fstat(each.fileno()).st_ino for each in taker.pairs[100]] == [os.fstat(each.fileno()).st_ino for each in first]
    giver.shut(100)
    giver.say(pairs)
    assert taker.hear()
    assert sorted(taker.pairs) == [102]
    giver.close()
    assert not taker.hear(), "the giver is gone; what it gave is kept"
    assert sorted(taker.pairs) == [102]
    taker.close()
    assert taker.pairs == {}
    theirs.close()
    for each in (*first, *second):
        each.close()


def test_one_that_does_not_listen_is_not_waited_for() -> None:
    giver, taker, theirs = ends()
    pair = (udp(), udp())
    pairs = {port: (pair[0].fileno(), pair[1].fileno()) for port in range(0, 4000, 2)}
    for port in pairs:
        giver.opened(port)
    for _ in range(len(pairs) // ROUND_MESSAGES_MAX + 1):
        giver.say(pairs)
    assert giver, "the kernel does not take all of it"
    while giver:
        assert taker.hear()
        giver.say(pairs)
    assert taker.hear()
    assert sorted(taker.pairs) == sorted(pairs)
    taker.close()
    theirs.close()
    giver.opened(1)
    giver.say({1: (pair[0].fileno(), pair[1].fileno())})
    assert not giver, "nobody is there any more"
    giver.close()
    for each in pair:
        each.close()


def test_noise_is_the_end() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    taker = Taker(theirs.fileno())
    ours.send(b"xy")
    assert not taker.hear()
    taker.close()
    ours.close()
    theirs.close()
