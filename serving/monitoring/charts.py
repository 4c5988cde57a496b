"""Line charts as SVG geometry: no styles inside, as the content security policy requires. Pure."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 600, 120
_TOP = 4
Value = float | None
Point = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """One line: a name, the number of its color, its newest value, its drawn pieces (gaps have no data), and points
    without a neighbor, which a line would not show."""

    name: str
    color: int
    newest: str
    pieces: list[str]
    dots: list[Point]


@dataclass(frozen=True)
class Mark:
    """An event on the time axis."""

    x: float
    text: str
    tone: str


@dataclass(frozen=True)
class Chart:
    """A chart of several lines over the same points. ``hovers``: place, width and text over each point; ``ends``: what
    the first and the last point are called."""

    title: str
    top: str
    lines: list[Line]
    hovers: list[tuple[float, float, str]]
    marks: Sequence[Mark]
    summary: str
    ends: tuple[str, str]
    width: int = WIDTH
    height: int = HEIGHT

    @property
    def is_empty(self) -> bool:
        return not any(line.pieces or line.dots for line in self.lines)


def chart(
    title: str,
    lines: Sequence[tuple[str, Sequence[Value]]],
    names: Sequence[str],
    show: Callable[[float], str],
    *,
    marks: Sequence[Mark] = (),
    top: float | None = None,
    last: str = "now",
) -> Chart:
    """A chart. ``names``: what each point is called; ``show``: a value as text; ``top``: the end of the value axis;
    ``last``: what is below its right end."""
    highest = max((value for _, values in lines for value in values if value is not None), default=0.0)
    end = top if top is not None else nice(highest)
    step = WIDTH / max(1, len(names))
    drawn = []
    for number, (name, values) in enumerate(lines, start=1):
        newest = next((show(value) for value in reversed(values) if value is not None), "–")
        drawn.append(Line(name, number, newest, *_pieces(values, step, end)))
    hovers = []
    for index, point in enumerate(names):
        parts = [f"{name} {show(value)}" for name, values in lines if (value := values[index]) is not None]
        hovers.append((round(index * step, 2), round(step, 2), f"{point}: {', '.join(parts) or 'no data'}"))
    summary = "; ".join(f"{line.name} {line.newest}" for line in drawn)
    ends = (names[0] if names else "", last)
    return Chart(title, show(end), drawn, hovers, marks, f"{title}. Newest: {summary}.", ends)


def _pieces(values: Sequence[Value], step: float, end: float) -> tuple[list[str], list[Point]]:
    pieces: list[str] = []
    dots: list[Point] = []
    current: list[Point] = []
    for index, value in enumerate([*values, None]):
        if value is not None:
            share = min(1.0, value / end) if end else 0.0
            current.append((round((index + 0.5) * step, 1), round(HEIGHT - share * (HEIGHT - _TOP), 1)))
            continue
        if len(current) > 1:
            pieces.append(" ".join(f"{x},{y}" for x, y in current))
        elif current:
            dots.append(current[0])
        current = []
    return pieces, dots


def nice(highest: float) -> float:
    """The end of an axis: the next of 1, 2, 2.5, 5 times a power of ten; 1 for 0."""
    if highest <= 0:
        return 1.0
    power = 10 ** math.floor(math.log10(highest))
    return float(next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= highest * 0.9999))
