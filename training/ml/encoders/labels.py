"""What each head should answer for a document: gold as tokens of its windows."""

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from slmstudio.contract.assembly import value_at
from slmstudio.contract.schema.dialect import identity
from slmstudio.contract.schema.structure import Node, join
from slmstudio.contract.values import dates
from slmstudio.contract.values.evidence import Span, find
from slmstudio.contract.values.kinds.registry import collapse
from slmstudio.contract.windows.positions import MAX_LINES_AWAY, Position, locate_rows
from training.encoders.heads import DATE_ORDER, ORDERS, Head
from training.ml.encoders.network import IGNORED
from training.ml.encoders.windows import TokenWindow

#: (start, end, class) in characters of a stretch, or (first token, last token, class) of a window
Place = tuple[int, int, int]
Places = Sequence[tuple[int, int]]
#: path of a value -> the stretches that a person chose, as ``Row.evidence``
Evidence = Mapping[str, Places]
#: marks before and after a stretch that may belong to it
_MAX_MARKS = 4
#: characters before and after the values of a row that may belong to it, on its lines
_NEAR = 200


@dataclass(frozen=True)
class Target:
    """Gold of one head in one document.

    ``places``: each stretch that holds a value; of a span head all of them are the same value, of rows the class is the
    number of the column. ``starts``: where rows begin; ``choices``: the number of the class of each choice of these
    rows, ``IGNORED`` for a value that is none of the classes. ``labels``: numbers of the classes of a decision.
    ``known``: False where gold is not in the text, or none of the classes: the head learns nothing from this document.
    """

    places: tuple[Place, ...] = ()
    starts: tuple[int, ...] = ()
    choices: tuple[tuple[int, ...], ...] = ()
    labels: tuple[int, ...] = ()
    known: bool = True


UNKNOWN = Target(known=False)


def target_of(head: Head, gold: Any, text: str, evidence: Evidence = MappingProxyType({})) -> Target:
    """The target of a head for the gold of a document: where its evidence is, else where the values occur."""
    value = value_at(gold, head.pattern)
    if head.kind == "span":
        return _span_target(head, value, text, evidence)
    if head.kind == "decision":
        return _decision_target(head, value)
    target = _rows_target if head.kind == "rows" else _tags_target
    return target(head, value, text, evidence)


def targets_of(heads: Sequence[Head], gold: Any, text: str, evidence: Evidence = MappingProxyType({})) -> list[Target]:
    """The target of each head for the gold of a document."""
    targets = [UNKNOWN if head.pattern == DATE_ORDER else target_of(head, gold, text, evidence) for head in heads]
    return [
        _order_target(heads, targets, gold, text) if head.pattern == DATE_ORDER else target
        for head, target in zip(heads, targets, strict=True)
    ]


def _order_target(heads: Sequence[Head], targets: Sequence[Target], gold: Any, text: str) -> Target:
    """How the dates of a document are written, as far as gold tells: 03/04 is ambiguous, and gold says that it is
    April."""
    seen: set[int] = set()
    for head, target in zip(heads, targets, strict=True):
        value = value_at(gold, head.pattern) if head.kind == "span" else None
        if head.leaf is None or head.leaf.format != "date" or not isinstance(value, str):
            continue
        for start, end, _ in target.places:
            days = [dates.unambiguous_readings(collapse(text[start:end]), order) for order in ORDERS]
            fits = [number for number, read in enumerate(days) if [day.isoformat() for day in read] == [value]]
            seen |= set(fits) if len(fits) == 1 else set()
    return Target(labels=tuple(seen)) if len(seen) == 1 else UNKNOWN


def _span_target(head: Head, value: Any, text: str, evidence: Evidence) -> Target:
    if value is None:
        return Target()
    places = _stretches(head, value, text, evidence.get(head.pattern, ()))
    return Target(places=tuple((*place, 0) for place in places)) if places else UNKNOWN


