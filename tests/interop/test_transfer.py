"""Three phones: one sends another to the third, unasked (blind) and after asking (attended); the two left hear each other."""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.cluster.running import Running
from tests.interop.baresip import Baresip
from tests.interop.waiting import wait_for

TALK_SECONDS = 2.0
TONES = {"1001": 440.0, "1002": 1000.0, "1003": 1700.0}


@pytest.fixture
def phones(cluster: Running, tmp_path: Path) -> Iterator[list[Baresip]]:
    made = [Baresip(tmp_path, user, server=cluster.sip, password=cluster.users[user], tone=tone) for user, tone in TONES.items()]
    with made[0], made[1], made[2]:
        yield made


def hear_each_other(one: Baresip, other: Baresip) -> None:
    """Wait until each has heard the other long enough; a phone's recording grows while it is looked at."""
    for phone, voice in ((one, other.tone), (other, one.tone)):
        wait_for(lambda phone=phone, voice=voice: phone.heard().heard(voice) > TALK_SECONDS, name=f"{voice} Hz at phone {phone.user}")  # type: ignore[misc]


def dialog(phone: Baresip, number: int) -> str:
    """Value of Replaces for the n-th call that a phone has made, as its log holds it."""
    heads = [re.split(r"\r?\n\r?\n", part)[0] for part in re.split(r"(?=^SIP/2\.0 )", phone.log(), flags=re.MULTILINE)]
    answers = [head for head in heads if head.startswith("SIP/2.0 200") and re.search(r"CSeq: \d+ INVITE", head)]
    call_ids = list(dict.fromkeys(re.findall(r"Call-ID: (\S+)", "\n".join(answers))))
    call_id = call_ids[number]
    invite = next(head for head in answers if call_id in head)
    tags = {name: re.search(rf"{name}:.*?;tag=(\S+)", invite) for name in ("From", "To")}
    assert tags["From"] and tags["To"]
    return f"{call_id};to-tag={tags['To'][1]};from-tag={tags['From'][1]}"


@pytest.mark.parametrize("by", ["caller", "callee"])
def test_blind(cluster: Running, phones: list[Baresip], by: str) -> None:
    first, second, third = phones
    first.dial(f"sip:1002@{cluster.sip}")
    first.wait("CALL_ESTABLISHED")
    second.wait("CALL_ESTABLISHED")
    leaving, staying = (first, second) if by == "caller" else (second, first)
    leaving.transfer(f"sip:1003@{cluster.sip}")
    third.wait("CALL_ESTABLISHED")
    leaving.wait("CALL_CLOSED")
    hear_each_other(staying, third)
    third.hang_up()
    staying.wait("CALL_CLOSED")


def test_blind_to_somebody_who_refuses(cluster: Running, phones: list[Baresip]) -> None:
    first, second, _ = phones
    first.dial(f"sip:1002@{cluster.sip}")
    first.wait("CALL_ESTABLISHED")
    first.transfer(f"sip:1005@{cluster.sip}")  # nobody is there
    first.wait_log("transfer failed: 480")
    second.wait("CALL_CLOSED")  # so a baresip does: it hangs up


def test_attended(cluster: Running, phones: list[Baresip]) -> None:
    first, second, third = phones
    first.dial(f"sip:1002@{cluster.sip}")
    first.wait("CALL_ESTABLISHED")
    first.dial(f"sip:1003@{cluster.sip}")
    first.wait("CALL_ESTABLISHED")
    third.wait("CALL_ESTABLISHED")
    first.transfer(f"<sip:1002@{cluster.sip}?Replaces={quote(dialog(first, 0), safe='')}>")
    first.wait("CALL_CLOSED")
    first.wait("CALL_CLOSED")
    hear_each_other(second, third)
    second.hang_up()
    third.wait("CALL_CLOSED")
