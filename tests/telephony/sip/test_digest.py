"""Digest: the examples of RFC 7616, and what must not get through."""

from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from telephony.sip.digest import (
    ALGORITHMS,
    Credentials,
    Nonces,
    answer,
    answer_again,
    challenges,
    fields,
    fields_exactly,
    ha1,
    realm_of,
    verify,
)

MUFASA = Credentials("Mufasa", "Circle of Life")
CHALLENGE = (
    'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm={}, '
    'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
)
CNONCE = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"


@pytest.mark.parametrize(
    ("algorithm", "response"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_example_of_rfc_7616(algorithm: str, response: str) -> None:
    value = answer([CHALLENGE.format(algorithm)], MUFASA, "GET", "/dir/index.html", CNONCE)
    assert value is not None
    given = fields(value)
    assert given is not None
    assert given["response"] == response
    secret = {algorithm: ha1("Mufasa", "http-auth@example.org", "Circle of Life", algorithm)}
    assert verify(given, "GET", secret, "/dir/index.html")
    assert not verify(given, "PUT", secret, "/dir/index.html")
    assert not verify({**given, "nc": "00000002"}, "GET", secret, "/dir/index.html")
    assert not verify(given, "GET", {}, "/dir/index.html")


def test_example_of_rfc_7616_with_sha_512_256() -> None:
    """Section 3.9.2, its response as erratum 4897 has it."""
    challenge = 'Digest realm="api@example.org", qop="auth", algorithm=SHA-512-256, nonce="5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK"'
    doe = Credentials("J\u00e4s\u00f8n Doe", "Secret, or not?")
    given = fields(answer([challenge], doe, "GET", "/doe.json", "NTg6RKcb9boFIAS3KrFK9BGeh+iDa/sm6jUMp2wds69v") or "")
    assert given is not None
    assert given["response"] == "3798d4131c277846293534c3edc11bd8a5e4cdcbff78b05db9d95eeb1cec68a5"


def test_the_best_challenge_is_answered() -> None:
    nonce = Nonces(b"secret").make(1000.0)
    values = challenges("r", nonce, algorithms=("SHA-256", "MD5"))
    assert [value.partition("algorithm=")[2].partition(",")[0] for value in values] == ["SHA-256", "MD5"]
    assert challenges("r", nonce) == values[1:]
    assert "algorithm=SHA-256" in (answer(values, MUFASA, "REGISTER", "sip:r", "c") or "")
    assert "algorithm=MD5" in (answer(values[1:], MUFASA, "REGISTER", "sip:r", "c") or "")
    assert answer(['Basic realm="r"', "Digest realm=unfinished"], MUFASA, "REGISTER", "sip:r", "c") is None
    assert answer(['Digest realm="r", nonce="n", qop="auth-conf"'], MUFASA, "REGISTER", "sip:r", "c") is None


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_auth_int_covers_the_body(algorithm: str) -> None:
    value = answer([f'Digest realm="r", nonce="n", qop="auth-int", algorithm={algorithm}'], MUFASA, "MESSAGE", "sip:r", "c", body=b"hi")
    given = fields(value or "")
    assert given is not None
    secret = {algorithm: ha1("Mufasa", "r", "Circle of Life", algorithm)}
    assert given["qop"] == "auth-int"
    assert verify(given, "MESSAGE", secret, "sip:r", b"hi")
    assert not verify(given, "MESSAGE", secret, "sip:r", b"ho")
    assert not verify({**given, "qop": "auth"}, "MESSAGE", secret, "sip:r", b"hi")


def test_a_client_without_qop() -> None:
    value = answer(['Digest realm="r", nonce="n"'], MUFASA, "REGISTER", "sip:r", "c")
    assert value is not None
    assert "qop" not in value
    given = fields(value)
    assert given is not None
    assert verify(given, "REGISTER", {"MD5": ha1("Mufasa", "r", "Circle of Life", "MD5")}, "sip:r")


def test_names_with_quotes() -> None:
    odd = Credentials('a"b\\c', "pw")
    value = answer(['Digest realm="x\\"y", nonce="n", qop="auth"'], odd, "REGISTER", "sip:r", "c")
    given = fields(value or "")
    assert given is not None
    assert given["username"] == 'a"b\\c'
    assert given["realm"] == 'x"y'
    assert verify(given, "REGISTER", {"MD5": ha1('a"b\\c', 'x"y', "pw", "MD5")}, "sip:r")


def test_nonces() -> None:
    nonces = Nonces(b"secret", seconds_max=300.0)
    nonce = nonces.make(1_800_000_000.0)
    assert Nonces(b"secret").check(nonce, 1_800_000_001.0) == "ok"
    assert nonces.check(nonce, 1_800_000_299.9) == "ok"
    assert len({nonces.make(1_800_000_000.0) for _ in range(1000)}) == 1000
    assert nonces.check(nonce, 1_800_000_300.2) == "stale"
    assert nonces.check(nonce, 1_799_999_000.0) == "stale"
    assert nonces.own(nonce)
    assert not Nonces(b"secret").own(nonce), "another process made it"
    assert Nonces(b"other").check(nonce, 1_800_000_001.0) == "bad"
    for broken in ("", nonce[:-1], nonce[:-1] + ("0" if nonce[-1] != "0" else "1"), "é" * 42, "0" * 42):
        assert nonces.check(broken, 1_800_000_001.0) == "bad"


@pytest.mark.parametrize("value", ['Digest username="open', "Digest a=1, a=2", "Digest =x", "Digest a b=c"])
def test_malformed(value: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        fields(value)


def test_another_scheme_is_not_ours() -> None:
    assert fields("Bearer abc") is None


def test_a_missing_secret_costs_a_whole_check(monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[str] = []

    def count(algorithm: str, text: str) -> str:
        hashed.append(text)
        return "0" * 32

    monkeypatch.setattr("telephony.sip.digest._hash", count)
    nonce = Nonces(b"k" * 32).make(1.0)
    given = {"username": "x", "nonce": nonce, "response": "0" * 32, "qop": "auth"}
    assert verify(given, "INVITE", {"MD5": "secret"}, "sip:a")
    with_secret = len(hashed)
    hashed.clear()
    assert not verify(given, "INVITE", {}, "sip:a"), "even if the answer were right"
    assert len(hashed) == with_secret


def test_an_answer_once_more_counts_on() -> None:
    (challenge,) = challenges("r", "n")
    first = answer([challenge], Credentials("a", "pw"), "INVITE", "sip:b", "c")
    assert first is not None
    second = answer_again(first, Credentials("a", "pw"), "INVITE", "sip:b", "d")
    assert second is not None
    given = fields(second)
    assert given is not None
    assert (given["nonce"], given["nc"], given["cnonce"], given["realm"]) == ("n", "00000002", "d", "r")
    assert verify(given, "INVITE", {"MD5": ha1("a", "r", "pw", "MD5")}, "sip:b")
    assert answer_again("Digest nc=x", Credentials("a", "pw"), "INVITE", "sip:b", "d") is None
    assert answer_again("Basic x", Credentials("a", "pw"), "INVITE", "sip:b", "d") is None


def test_realms() -> None:
    assert realm_of('Digest realm="a, b", nonce="n"') == "a, b"
    assert realm_of('Digest realm="a') == ""
    assert realm_of("Basic realm=a") == ""


@given(
    st.lists(
        st.sampled_from(["realm", "NC", "=", '"', "a b", "x", ",", ", ", ";", "<", ">", "\\", '\\"', " ", "\t", "\n", "\xa0", "é"])
    ).map("".join)
)
@example('username="u", realm = "a, b;c", nc=00000001,uri="sip:h;x=1",qop=auth,')
@example('a="b"c')
@example("a=,b=c")
@example('a=b, A="c"')
def test_usual_fields_are_read_as_all_others_are(text: str) -> None:
    def read(way: Callable[[str], dict[str, str] | None], value: str) -> dict[str, str] | None:
        try:
            return way(value)
        except ValueError:
            return None

    assert read(fields, f"Digest {text}") == read(fields_exactly, text.rstrip())