def _stretches(
    head: Head, value: Any, text: str, chosen: Places = (), start: int = 0, end: int | None = None
) -> list[tuple[int, int]]:
    """The evidence of a value that a person chose, else its occurrences between two places of the text, with the marks
    that gold has; none where only pieces of it are there.
    """
    assert head.leaf is not None
    spans = [Span(low, high, text[low:high]) for low, high in chosen]
    if not chosen:
        here = find(value, head.leaf, text[start:end])
        spans = [Span(start + span.start, start + span.end, span.text) for span in here]
    is_divided = bool(chosen) or len(spans) > 1
    if isinstance(value, str) and is_divided and all(2 * len(span.text) < len(value) for span in spans):
        return []
    return sorted({_aligned(span, value, text) for span in spans})


def _pieces(head: Head, value: Any, text: str, at: int) -> list[tuple[int, int]]:
    """The stretches of a text that begins on the line of ``at`` and goes on below, with other columns between them, in
    order; none where it is not all there in such pieces.
    """
    assert head.leaf is not None
    words = collapse(value).split(" ") if isinstance(value, str) and head.leaf.kind == "text" else []
    places: list[tuple[int, int]] = []
    start = text.rfind("\n", 0, at) + 1
    for _ in range(1 + MAX_LINES_AWAY):
        end = text.find("\n", start) + 1 or len(text)
        number, place = _most_words(words, text, start, end)
        if place is None:
            break
        places.append(place)
        words, start = words[number:], end
    return places if not words and len(places) > 1 else []


def _most_words(words: Sequence[str], text: str, start: int, end: int) -> tuple[int, tuple[int, int] | None]:
    """How many of these words, from the first, are one after another between two places of the text, and where."""
    for number in range(len(words), 0, -1):
        pattern = r"\s+".join(map(re.escape, words[:number]))
        match = re.compile(rf"(?<!\S){pattern}(?!\S)").search(text, start, end)
        if match is not None:
            return number, match.span()
    return 0, None


def _overlap(place: tuple[int, int], other: Place) -> bool:
    return place[0] < other[1] and other[0] < place[1]


def _aligned(span: Span, value: Any, text: str) -> tuple[int, int]:
    """The span with the marks around it that gold has: evidence is found by letters, and ``SELANGOR.`` ends in a full
    stop in gold, too. Among equally good ones the shortest.
    """
    if not isinstance(value, str) or collapse(span.text) == collapse(value):
        return span.start, span.end
    starts = [span.start - before for before in range(_marks(text[: span.start][::-1]) + 1)]
    ends = [span.end + after for after in range(_marks(text[span.end :]) + 1)]
    wanted = collapse(value)

    def distance(place: tuple[int, int]) -> tuple[int, int]:
        start, end = place
        part = collapse(text[start:end])
        same = part == wanted, part[:1] == wanted[:1], part[-1:] == wanted[-1:]
        return -sum(same), end - start

    return min(((start, end) for start in starts for end in ends), key=distance)


def _marks(text: str) -> int:
    """How many marks a text begins with, at most ``_MAX_MARKS``."""
    head = text[:_MAX_MARKS]
    return next((at for at, letter in enumerate(head) if letter.isalnum() or letter.isspace()), len(head))


def _decision_target(head: Head, value: Any) -> Target:
    numbers = {identity(item): number for number, item in enumerate(head.classes)}
    values = (value if isinstance(value, list) else []) if head.several else [value]
    try:
        return Target(labels=tuple(sorted({numbers[identity(item)] for item in values})))
    except KeyError:
        return UNKNOWN


def _tags_target(head: Head, rows: Any, text: str, evidence: Evidence) -> Target:
    places: set[Place] = set()
    for path, value, number in _tagged_values(head, rows):
        stretches = _stretches(head, value, text, evidence.get(path, ()))
        if not stretches:
            return UNKNOWN
        places |= {(*place, number) for place in stretches}
    return Target(places=tuple(sorted(places)))


def _tagged_values(head: Head, rows: Any) -> Iterator[tuple[str, Any, int]]:
    """Path and value of each text, and the number of its class."""
    numbers = {identity(item): number for number, item in enumerate(head.classes)}
    for place, row in enumerate(rows if isinstance(rows, list) else []):
        path = join(head.pattern, place)
        if head.type_leaf is None:
            yield path, row, 0
        elif isinstance(row, dict) and head.leaf is not None:
            number = numbers.get(identity(row.get(head.type_leaf.name)))
            if number is not None:
                yield join(path, head.leaf.name), row.get(head.leaf.name), number


