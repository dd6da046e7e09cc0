"""The floor does the least right: else it would be no floor."""

from loadtest.bench import parse


def test_both_forward_the_invite_alike() -> None:
    assert parse.ours(parse.INVITE) == parse.floor(parse.INVITE) == (parse.KEYS, parse.forwarded())
