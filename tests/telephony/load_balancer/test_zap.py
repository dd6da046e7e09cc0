"""Who is let in."""

import pytest
import zmq
from zmq.utils import z85 as reference

from telephony.load_balancer.zap import WAIT_SECONDS, WAITING_MAX, Doorkeeper, z85

KEY = bytes(range(32))


def request(key: bytes, mechanism: bytes = b"CURVE", domain: bytes = b"jobs", address: bytes = b"a") -> list[bytes]:
    return [address, b"", b"1.0", b"1", domain, b"127.0.0.1", b"", mechanism, key]


def test_keys_are_written_as_zeromq_does() -> None:
    for _ in range(20):
        public, _ = zmq.curve_keypair()
        assert z85(reference.decode(public)) == public.decode()
    with pytest.raises(ValueError, match="32 bytes"):
        z85(b"short")


def test_a_known_key_is_let_in_as_its_service() -> None:
    door = Doorkeeper()
    door.configure({z85(KEY): "router-1"}, 0.0)
    door.request(request(KEY), 0.0)
    assert door.take() == [[b"a", b"", b"1.0", b"1", b"200", b"", b"router-1", b""]]
    assert door.knows("router-1")
    assert not door.knows("router-2")


def test_an_unknown_key_waits_and_is_turned_away() -> None:
    door = Doorkeeper()
    door.request(request(KEY), 10.0)
    assert door.take() == []
    assert door.deadline() == 10.0 + WAIT_SECONDS
    door.timeout(10.0 + WAIT_SECONDS)
    assert [frames[4] for frames in door.take()] == [b"300"]
    assert door.deadline() is None
    assert door.refused == 1


def test_a_key_that_is_listed_meanwhile_is_let_in_at_once() -> None:
    door = Doorkeeper()
    door.request(request(KEY), 10.0)
    door.configure({z85(KEY): "media-1"}, 10.3)
    assert [frames[4:7] for frames in door.take()] == [[b"200", b"", b"media-1"]]


@pytest.mark.parametrize("wrong", [{"mechanism": b"NULL"}, {"mechanism": b"PLAIN"}, {"domain": b"other"}])
def test_another_mechanism_or_domain_is_refused(wrong: dict[str, bytes]) -> None:
    door = Doorkeeper()
    door.configure({z85(KEY): "router-1"}, 0.0)
    door.request(request(KEY, **wrong), 0.0)
    assert [frames[4] for frames in door.take()] == [b"400"]


def test_only_so_many_wait() -> None:
    door = Doorkeeper()
    for number in range(WAITING_MAX + 3):
        door.request(request(KEY, address=b"%d" % number), 0.0)
    assert [frames[4] for frames in door.take()] == [b"300"] * 3


def test_what_is_no_request_is_ignored() -> None:
    door = Doorkeeper()
    door.request([], 0.0)
    door.request([b"a", b"", b"2.0", b"1", b"jobs", b"", b"", b"CURVE", KEY], 0.0)
    assert door.take() == []
