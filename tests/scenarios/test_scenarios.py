"""Every scenario file of this folder; and that the runner notices what is not as written."""

from pathlib import Path

import pytest

from tests.scenarios.runner import Run
from tests.scenarios.transcript import read

FOLDER = Path(__file__).parent
FILES = sorted(FOLDER.rglob("*.txt"))
REGISTRATIONS = range(1, 6)
SESSIONS = range(1, 12)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(FOLDER).with_suffix("")))
def test_scenario(path: Path, tmp_path: Path) -> None:
    with Run(read(path), tmp_path) as run:
        run.check()


def test_every_flow_of_rfc_3665_is_there() -> None:
    sections = {path.name.partition("-")[0] for path in (FOLDER / "rfc3665").glob("*.txt")}
    assert sections == {f"2.{number}" for number in REGISTRATIONS} | {f"3.{number}" for number in SESSIONS}
