"""Engines in these tests have a clock that is turned by hand: what comes in comes now, however long the test took to look."""

import pytest

from media import datagrams


@pytest.fixture(autouse=True)
def no_real_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datagrams, "wall", lambda: 0.0)
