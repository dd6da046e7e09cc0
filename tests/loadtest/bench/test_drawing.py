"""The picture of a curve: well-formed, to scale, and all of it named."""

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from loadtest.bench import curve, drawing
from loadtest.bench.drawing import HEIGHT, LEFT, RIGHT, WIDTH, Area, Chart
from loadtest.bench.engine import STEPS, part
from loadtest.bench.process import NotRunnableError

SVG = "{http://www.w3.org/2000/svg}"


def test_areas_lie_on_each_other_to_scale() -> None:
    chart = Chart([10, 100, 1000], [Area("one <", [4, 2, 1]), Area("two", [4, 1, 1])], "legs", "us", ["said"], ["a", "b", "c"], "sum")
    root = ElementTree.fromstring(chart.svg())
    first, second = (
        [tuple(map(float, point.split(","))) for point in each.attrib["points"].split()] for each in root.iter(f"{SVG}polygon")
    )
    assert [x for x, _ in first[:3]] == [LEFT, (LEFT + WIDTH - RIGHT) / 2, WIDTH - RIGHT], "a logarithmic axis"
    assert second[3:] == first[2::-1], "the second one stands on the first"
    floor = HEIGHT - drawing.BOTTOM
    assert floor - second[0][1] == pytest.approx(2 * (floor - first[0][1]))
    words = ["".join(each.itertext()) for each in root.iter(f"{SVG}text")]
    assert {"one <", "two", "legs", "us", "said", "a", "b", "c", "sum", "10", "1000", "0", "8"} <= set(words)
    with pytest.raises(ValueError, match="expected areas of 2"):
        Chart([1, 2], [Area("short", [1])], "", "", [], ["a", "b"], "").svg()


def test_a_curve_is_drawn_from_its_file(tmp_path: Path) -> None:
    def figure(legs: int, cost: float) -> dict[str, object]:
        details = {"legs": legs, **{f"part: {name}": cost / 10 for name in STEPS}}
        return {"median": cost, "rounds": [{"details": details}] * 3}

    source, target = tmp_path / "curve.json", tmp_path / "curve.svg"
    source.write_text(json.dumps({"machine": "2 x CPU, CPython 3.11, load 9.9", "figures": [figure(10, 30.0), figure(1000, 6.0)]}))
    assert curve.main([str(source), str(target)]) == 0
    text = target.read_text()
    assert "2 x CPU, CPython 3.11; median of 3." in text and "9.9" not in text
    assert all(f">{name}<" in text for name in (*STEPS, "all else"))
    with pytest.raises(NotRunnableError, match="no curve"):
        curve.plot({"machine": "", "figures": []}, target)


def test_every_step_has_its_functions() -> None:
    assert part(("/x/media/mixer.py", 1, "encode_twice")) == "encode"
    assert part(("/x/media/mixer.py", 1, "minus")) == "mix"
    assert part(("/x/media/datagrams.py", 1, "receive_each")) == "receive"
    assert part(("/x/media/datagrams.py", 1, "send_each")) == "send"
    assert part(("/x/media/coding/opus.py", 1, "decode")) == "", "its callers'"
    assert part(("/x/numpy/mixer.py", 1, "minus")) == ""
