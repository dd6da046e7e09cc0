"""docs/conformance.md and docs/media.md name tests for each row: they are all there."""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PAGES = {TESTS.parent / "docs" / "conformance.md": (150, 60), TESTS.parent / "docs" / "media.md": (100, 40)}
"""Each with the least number of tests that it names, and of its rows."""
_NAMED = re.compile(r"`((?:[\w/.-]+\.(?:py|txt))?)(::test_\w+)?`")


def named(page: Path) -> list[tuple[str, str]]:
    """File and test of each mention; a mention without a file is in the file before it."""
    found = []
    file = ""
    for line in page.read_text().splitlines():
        for match in _NAMED.finditer(line.split("|")[2] if line.startswith("|") else line):
            file = match[1] or file
            if line.startswith("|") or "(`" in line:
                found.append((file, (match[2] or "").removeprefix("::")))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_each_test_that_is_named_exists(page: Path) -> None:
    mentions = named(page)
    assert len(mentions) > PAGES[page][0]
    for file, test in mentions:
        text = (TESTS / file).read_text()
        assert not test or re.search(rf"^(async )?def {test}\(", text, re.MULTILINE), f"{file}::{test}"
        assert test or file.endswith(".txt"), f"{file}: which test?"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_each_row_names_one(page: Path) -> None:
    rows = [line for line in page.read_text().splitlines() if line.startswith("| ") and not line.startswith(("| rule", "| peer", "| ---"))]
    assert len(rows) > PAGES[page][1]
    for row in rows:
        assert _NAMED.search(row.split("|")[2]), row
