"""Curves as SVG: areas on top of each other over a logarithmic axis, readable on light and dark ground, without a library."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 860, 500
LEFT, RIGHT, TOP, BOTTOM = 64, 190, 24, 84
"""Margins: room for the axes, the legend and the caption."""
COLORS = ("#4e79a7", "#f28e2b", "#59a14f", "#e15759", "#76b7b2", "#edc948", "#b07aa1", "#9c9c9c")
TICKS = (1, 2, 5)
_STYLE = (
    "text{font:12px sans-serif;fill:#24292f}.axis{stroke:#57606a}.grid{stroke:#57606a;stroke-opacity:.25}.line{stroke:#24292f;fill:none}"
    ".dot{fill:#24292f}@media(prefers-color-scheme:dark){text,.dot{fill:#e6edf3}.axis,.grid{stroke:#8b949e}.line{stroke:#e6edf3}}"
)


@dataclass(frozen=True)
class Area:
    """One part of the whole, at each place."""

    name: str
    values: Sequence[float]


@dataclass(frozen=True)
class Chart:
    """What is drawn: ``areas`` on top of each other, the first at the bottom, and their sum as a line.

    Args:
        places: on the horizontal axis, positive, ascending, at least two.
    """

    places: Sequence[float]
    areas: Sequence[Area]
    across: str
    """What the places are, with their unit."""
    up: str
    """What the values are, with their unit."""
    caption: Sequence[str]
    """Lines below."""
    labels: Sequence[str]
    """Beside the line, at each place."""
    labeled: str
    """What the line and its labels are."""

    def svg(self) -> str:
        """The whole picture.

        Raises:
            ValueError: areas of another length than places, or fewer than two places.
        """
        if len(self.places) < 2 or any(len(each) != len(self.places) for each in (self.labels, *(area.values for area in self.areas))):
            raise ValueError(f"expected areas of {len(self.places)} values, at least 2")
        sums = [0.0] * len(self.places)
        layers = []
        for area in self.areas:
            below, sums = sums, [one + max(other, 0.0) for one, other in zip(sums, area.values, strict=True)]
            layers.append((below, sums))
        step = _step(max(sums))
        top = step * math.ceil(max(sums) / step)
        return "\n".join([
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(self.up)}">',
            f"<style>{_STYLE}</style>",
            *(self._area(number, below, above, top) for number, (below, above) in enumerate(layers)),
            *self._scale(step, top),
            *self._sum(sums, top),
            *self._legend(),
            *(_text(LEFT, HEIGHT - 26 + 16 * row, line) for row, line in enumerate(self.caption)),
            "</svg>",
            "",
        ])  # fmt: skip

    def _x(self, place: float) -> float:
        first, last = math.log(self.places[0]), math.log(self.places[-1])
        return LEFT + (WIDTH - LEFT - RIGHT) * (math.log(place) - first) / (last - first)

    @staticmethod
    def _y(value: float, top: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / top

    def _points(self, values: Sequence[float], top: float) -> list[str]:
        return [f"{self._x(place):.1f},{self._y(value, top):.1f}" for place, value in zip(self.places, values, strict=True)]

    def _area(self, number: int, below: Sequence[float], above: Sequence[float], top: float) -> str:
        border = [*self._points(above, top), *reversed(self._points(below, top))]
        return f'<polygon fill="{COLORS[number % len(COLORS)]}" fill-opacity=".85" points="{" ".join(border)}"/>'

    def _sum(self, sums: Sequence[float], top: float) -> list[str]:
        points = self._points(sums, top)
        found = [f'<polyline class="line" points="{" ".join(points)}"/>']
        for point, label in zip(points, self.labels, strict=True):
            x, y = point.split(",")
            found.append(f'<circle class="dot" r="3" cx="{x}" cy="{y}"/>{_text(float(x), float(y) - 8, label, "middle")}')
        return found

    def _scale(self, step: float, top: float) -> list[str]:
        right, floor = WIDTH - RIGHT, HEIGHT - BOTTOM
        found = []
        for number in range(round(top / step) + 1):
            y = self._y(number * step, top)
            found.append(f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
            found.append(_text(LEFT - 8, y + 4, f"{number * step:g}", "end"))
        for tick in _ticks(self.places[0], self.places[-1]):
            x = self._x(tick)
            found.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{floor}" y2="{floor + 5}"/>')
            found.append(_text(x, floor + 19, f"{tick:g}", "middle"))
        found.append(f'<path class="axis" fill="none" d="M{LEFT},{TOP}V{floor}H{right}"/>')
        found.append(_text((LEFT + right) / 2, floor + 36, self.across, "middle"))
        middle = (TOP + floor) / 2
        found.append(f'<g transform="rotate(-90 16 {middle})">{_text(16, middle, self.up, "middle")}</g>')
        return found

    def _legend(self) -> list[str]:
        """The topmost area first, as they lie; the line last."""
        found, x = [], WIDTH - RIGHT + 20
        for row, number in enumerate(reversed(range(len(self.areas)))):
            y = TOP + 20 * row
            found.append(f'<rect width="12" height="12" x="{x}" y="{y}" fill="{COLORS[number % len(COLORS)]}" fill-opacity=".85"/>')
            found.append(_text(x + 18, y + 10, self.areas[number].name))
        y = TOP + 20 * len(self.areas)
        return [*found, f'<path class="line" d="M{x},{y + 6}h12"/>', _text(x + 18, y + 10, self.labeled)]


def _text(x: float, y: float, words: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _step(most: float) -> float:
    """Of the vertical axis: five to ten steps up to the greatest value."""
    rough = max(most, 1e-9) / 6
    power = 10.0 ** math.floor(math.log10(rough))
    return power * next(each for each in (*TICKS, 10) if each * power >= rough)


def _ticks(first: float, last: float) -> list[float]:
    powers = range(math.floor(math.log10(first)), math.ceil(math.log10(last)) + 1)
    return [tick for power in powers for each in TICKS if first <= (tick := each * 10.0**power) <= last]
