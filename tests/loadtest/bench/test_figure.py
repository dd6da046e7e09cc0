"""Medians, validity and ratios of figures."""

from loadtest.bench.figure import Figure, Round, ratio, table


def figure(contender: str, costs: list[float], role: str = "peer", faults: tuple[str, ...] = ()) -> Figure:
    return Figure("case", contender, "us", tuple(Round(cost, faults, 0.1, 0.05, {"answer ms": cost}) for cost in costs), role=role)


def test_the_figure_is_the_median_of_valid_rounds() -> None:
    rounds = (Round(10.0), Round(900.0, ("3 of 4 failed",)), Round(12.0), Round(14.0))
    mixed = Figure("case", "peer", "us", rounds)
    assert mixed.cost() == 12.0
    assert mixed.spread() == (10.0, 14.0)
    assert mixed.faults() == ["3 of 4 failed"]


def test_without_a_valid_round_there_is_no_figure() -> None:
    broken = figure("peer", [1.0, 2.0], faults=("lost",))
    assert broken.cost() is None
    assert broken.spread() is None
    assert "INVALID" in table([broken])
    assert "0/2" in table([broken])


def test_details_are_medians_of_valid_rounds_or_of_all() -> None:
    assert figure("peer", [1.0, 5.0, 3.0]).detail("answer ms") == 3.0
    assert figure("peer", [1.0, 3.0], faults=("lost",)).detail("answer ms") == 2.0
    assert figure("peer", [1.0]).detail("unknown") is None


def test_ours_stands_beside_the_peer_else_beside_the_floor() -> None:
    ours, peer, floor = figure("hotswitch", [30.0], "ours"), figure("kamailio", [20.0]), figure("floor", [15.0], "floor")
    assert ratio(ours, [ours, floor, peer]) == ("kamailio", 1.5)
    assert ratio(ours, [ours, floor]) == ("floor", 2.0)
    assert ratio(floor, [ours, floor, peer]) == ("kamailio", 0.75)
    assert ratio(peer, [ours, floor, peer]) is None
    assert ratio(ours, [ours]) is None


def test_a_peer_without_valid_rounds_is_no_measure() -> None:
    ours, peer = figure("hotswitch", [30.0], "ours"), figure("kamailio", [20.0], faults=("lost",))
    assert ratio(ours, [ours, peer]) is None


def test_the_table_has_a_line_a_figure_and_says_noise() -> None:
    busy = Figure("case", "peer", "us", (Round(1.0, (), 0.5, 1.3),))
    lines = table([busy, figure("hotswitch", [2.0], "ours")], ["answer ms"]).splitlines()
    assert len(lines) == 3
    assert lines[1].endswith("noisy")
    assert "2.00 x peer" in lines[2]


def test_json_has_every_round() -> None:
    written = figure("peer", [1.0, 2.0]).as_dict()
    assert written["median"] == 1.5
    assert len(written["rounds"]) == 2  # type: ignore[arg-type]
