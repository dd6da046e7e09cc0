"""Marks that only who has the key can make, over what decides who is believed to ask for what."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telephony.sip.message import Message, make_request
from telephony.sip.proof import DIGITS, KEYS_MAX, PROOF, Proofs, prove

OLD, NEW = b"o" * 32, b"n" * 32


def request(
    method: str = "INVITE", uri: str = "sip:b@b", branch: str = "1", from_: str = "<sip:a@a>;tag=1", call_id: str = "x", cseq: int = 1,
    identity: str = "<sip:a@a>", via: str = "",
) -> Message:  # fmt: skip
    asserted = [("P-Asserted-Identity", identity)] if identity else []
    made = make_request(method, uri, [
        ("Via", via or f"SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK{branch};rport"), ("From", from_), ("To", "<sip:b@b>"),
        ("Call-ID", call_id), ("CSeq", f"{cseq} {method}"), *asserted,
    ])  # fmt: skip
    return Message.parse(made.serialize())


def proved(keys: list[bytes] | None = None, **fields: object) -> Message:
    message = request(**fields)  # type: ignore[arg-type]
    prove(message, Proofs(keys or [OLD]))
    return Message.parse(message.serialize())


def test_what_was_marked_is_believed_also_with_what_is_added_on_the_way() -> None:
    message = proved()
    assert message.via.endswith(PROOF + message.via[-DIGITS:])
    assert Proofs([OLD]).holds(message, PROOF)
    message.restamp(f"{message.via};received=192.0.2.9;rport=5060")
    assert Proofs([OLD]).holds(message, PROOF)
    prove(message, Proofs([NEW]))
    assert message.via.count(PROOF) == 1
    assert not Proofs([OLD]).holds(message, PROOF)
    assert Proofs([NEW]).holds(message, PROOF)
    assert not Proofs([OLD]).holds(request(), PROOF)


@pytest.mark.parametrize(
    "changed",
    [
        {"method": "MESSAGE"}, {"uri": "sip:c@b"}, {"branch": "2"}, {"from_": "<sip:boss@a>;tag=1"}, {"call_id": "y"}, {"cseq": 2},
        {"identity": "<sip:boss@a>"}, {"identity": ""},
    ],
)  # fmt: skip
def test_a_mark_that_was_seen_is_worth_nothing_for_anything_else(changed: dict[str, object]) -> None:
    seen = proved().via
    fields: dict[str, object] = {"via": seen.replace("z9hG4bK1", f"z9hG4bK{changed['branch']}") if "branch" in changed else seen}
    forged = request(**{**fields, **{name: value for name, value in changed.items() if name != "branch"}})  # type: ignore[arg-type]
    assert not Proofs([OLD]).holds(forged, PROOF)
    assert Proofs([OLD]).holds(request(via=seen), PROOF)


def test_while_keys_change_both_are_believed() -> None:
    assert Proofs([NEW, OLD]).holds(proved([OLD]), PROOF)
    assert Proofs([OLD, NEW]).holds(proved([NEW, OLD]), PROOF)
    assert not Proofs([NEW]).holds(proved([OLD]), PROOF)


@pytest.mark.parametrize("keys", [[], [b""], [b"short"], [b"x" * 33], [OLD] * (KEYS_MAX + 1)])
def test_keys_that_are_none(keys: list[bytes]) -> None:
    with pytest.raises(ValueError, match="keys"):
        Proofs(keys)


@given(st.text(st.characters(exclude_characters="\r\n\0"), max_size=40))
def test_any_text_for_a_mark_is_looked_at(text: str) -> None:
    message = request()
    message.restamp(f"{message.via}{PROOF}{text}")
    assert not Proofs([OLD, NEW]).holds(message, PROOF)
