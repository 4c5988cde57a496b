"""Line charts as SVG geometry: no styles inside, as the content security policy requires. Pure."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 600, 120
_TOP = 4
Value = float | None


@dataclass(frozen=True)
class Line:
    """One line: a name, the number of its color, its newest value and its drawn pieces (gaps have no data)."""

    name: str
    color: int
    newest: str
    pieces: list[str]
    #: points without a neighbor, which a line would not show
    dots: list[tuple[float, float]]


@dataclass(frozen=True)
class Hover:
    """What is shown over one point."""

    x: float
    width: float
    text: str


@dataclass(frozen=True)
class Mark:
    """An event on the time axis."""

    x: float
    text: str
    tone: str


@dataclass(frozen=True)
class Chart:
    """A chart of several lines over the same points."""

    title: str
    top: str
    lines: list[Line]
    hovers: list[Hover]
    marks: list[Mark]
    summary: str
    #: the first time on the axis
    first: str = ""

    @property
    def width(self) -> int:
        return WIDTH

    @property
    def height(self) -> int:
        return HEIGHT

    @property
    def is_empty(self) -> bool:
        return not any(line.pieces or line.dots for line in self.lines)


def chart(
    title: str,
    lines: Sequence[tuple[str, Sequence[Value]]],
    times: Sequence[str],
    show: Callable[[float], str],
    *,
    marks: Sequence[Mark] = (),
    top: float | None = None,
) -> Chart:
    """A chart. ``times``: what each point is called; ``show``: a value as text; ``top``: the end of the value axis."""
    highest = max((value for _, values in lines for value in values if value is not None), default=0.0)
    end = top if top is not None else nice(highest)
    step = WIDTH / max(1, len(times))
    drawn = [
        Line(name, number, _newest(values, show), *_pieces(values, step, end))
        for number, (name, values) in enumerate(lines, start=1)
    ]
    hovers = []
    for index, time in enumerate(times):
        parts = [f"{name} {show(found)}" for name, values in lines if (found := values[index]) is not None]
        hovers.append(Hover(round(index * step, 2), round(step, 2), f"{time}: {', '.join(parts) or 'no data'}"))
    summary = "; ".join(f"{line.name} {line.newest}" for line in drawn)
    return Chart(
        title, show(end), drawn, hovers, list(marks), f"{title}. Newest: {summary}.", times[0] if times else ""
    )


def _newest(values: Sequence[Value], show: Callable[[float], str]) -> str:
    found = next((value for value in reversed(values) if value is not None), None)
    return "–" if found is None else show(found)


def _pieces(values: Sequence[Value], step: float, end: float) -> tuple[list[str], list[tuple[float, float]]]:
    pieces: list[str] = []
    dots: list[tuple[float, float]] = []
    current: list[tuple[float, float]] = []
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
