"""The runner notices what is not as written: a scenario that is wrong in one point fails, and says where."""

from pathlib import Path

import pytest

from tests.scenarios.runner import Run
from tests.scenarios.transcript import read

RIGHT = """\
a call between two phones

alice  phone 1001
bob    phone 1002
---
lose the next INVITE from alice to bob
alice calls bob
  alice -> bob  INVITE sip:1002@198.51.100.2 (lost)
      no Route
wait 0.5 s
  +0.400 alice -> bob  INVITE
      CSeq: 1 INVITE
      body
  +0.401 bob -> alice  100 Trying
# both at the same moment
bob refuses with 486
alice cancels
  bob -> alice  486
  alice -> bob  CANCEL
  alice -> bob  ACK
  bob -> alice  200
alice was refused with 486
bob's call is ended
"""


def run(text: str, folder: Path) -> None:
    path = folder / "scenario.txt"
    path.write_text(text)
    with Run(read(path), folder) as one:
        one.check()


def test_right(tmp_path: Path) -> None:
    run(RIGHT, tmp_path)


@pytest.mark.parametrize(
    ("before", "after", "wrong"),
    [
        ("  alice -> bob  ACK\n", "", "line 20: another message"),
        ("  bob -> alice  200\n", "", "line 17: nothing more is expected"),
        ("  bob -> alice  200\n", "  bob -> alice  200\n  nothing\n  bob -> alice  200\n", "line 23: nothing more came"),
        ("100 Trying", "180 Ringing", "line 14: another message"),
        ("INVITE sip:1002@198.51.100.2 (lost)", "INVITE sip:1002@198.51.100.2", "line 8: not expected to be lost"),
        ("ACK\n", "ACK (lost)\n", "line 20: expected to be lost"),
        ("+0.400", "+0.399", r"line 11: expected at \+0.399"),
        ("CSeq: 1", "CSeq: 2", "line 11: expected cseq: 2 INVITE, got"),
        ("      body", "      no body", "line 11: expected no body"),
        ("no Route", "no Via", "line 8: expected no via"),
        ("refused with 486\n", "refused with 487\n", "alice was refused with 486"),
        ("bob's call is ended", "bob's call is ringing", "bob's call is ended"),
        ("wait 0.5 s\n", "wait 0.39 s\n", "line 11: nothing more came"),
    ],
)
def test_wrong(before: str, after: str, wrong: str, tmp_path: Path) -> None:
    assert before in RIGHT
    with pytest.raises(AssertionError, match=wrong):
        run(RIGHT.replace(before, after, 1), tmp_path)


def test_what_is_left_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"after the end:\n.*alice -> bob  INVITE"):
        run(RIGHT[: RIGHT.index("wait")], tmp_path)
    with pytest.raises(AssertionError, match="alice has something left"):
        run(RIGHT[: RIGHT.index("# both")], tmp_path)


@pytest.mark.parametrize(
    ("before", "after", "wrong"),
    [
        ("alice cancels", "alice dreams", "no such phrase: 'alice dreams'"),
        ("bob    phone 1002", "bob    robot", "expected phones, proxies and call routers"),
        ("  alice -> bob  CANCEL", "  alice to bob  CANCEL", "scenario.txt:19: expected 'NAME -> NAME  MESSAGE'"),
        ("      body", "      bodies", "scenario.txt:13: expected 'Header: pattern'"),
    ],
)
def test_what_has_no_meaning_is_refused(before: str, after: str, wrong: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=wrong):
        run(RIGHT.replace(before, after, 1), tmp_path)