def _rows_target(head: Head, rows: Any, text: str, evidence: Evidence) -> Target:
    """Rows one after another in the text; unknown where a row has no place, or is mixed with another."""
    assert isinstance(head.item, Node)
    rows = rows if isinstance(rows, list) else []
    positions = locate_rows(head.item, rows, text)
    cells: list[list[Place]] = [[] for _ in rows]
    ordered: list[Place] = []
    for at, position in sorted(enumerate(positions), key=lambda item: -1 if item[1] is None else item[1].at):
        cells[at] = _cells(head, at, rows[at], text, position, evidence, ordered)
        ordered = sorted([*ordered, *cells[at]])
    starts = [min((low for low, _, _ in inside), default=-1) for inside in cells]
    if -1 in starts or len(set(starts)) < len(starts) or any(low[1] > high[0] for low, high in pairwise(ordered)):
        return UNKNOWN
    if starts != sorted(starts):
        extents = sorted((start, max(end for _, end, _ in inside)) for start, inside in zip(starts, cells, strict=True))
        if any(low[1] > high[0] for low, high in pairwise(extents)):
            return UNKNOWN
    known = [[_decision_target(choice, _cell(head, row, choice)) for choice in head.choices] for row in rows]
    choices = [tuple(next(iter(target.labels), IGNORED) for target in targets) for targets in known]
    return Target(places=tuple(ordered), starts=tuple(starts), choices=tuple(choices))


def _cell(head: Head, row: Any, column: Head) -> Any:
    """The value of a row in a column of rows."""
    assert head.item is not None
    return value_at(row, column.pattern[len(head.item.pattern) + 1 :])


def _cells(
    head: Head, at: int, row: Any, text: str, position: Position | None, evidence: Evidence, taken: Sequence[Place]
) -> list[Place]:
    """The places of the cells of the row ``at``: their evidence, else those near its position that no other row has
    ``taken`` (ascending). Of several places of a value it is the one next to the cell with the fewest.
    """
    assert head.item is not None
    paths = [column.pattern[len(head.item.pattern) :] for column in head.columns]
    chosen = [evidence.get(join(head.pattern, at) + path, ()) for path in paths]
    begin = min((low for places in chosen for low, _ in places), default=None)
    if begin is None and position is None:
        return []
    start, end = _lines_of(position, text) if position is not None else (0, 0)
    others = taken[max(0, bisect_left(taken, (start,)) - 1) : bisect_left(taken, (end,))]
    values = [_cell(head, row, column) for column in head.columns]
    near: list[list[Places]] = []
    for column, value, places in zip(head.columns, values, chosen, strict=True):
        pieces = _pieces(column, value, text, start if begin is None else begin)
        whole = [] if pieces or value is None else _stretches(column, value, text, places, start, end)
        near.append([cell for cell in ([pieces] if pieces else [[place] for place in whole]) if _is_free(cell, others)])
    few: list[Places] = min(
        filter(None, near), key=lambda cells: (len(cells), cells[0][0][0] - cells[0][-1][1]), default=[[]]
    )
    rarest = few[0]
    inside: list[Place] = []
    for number, cells in enumerate(near):
        if values.count(values[number]) == 1:
            cells = sorted(cells, key=lambda cell: _gap(cell, rarest))
        # Without a free place nothing is learned of this column; of the others of the row it is.
        inside += [(*place, number) for place in next((cell for cell in cells if _is_free(cell, inside)), [])]
    return inside


def _lines_of(position: Position, text: str) -> tuple[int, int]:
    """The lines of a row; of long ones what is near it."""
    start = text.rfind("\n", max(0, position.start - _NEAR), position.start) + 1 or max(0, position.start - _NEAR)
    end = text.find("\n", position.end, position.end + _NEAR)
    return start, end if end >= 0 else min(len(text), position.end + _NEAR)


def _is_free(cell: Places, others: Sequence[Place]) -> bool:
    return not any(_overlap(place, other) for place in cell for other in others)


