"""Every target holds for its seeds, for what broke it once, and for seeds that are cut, joined and changed by chance.

The chance is the same in each run. `make fuzz` looks further.
"""

import random

import pytest

from tests.fuzz.targets import TARGETS, found

ROUNDS = 400
"""Changed seeds of each target."""


def changed(data: bytes, other: bytes, chance: random.Random) -> bytes:
    """One input out of two."""
    made = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randint(0, len(made))
        match chance.randint(0, 5):
            case 0:
                del made[at : at + chance.randint(1, 8)]
            case 1:
                made[at:at] = bytes(chance.choice(b'\0\x1e\r\n \t:;,<>"=@%\xff019A') for _ in range(chance.randint(1, 3)))
            case 2:
                made[at : at + 1] = chance.randbytes(1)
            case 3:
                made[at:at] = made[chance.randint(0, len(made)) :][: chance.randint(1, 40)]
            case 4:
                start = chance.randint(0, len(other))
                made[at : at + chance.randint(0, 60)] = other[start : start + chance.randint(1, 60)]
            case _:
                made[at:at] = b"\x1e" + other[: chance.randint(1, 600)]
    return bytes(made)


@pytest.mark.parametrize("name", TARGETS)
def test_target(name: str) -> None:
    target = TARGETS[name]
    seeds = target.seeds()
    assert len(seeds) >= 3
    for data in (b"", *seeds):
        target.check(data)
    chance = random.Random(name)
    for _ in range(ROUNDS):
        data = changed(chance.choice(seeds), chance.choice(seeds), chance)
        try:
            target.check(data)
        except BaseException as error:
            error.add_note(f"{name}: {data!r}")
            raise


@pytest.mark.parametrize(("name", "file"), [(name, path.name) for name in TARGETS for path in found(name)])
def test_what_was_found_once(name: str, file: str) -> None:
    (path,) = [path for path in found(name) if path.name == file]
    TARGETS[name].check(path.read_bytes())
