"""The values of a field that stand in a document: what the schema says of it, read as a rule.

Dates and numbers are found by their meaning, texts as runs of words or lines. A value that the schema forbids by
pattern, format, length or limit is no candidate.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from slmstudio.contract.schema.compiled import CompiledSchema, Field
from slmstudio.contract.schema.dialect import FORMAT_CHECKER, ExactValidator
from slmstudio.contract.values import dates, numbers

MAX_LINES = 6
#: characters around a candidate that describe it
_CONTEXT = 400
_WORD = re.compile(r"\S+")
_TRIMMED = " ,;:"
_LIMITS = ("pattern", "format", "minLength", "maxLength", "minimum", "maximum", "multipleOf")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A value and where it stands: characters ``start`` to ``end``."""

    start: int
    end: int
    value: Any


@dataclass(frozen=True, slots=True)
class Extent:
    """How long the texts of a field are: words on one line, and lines. ``spaced_commas``: gold has a blank after each
    comma, whatever the document has. ``characters``: of a document that are searched; None: all of it. ``accounting``:
    a number in brackets is negative. Extractors that were stored without these have the defaults."""

    words: int = 6
    lines: int = 1
    spaced_commas: bool = False
    characters: int | None = 20_000
    accounting: bool = True

    def searched(self, text: str) -> str:
        """The part of a document that is searched."""
        return text[: self.characters]


class CandidateRule:
    """Finds the candidates of one field."""

    def __init__(self, compiled: CompiledSchema, field: Field, extent: Extent | None = None) -> None:
        self.field = field
        self.extent = extent or Extent()
        node = next(node for node in compiled.root.nodes() if node.field is field)
        limits = {name: node.schema[name] for name in _LIMITS if name in node.schema}
        self._validator = ExactValidator(limits, format_checker=FORMAT_CHECKER) if limits else None

    def find(self, text: str) -> list[Candidate]:
        """The candidates in a document, in reading order."""
        field = self.field
        if field.format == "date":
            candidates = self._dates(text)
        elif field.type in ("number", "integer"):
            candidates = self._numbers(text)
        else:
            candidates = self._texts(text)
        unique = {
            (candidate.start, candidate.end): candidate for candidate in candidates if self._is_allowed(candidate.value)
        }
        return [unique[key] for key in sorted(unique)]

    def _dates(self, text: str) -> Iterator[Candidate]:
        field = self.field
        for start, end, _ in dates.scan(text, field.date_order, field.locale):
            days = dates.unambiguous_readings(text[start:end], field.date_order, field.locale, text)
            if days:
                yield Candidate(start, end, days[0].isoformat())

    def _numbers(self, text: str) -> Iterator[Candidate]:
        accounting = self.field.accounting and self.extent.accounting
        for start, end, readings in numbers.scan(text, self.field.locale, accounting=accounting):
            value = readings[0]
            if self.field.type == "number":
                yield Candidate(start, end, value)
            elif value == value.to_integral_value():
                yield Candidate(start, end, int(value))

    def _texts(self, text: str) -> Iterator[Candidate]:
        lines = [list(_WORD.finditer(text, *span)) for span in _lines(text)]
        for words in lines:
            for first in range(len(words)):
                for last in range(first, min(len(words), first + self.extent.words)):
                    yield from self._text(text, words[first].start(), words[last].end())
        for first in range(len(lines)):
            for last in range(first, min(len(lines), first + self.extent.lines)):
                if last > first or len(lines[first]) > self.extent.words:
                    yield from self._text(text, lines[first][0].start(), lines[last][-1].end())

    def _text(self, text: str, start: int, end: int) -> Iterator[Candidate]:
        raw = text[start:end]
        start, end = start + len(raw) - len(raw.lstrip(_TRIMMED)), end - len(raw) + len(raw.rstrip(_TRIMMED))
        if start < end:
            yield Candidate(start, end, rendered(text[start:end], spaced_commas=self.extent.spaced_commas))

    def _is_allowed(self, value: Any) -> bool:
        return self._validator is None or bool(self._validator.is_valid(value))


