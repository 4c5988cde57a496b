"""A report to keep: its parts in the order in which they are read, and the same as Markdown. Pure.

``evaluation.printed_pdf`` makes a PDF of the same parts, so that both copies say the same.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field

from evaluation.gates.display import NumberLine

# What changes the direction of everything after it, and what no page can show.
_TURNS = re.compile("[\u202a-\u202e\u2066-\u2069]")
# What Markdown reads as more than a letter: anywhere, or only where a line begins.
_ANYWHERE = re.compile(r"[\\`*\[\]<>|~]|(?<![^\W_])_|_(?![^\W_])|&(?=#?\w+;)")
_AT_START = re.compile(r"^(\d+(?=[.)](?:\s|$))|(?=[#+=]|-(?!\d)))")


@dataclass(frozen=True)
class Heading:
    """The head of a section."""

    text: str


@dataclass(frozen=True)
class Say:
    """A paragraph; ``tone`` is "", strong, quiet, good, bad or warn."""

    text: str
    tone: str = ""


@dataclass(frozen=True)
class Points:
    """A list."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Facts:
    """Names and values."""

    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Table:
    """A table; ``right`` are the columns of numbers, ``wide`` the widths of the columns relative to each other."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: frozenset[int] = frozenset()
    wide: tuple[int, ...] = ()


@dataclass(frozen=True)
class Judged:
    """One gate: what was asked, what was measured with its bounds, the verdict, and what it says."""

    title: str
    asked: str
    measured: str
    bounds: str
    status: str
    words: str
    price: str = ""
    line: NumberLine | None = None


@dataclass(frozen=True)
class Gates:
    """All gates, and the line that explains the drawing of them."""

    rows: tuple[Judged, ...]
    legend: str = ""


Part = Heading | Say | Points | Facts | Table | Gates


@dataclass(frozen=True)
class Printed:
    """A report to keep. ``foot`` stands below every page: what it is, where it came from, when."""

    title: str
    foot: str
    parts: tuple[Part, ...] = field(default=())


def clean(text: str) -> str:
    """A text that can be printed: no control characters, none that turn the direction of what follows."""
    text = _TURNS.sub("", "\n".join(text.replace("\t", " ").splitlines()))
    return "".join(letter for letter in text if letter == "\n" or unicodedata.category(letter) not in ("Cc", "Cs"))


def as_markdown(printed: Printed) -> str:
    """The report as Markdown; what people wrote stays text, whatever signs are in it."""
    lines = [f"# {_inline(printed.title)}", ""]
    for part in printed.parts:
        lines += [*_markdown(part), ""]
    lines += ["---", "", _inline(printed.foot), ""]
    return "\n".join(lines)


def _markdown(part: Part) -> Iterator[str]:
    match part:
        case Heading():
            yield f"## {_inline(part.text)}"
        case Say():
            text = _block(part.text)
            yield f"**{text}**" if part.tone in ("strong", "good", "bad") and "\n" not in text else text
        case Points():
            yield from (f"- {_block(item)}" for item in part.items)
        case Facts():
            yield from (f"- {_inline(name)}: {_block(value)}" for name, value in part.rows)
        case Table():
            yield from _table(part.head, part.rows, part.right)
        case Gates():
            rows = tuple(_gate_row(row) for row in part.rows)
            yield from _table(("Gate", "Asked", "Measured", "Verdict", "What it says"), rows, frozenset())


def _gate_row(row: Judged) -> tuple[str, ...]:
    measured = f"{row.measured} ({row.bounds})" if row.bounds else row.measured
    said = f"{row.words}. {row.price}." if row.price else f"{row.words}."
    return row.title, row.asked, measured, row.status, said


def _table(head: tuple[str, ...], rows: tuple[tuple[str, ...], ...], right: frozenset[int]) -> Iterator[str]:
    yield _line(head)
    yield "|" + "|".join(" ---: " if place in right else " --- " for place in range(len(head))) + "|"
    yield from (_line(row) for row in rows)


def _line(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(_inline(cell) for cell in cells) + " |"


def _inline(text: str) -> str:
    """One line of Markdown that shows this text."""
    plain = " ".join(clean(text).split())
    return _AT_START.sub(r"\1\\", _ANYWHERE.sub(r"\\\g<0>", plain))


def _block(text: str) -> str:
    """A text whose line breaks are kept."""
    return "  \n  ".join(line for line in (_inline(line) for line in text.split("\n")) if line)