def _gap(cell: Places, other: Places) -> int:
    """Characters between two cells."""
    return max(0, cell[0][0] - other[-1][1], other[0][0] - cell[-1][1])


def token_places(target: Target, window: TokenWindow) -> list[Place]:
    """The places of a target as tokens of a window; those that are not all in it are left out."""
    spans = ((window.span_of(start, end), number) for start, end, number in target.places)
    return [(*span, number) for span, number in spans if span is not None]


def batch(heads: Sequence[Head], rows: Sequence[tuple[TokenWindow, Sequence[Target]]]) -> dict[str, Tensor]:
    """The targets of a batch of windows by head, as ``EncoderWithHeads.losses`` reads them.

    ``span_places``: (stretches of gold, 4): row, field, first token, tokens after it. ``span_none`` and
    ``span_known``: (batch, fields). ``decision.N``: (batch,) or, of several classes, (batch, classes). ``tags.N`` and
    ``starts.N``: (batch, tokens). ``choices.N``: (batch, tokens, choices) of rows.
    """
    tokens = max(len(window.tokens) for window, _ in rows)
    targets: dict[str, Tensor] = {}
    numbered = list(enumerate(heads))
    spans = [number for number, head in numbered if head.kind == "span"]
    if spans:
        targets |= _span_targets(rows, spans)
    counts: Counter[str] = Counter()
    for number, head in numbered:
        of_head = [(window, list(of_row)[number]) for window, of_row in rows]
        kind = "tags" if head.kind == "rows" else head.kind
        if kind == "decision":
            targets[f"decision.{counts[kind]}"] = _decisions(head, [target for _, target in of_head])
        elif kind == "tags":
            labels, starts, choices = _tags(head, of_head, tokens)
            targets[f"tags.{counts[kind]}"] = labels
            if head.kind == "rows":
                targets |= {f"starts.{counts[kind]}": starts, f"choices.{counts[kind]}": choices}
        counts[kind] += 1
    return targets


def _span_targets(rows: Sequence[tuple[TokenWindow, Sequence[Target]]], heads: Sequence[int]) -> dict[str, Tensor]:
    places: list[tuple[int, int, int, int]] = []
    none = torch.zeros(len(rows), len(heads))
    known = torch.zeros(len(rows), len(heads))
    for at, (window, targets) in enumerate(rows):
        for field, number in enumerate(heads):
            target = targets[number]
            stretches = token_places(target, window) if target.known else []
            known[at, field] = target.known
            none[at, field] = not stretches
            places += [(at, field, first, last - first) for first, last, _ in stretches]
    return {"span_places": torch.tensor(places).view(-1, 4), "span_none": none, "span_known": known}


def _decisions(head: Head, targets: Sequence[Target]) -> Tensor:
    if not head.several:
        return torch.tensor([target.labels[0] if target.known else IGNORED for target in targets])
    labels = torch.zeros(len(targets), len(head.classes))
    for at, target in enumerate(targets):
        labels[at] = 0.0 if target.known else -1.0
        for number in target.labels:
            labels[at, number] = 1.0
    return labels


def _tags(head: Head, rows: Sequence[tuple[TokenWindow, Target]], tokens: int) -> tuple[Tensor, Tensor, Tensor]:
    """Labels of tokens: 0 outside, 1 + 2c at the first and 2 + 2c at other tokens of class c; starts of rows; and at
    these the classes of their choices.
    """
    labels = torch.full((len(rows), tokens), IGNORED)
    starts = torch.zeros(len(rows), tokens)
    choices = torch.full((len(rows), tokens, len(head.choices)), IGNORED)
    for at, (window, target) in enumerate(rows):
        if not target.known:
            continue
        labels[at, window.first : window.first + len(window.starts)] = 0
        begins = dict(zip(target.starts, target.choices, strict=True))
        for place in target.places:
            span = window.span_of(place[0], place[1])
            if span is not None:
                labels[at, span[0] : span[1] + 1] = 2 + 2 * place[2]
                labels[at, span[0]] = 1 + 2 * place[2]
                if place[0] in begins:
                    starts[at, span[0]] = 1.0
                    choices[at, span[0]] = torch.tensor(begins[place[0]], dtype=torch.long)
    return labels, starts, choices