def rendered(text: str, *, spaced_commas: bool) -> str:
    """A stretch of a document as a value: on one line, with single blanks."""
    plain = " ".join(text.split())
    return re.sub(r"\s*,\s*(?=\S)", ", ", plain) if spaced_commas else plain


@lru_cache(maxsize=64)
def _lines(text: str) -> tuple[tuple[int, int], ...]:
    """The lines that have words."""
    return tuple(match.span() for match in re.finditer(r"[^\n]*\S[^\n]*", text))


def _end(line: tuple[int, int]) -> int:
    return line[1]


def shape_of(text: str) -> str:
    """Letters and digits as classes, runs shortened: "INV-2041" is "AA-00"."""
    shape = re.sub(r"[^\W\d_]", lambda match: "A" if match[0].isupper() else "a", re.sub(r"\d", "0", text))
    return re.sub(r"(.)\1{2,}", r"\1\1", shape)[:16]


def descriptions(text: str, candidates: Sequence[Candidate], wanted: Sequence[int]) -> list[list[str]]:
    """Features of the ``wanted`` candidates, by number: the words before and after, their place, shape and rank."""
    lines = _lines(text)
    ranks = _ranks(candidates)
    return [_description(text, lines, candidates[number], ranks.get(number, ())) for number in wanted]


def _description(text: str, lines: Sequence[tuple[int, int]], candidate: Candidate, ranks: Sequence[str]) -> list[str]:
    row, last = bisect_right(lines, candidate.start, key=_end), bisect_left(lines, candidate.end, key=_end)
    start = lines[row][0]
    before = _words(text[max(start, candidate.start - _CONTEXT) : candidate.start])
    after = _words(text[candidate.end : min(lines[last][1], candidate.end + _CONTEXT)])
    above = _words(_shortened(text, *lines[row - 1])) if row else []
    own = _words(_shortened(text, candidate.start, candidate.end))
    value = text[candidate.start : min(candidate.end, candidate.start + _CONTEXT)]
    number, left = min(row, 12), min(len(lines) - 1 - last, 8)
    features = [
        f"shape={shape_of(value)}",
        f"row={number}",
        f"left={left}",
        f"words={min(len(own), 12)}",
        f"lines={last - row}",
        f"first={own[0] if own else ''}",
        f"last={own[-1] if own else ''}",
        f"before={' '.join(before[-2:])}",
        f"after={after[0] if after else ''}",
        f"ends={not before}{not after}",
        f"ends={not before}{not after},lines={last - row}",
        f"above={' '.join(above[:2])}",
        f"row={number},lines={last - row}",
        f"row={number},left={min(left, 2)},ends={not before}{not after}",
        *ranks,
    ]
    features += [f"near={word}" for word in before[-4:]]
    features += [f"own={word}" for word in own[:12]]
    features += [f"over={word}" for word in above[-3:]]
    if last + 1 < len(lines):
        features.append(f"below={' '.join(_words(_shortened(text, *lines[last + 1]))[:2])}")
    return features


def _shortened(text: str, start: int, end: int) -> str:
    """A stretch of a text; of a long one its beginning and its end."""
    if end - start <= 2 * _CONTEXT:
        return text[start:end]
    return f"{text[start : start + _CONTEXT]} {text[end - _CONTEXT : end]}"


@lru_cache(maxsize=4096)
def _words(text: str) -> list[str]:
    return [re.sub(r"\d", "0", word.casefold()) for word in re.findall(r"\w+|[^\w\s]", text)]


def _ranks(candidates: Sequence[Candidate]) -> Mapping[int, tuple[str, ...]]:
    """The rank of dates and numbers among all of the document: by order, and by size."""
    if not candidates or (isinstance(candidates[0].value, str) and len(candidates) > 40):
        return {}
    by_value = sorted({candidate.value for candidate in candidates}, reverse=True)
    place = {value: min(at, 5) for at, value in enumerate(by_value)}
    count = len(candidates)
    return {
        number: (f"size={place[candidate.value]}", f"order={min(number, 6)}", f"end={min(count - 1 - number, 6)}")
        for number, candidate in enumerate(candidates)
    }
