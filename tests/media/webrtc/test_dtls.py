"""Associations joined directly: keys on both sides, and what may go wrong."""

import time

import numpy as np
import pytest

from media.webrtc import certificate
from media.webrtc.certificate import Certificate
from media.webrtc.dtls import DATAGRAM_BYTES_MAX, Association

IDENTITY = 2048


@pytest.fixture(scope="module")
def certificates() -> tuple[Certificate, Certificate]:
    return certificate.load(np.zeros(IDENTITY, np.uint8)), certificate.load(np.zeros(IDENTITY, np.uint8))


def sides(certificates: tuple[Certificate, Certificate], one_wants: str = "", other_wants: str = "") -> tuple[Association, Association]:
    one, other = certificates
    return (
        Association(one, client=True, fingerprints=[("sha-256", one_wants or other.fingerprint)]),
        Association(other, client=False, fingerprints=[("sha-256", other_wants or one.fingerprint)]),
    )


def shake(one: Association, other: Association, flight: list[bytes]) -> None:
    to, away = other, one
    while flight:
        assert all(len(data) <= DATAGRAM_BYTES_MAX for data in flight)
        flight = [answer for data in flight for answer in to.receive(data)]
        to, away = away, to


def test_both_sides_come_to_the_same_keys(certificates: tuple[Certificate, Certificate]) -> None:
    one, other = sides(certificates)
    shake(one, other, one.start())
    assert one.keys and other.keys
    assert one.keys.suite.name == "AEAD_AES_128_GCM"
    assert (one.keys.inward, one.keys.outward) == (other.keys.outward, other.keys.inward)
    assert len(one.keys.inward) == one.keys.suite.key_bytes and one.keys.inward != one.keys.outward


def test_another_certificate_than_the_description_names_is_refused(certificates: tuple[Certificate, Certificate]) -> None:
    one, other = sides(certificates, other_wants="AB:CD")
    shake(one, other, one.start())
    assert other.keys is None and "fingerprint" in other.failed
    one, other = sides(certificates)
    one._fingerprints = [("sha-256", certificates[1].fingerprint), ("sha-512", "00:11")]
    shake(one, other, one.start())
    assert one.keys is None  # the strongest function decides


def test_junk_between_flights_changes_nothing(certificates: tuple[Certificate, Certificate]) -> None:
    one, other = sides(certificates)
    flight = one.start()
    for junk in (b"\x16", b"\x16\xfe\xfd" + bytes(40), b"\x14\xfe\xff" + b"\xff" * 30, flight[0][:50]):
        other.receive(junk)
        one.receive(junk)
    shake(one, other, flight)
    assert one.keys and other.keys
    for junk in (b"\x15\xfe\xfd" + bytes(30), b"\x17" * 100):
        assert one.receive(junk) == []
    assert not one.failed


def test_a_flight_that_was_lost_is_sent_again(certificates: tuple[Certificate, Certificate]) -> None:
    one, other = sides(certificates)
    assert one.start()  # lost
    deadline = time.monotonic() + 5.0
    flight: list[bytes] = []
    while not flight and time.monotonic() < deadline:
        wait = one.wait_seconds()
        assert wait is not None
        time.sleep(wait)
        flight = one.timeout()
    shake(one, other, flight)
    assert one.keys and other.keys


def test_the_certificate_stays_in_its_memory() -> None:
    memory = np.zeros(IDENTITY, np.uint8)
    first = certificate.load(memory)
    assert certificate.load(memory).fingerprint == first.fingerprint
    memory[20] ^= 1  # what was not written whole counts for nothing
    assert certificate.load(memory).fingerprint != first.fingerprint
