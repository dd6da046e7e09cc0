"""Challenges that every phone in use can answer, and answers that are taken once (RFC 7616, RFC 8760)."""

import pytest

from telephony.proxy.authentication import MD5_ALONE, Authentication, Checked
from telephony.sip.digest import Credentials, answer, ha1
from telephony.sip.message import Message, make_request

REALM = "hotswitch"
SECRET = b"k" * 32
ALICE = Credentials("alice", "secret")
USERS = {"alice": {algorithm: ha1("alice", REALM, "secret", algorithm) for algorithm in ("MD5", "SHA-256", "SHA-512-256")}}
NOW = 1_800_000_000.0


def request(authorization: str | None, body: bytes = b"") -> Message:
    headers = [
        ("Via", "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1"), ("From", "<sip:alice@hotswitch>;tag=1"), ("To", "<sip:alice@hotswitch>"),
        ("Call-ID", "1"), ("CSeq", "1 MESSAGE"),
    ]  # fmt: skip
    if authorization is not None:
        headers.append(("Authorization", authorization))
    return make_request("MESSAGE", "sip:hotswitch", headers, body)


def check(authentication: Authentication, authorization: str | None, body: bytes = b"") -> Checked:
    return authentication.check(request(authorization, body), "authorization", NOW, lambda user: False)


def algorithms(values: list[str]) -> list[str]:
    return [value.rpartition("algorithm=")[2] for value in values]


def test_md5_comes_first_and_better_ones_below() -> None:
    authentication = Authentication(REALM, USERS, SECRET)
    assert algorithms(authentication.challenges(NOW, False)) == ["MD5", "SHA-256"]
    assert algorithms(authentication.challenges(NOW, True, "JsSIP 3.10")) == ["MD5", "SHA-256"]
    for agent in MD5_ALONE:
        assert algorithms(authentication.challenges(NOW, False, f"{agent}.0.0 (x86_64/linux)")) == ["MD5"]
    assert algorithms(Authentication(REALM, USERS, SECRET, ("SHA-512-256", "MD5")).challenges(NOW, False)) == ["SHA-512-256", "MD5"]


@pytest.mark.parametrize("offered", [("MD5",), ("SHA-256",), ("SHA-512-256",), ("MD5", "SHA-256", "SHA-512-256")])
def test_every_algorithm_proves_the_secret(offered: tuple[str, ...]) -> None:
    authentication = Authentication(REALM, USERS, SECRET, offered)
    values = authentication.challenges(NOW, False)
    proof = answer(values, ALICE, "MESSAGE", "sip:hotswitch", "c")
    assert check(authentication, proof) == Checked("alice")
    values = [value.replace('qop="auth"', 'qop="auth-int"') for value in authentication.challenges(NOW, False)]
    proof = answer(values, ALICE, "MESSAGE", "sip:hotswitch", "c", body=b"hi")
    assert check(authentication, proof, b"ho") == Checked("", False, "alice")
    assert check(authentication, proof, b"hi") == Checked("alice")


def test_what_was_recorded_is_worth_nothing_here_or_elsewhere() -> None:
    first, second = Authentication(REALM, USERS, SECRET), Authentication(REALM, USERS, SECRET)
    proof = answer(first.challenges(NOW, False), ALICE, "MESSAGE", "sip:hotswitch", "c")
    assert check(second, proof) == Checked("", True, ""), "another proxy's: stale, and nothing has failed"
    assert check(first, proof) == Checked("alice")
    assert check(first, proof) == Checked("", True, "")
    later = answer(first.challenges(NOW, False), ALICE, "MESSAGE", "sip:hotswitch", "c", count=2)
    assert check(first, later) == Checked("alice")
    earlier = answer(first.challenges(NOW, False), ALICE, "MESSAGE", "sip:hotswitch", "c", count=0)
    assert check(first, earlier) == Checked("", True, "")
    assert check(second, (proof or "").replace("alice", "bob")) == Checked("", False, "bob"), "a wrong secret is one everywhere"
