"""Every target by its name."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.fuzz import dns, endpoint, envelope, fields, message, proxy, rtcp, rtp, sdp, stream, stun, telephone_event, wav

FOUND = Path(__file__).parents[1] / "vectors" / "fuzz"
"""Inputs that broke a target once: ``TARGET/NAME.bin``, or ``.txt`` where they are text with CRLF for line ends."""


class Target(NamedTuple):
    """What holds for any bytes."""

    check: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]


TARGETS = {
    module.__name__.rpartition(".")[2]: Target(module.check, module.seeds)
    for module in (message, fields, stream, sdp, rtp, rtcp, telephone_event, stun, wav, dns, envelope, endpoint, proxy)
}


def found(name: str) -> list[Path]:
    """What was found once for a target."""
    return sorted((FOUND / name).glob("*.bin"))
