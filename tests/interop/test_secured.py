"""Phones that encrypt media and one that does not hear each other."""

import re
from pathlib import Path

import pytest

from tests.cluster.running import Running
from tests.interop.baresip import Baresip
from tests.interop.test_phones import FIRST, SECOND, hears, talk


def answer(phone: Baresip) -> str:
    """The response that its INVITE was answered with."""
    messages = phone.log().split("\x1b[;m")
    return next(each for each in messages if "SIP/2.0 200 OK" in each and " INVITE\n" in each and "m=audio" in each)


@pytest.mark.parametrize(
    ("security", "protocol", "said"),
    [
        ("srtp", "RTP/AVP", "a=crypto:"),
        ("srtp-mand", "RTP/SAVP", "a=crypto:"),
        ("dtls_srtp", "UDP/TLS/RTP/SAVP", "a=fingerprint:sha-256 "),
    ],
)
def test_a_phone_that_encrypts_and_one_that_does_not(cluster: Running, tmp_path: Path, security: str, protocol: str, said: str) -> None:
    first = Baresip(tmp_path, "1001", server=cluster.sip, password=cluster.users["1001"], tone=FIRST, security=security)
    second = Baresip(tmp_path, "1002", server=cluster.sip, password=cluster.users["1002"], tone=SECOND)
    with first, second:
        first.dial(f"sip:1002@{cluster.sip}")
        first.wait("CALL_ESTABLISHED")
        second.wait("CALL_ESTABLISHED")
        talk(first)
        talk(second)
        second.hang_up()
        first.wait("CALL_CLOSED")
        second.wait("CALL_CLOSED")
        hears(first, SECOND)
        hears(second, FIRST)
        assert re.search(rf"m=audio \d+ {protocol}F? 0", answer(first))
        assert said in answer(first)
