"""The E-model at points that are known."""

import pytest

from media.quality import opinion, rating


@pytest.mark.parametrize(
    ("loss", "delay", "expected"),
    [(0.0, 0.0, 93.2), (0.0, 0.1, 90.8), (0.0, 0.2773, 93.2 - 0.024 * 277.3 - 11.0), (0.01, 0.0, 93.2 - 95 / 26.1), (1.0, 0.0, 17.27)],
)
def test_rating_of_g711(loss: float, delay: float, expected: float) -> None:
    assert rating(loss, delay, 0.0, 25.1) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(
    ("r_factor", "mos"), [(93.2, 4.41), (80.0, 4.02), (70.0, 3.60), (60.0, 3.10), (50.0, 2.58), (0.0, 1.0), (100.0, 4.5)]
)
def test_opinion_is_that_of_g107(r_factor: float, mos: float) -> None:
    assert opinion(r_factor) == pytest.approx(mos, abs=0.01)


def test_more_loss_and_more_delay_are_never_better() -> None:
    for delay in (0.0, 0.1, 0.3, 0.8):
        row = [opinion(rating(loss / 100, delay, 0.0, 25.1)) for loss in range(0, 60, 5)]
        assert row == sorted(row, reverse=True)
