"""Who may say what where, and who may hear it."""

import pytest

from agent.wire import topics


@pytest.mark.parametrize(
    ("topic", "sender"),
    [
        (topics.to_machine("m1", "carried"), topics.CONTROLLER),
        (topics.of_bundle("hash"), topics.CONTROLLER),
        (topics.from_machine("m1", "beat"), "m1"),
        (topics.relayed("m2", "m1", "state"), "m1"),
        (topics.request("m1", "snapshot-end"), None),
        (b"m//beat", None),
        (b"m/m1", None),
        (b"x/m2/m1", None),
        (b"m/m1/a/b", None),
        (b"", None),
        (b"m/\xff/beat", "\ufffd"),
    ],
)
def test_senders(topic: bytes, sender: str | None) -> None:
    assert topics.sender_of(topic) == sender


@pytest.mark.parametrize(
    ("subscriber", "prefix", "allowed"),
    [
        ("m1", topics.to_machine("m1"), True),
        ("m1", topics.to_machine("m1", "heads"), True),
        ("m1", topics.relayed("m1"), True),
        ("m1", topics.of_bundle("hash"), True),
        ("m1", b"c/m1", False),
        ("m1", b"c/m", False),
        ("m1", b"b/", False),
        ("m1", b"", False),
        ("m1", topics.to_machine("m2"), False),
        ("m1", topics.from_machine("m1"), False),
        ("m1", topics.relayed("m2"), False),
        (topics.CONTROLLER, b"m/", True),
        (topics.CONTROLLER, b"", True),
        (topics.CONTROLLER, b"c/m1/", False),
    ],
)
def test_hearers(subscriber: str, prefix: bytes, allowed: bool) -> None:
    assert topics.may_subscribe(subscriber, prefix) is allowed
