"""docs/conformance.md names tests for each row: they are all there."""

import re
from pathlib import Path

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "conformance.md"
_NAMED = re.compile(r"`((?:[\w/.-]+\.(?:py|txt))?)(::test_\w+)?`")


def named() -> list[tuple[str, str]]:
    """File and test of each mention; a mention without a file is in the file before it."""
    found = []
    file = ""
    for line in PAGE.read_text().splitlines():
        for match in _NAMED.finditer(line):
            file = match[1] or file
            if line.startswith("|") or "(`" in line:
                found.append((file, (match[2] or "").removeprefix("::")))
    return found


def test_each_test_that_is_named_exists() -> None:
    mentions = named()
    assert len(mentions) > 150
    for file, test in mentions:
        text = (TESTS / file).read_text()
        assert not test or re.search(rf"^def {test}\(", text, re.MULTILINE), f"{file}::{test}"
        assert test or file.endswith(".txt"), f"{file}: which test?"


def test_each_row_names_one() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| ") and not line.startswith(("| rule", "| peer", "| ---"))]
    assert len(rows) > 60
    for row in rows:
        assert _NAMED.search(row.split("|")[2]), row
