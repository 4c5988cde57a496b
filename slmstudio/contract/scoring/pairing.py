"""Pair gold and output: every leaf of the schema with its two values, the rows of lists paired first by similarity, so
that one missing or extra row does not make all following rows wrong.
"""

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rapidfuzz.fuzz import ratio

from slmstudio.contract.schema.dialect import is_number
from slmstudio.contract.schema.structure import Field, Node, join
from slmstudio.contract.values.kinds.registry import fold_coarsely
from slmstudio.contract.values.kinds.values import normalize

MAX_CELLS = 40_000
_FUZZY_CELLS = 2_500
MIN_SIMILARITY = 0.3
# Minimum share of a text that its parts must cover.
_MIN_COVERED = 0.7
_MAX_UNPAIRED = 50

Pair = tuple[int | None, int | None]
Row = Sequence[Hashable]


def _similarity(left: Sequence[Hashable], right: Sequence[Hashable], fuzzy: bool) -> float:
    """0 to 1: the share of equal cells; a nearly equal text counts in part. Cells empty on both sides do not count."""
    total = score = 0.0
    for a, b in zip(left, right, strict=True):
        if a is None and b is None:
            continue
        total += 1
        if a == b:
            score += 1
        elif fuzzy and isinstance(a, str) and isinstance(b, str):
            score += 0.9 * max(0.0, ratio(a[:200], b[:200]) / 100 - 0.5)
    return score / total if total else 1.0


def align_rows(
    gold: Sequence[Sequence[Hashable]], output: Sequence[Sequence[Hashable]], *, ordered: bool
) -> list[Pair]:
    """Pairs of row numbers (gold, output); None for a row without a partner.

    Rows are tuples of normalized cells. With ``ordered`` rows are paired by position. Otherwise the assignment with the
    highest total similarity is used (ties go to the same position), and pairs with almost no similarity are split. If
    that would take more than 40,000 combinations, equal rows are paired first, and the rest is assigned; by position
    only if the rest alone exceeds the limit. Gold rows come first, in order, then output rows without a partner.
    """
    if ordered or list(gold) == list(output):
        partner = {index: index for index in range(min(len(gold), len(output)))}
    elif len(gold) * len(output) > MAX_CELLS:
        partner = _assign_many(gold, output)
    else:
        partner = _assign(gold, output)
    taken = set(partner.values())
    pairs: list[Pair] = [(index, partner.get(index)) for index in range(len(gold))]
    return pairs + [(None, index) for index in range(len(output)) if index not in taken]


def _assign_many(gold: Sequence[Row], output: Sequence[Row]) -> dict[int, int]:
    """Equal rows are paired in one pass, in order; the others as in ``_assign``, or by position if there are still too
    many.
    """
    places: dict[tuple[Hashable, ...], list[int]] = {}
    for index in reversed(range(len(output))):  # so that the first position is used first
        places.setdefault(tuple(output[index]), []).append(index)
    partner: dict[int, int] = {}
    for index, row in enumerate(gold):
        if equal := places.get(tuple(row)):
            partner[index] = equal.pop()
    taken = set(partner.values())
    left = [index for index in range(len(gold)) if index not in partner]
    right = [index for index in range(len(output)) if index not in taken]
    if len(left) * len(right) > MAX_CELLS:
        return partner | dict(zip(left, right, strict=False))
    assigned = _assign([gold[index] for index in left], [output[index] for index in right])
    return partner | {left[row]: right[column] for row, column in assigned.items()}


def _assign(gold: Sequence[Sequence[Hashable]], output: Sequence[Sequence[Hashable]]) -> dict[int, int]:
    if not gold or not output:
        return {}
    # scipy.optimize takes a third of a second to import; a process that never scores lists should not pay for it.
    import numpy
    from scipy.optimize import linear_sum_assignment

    fuzzy = len(gold) * len(output) <= _FUZZY_CELLS
    likeness = numpy.array([[_similarity(left, right, fuzzy) for right in output] for left in gold])
    distance = abs(numpy.subtract.outer(numpy.arange(len(gold)), numpy.arange(len(output))))
    rows, columns = linear_sum_assignment(likeness - 1e-6 * distance, maximize=True)
    return {
        int(row): int(column)
        for row, column in zip(rows, columns, strict=True)
        if likeness[row, column] >= MIN_SIMILARITY
    }


def merged_rows(gold: Sequence[Row], output: Sequence[Row], pairs: Sequence[Pair]) -> frozenset[int]:
    """The pairs (by their index in ``pairs``) of one row that corresponds to several: merged in the output, or split.

    A row corresponds to several if one of its texts consists of theirs, or if one of its numbers (of three digits or
    more) is the sum of its partner's and that of a row without one. With more than 50 rows without a partner nothing is
    searched.
    """
    lone = sum(left is None or right is None for left, right in pairs)
    if not 0 < lone <= _MAX_UNPAIRED:
        return frozenset()
    rows = [(None if a is None else gold[a], None if b is None else output[b]) for a, b in pairs]
    merged: set[int] = set()
    for whole, parts in ((1, 0), (0, 1)):
        free = [place for place, row in enumerate(rows) if row[whole] is None]
        for place, row in enumerate(rows):
            if free and row[whole] is not None and row[whole] != row[parts]:
                partner = [place] if row[parts] is not None else []
                made = _parts_of(
                    row[whole], [(index, rows[index][parts]) for index in (*partner, *free)], bool(partner)
                )
                merged |= {place, *made} if made else set()
    return frozenset(merged)


def _parts_of(whole: Row | None, parts: Sequence[tuple[int, Row | None]], partner: bool) -> set[int]:
    """The parts (index, row) that a row consists of, if two or more. With ``partner`` the first is its own."""
    for column, cell in enumerate(whole or ()):
        cells = [(place, row[column]) for place, row in parts if row is not None]
        made = _texts(cell, cells) if isinstance(cell, str) else _numbers(cell, cells) if partner else set()
        if made:
            return made
    return set()


def _texts(cell: str, parts: Iterable[tuple[int, Hashable]]) -> set[int]:
    rest = text = fold_coarsely(cell)
    made = set()
    # The longest first, each removed from the rest: "tea" is not a part of "tea pot" if "tea pot" is one.
    for place, part in sorted(parts, key=lambda one: -len(fold_coarsely(str(one[1])))):
        letters = fold_coarsely(part) if isinstance(part, str) else ""
        if len(letters) > 1 and letters != text and letters in rest:
            rest = rest.replace(letters, "\n", 1)
            made.add(place)
    left = len(rest.replace("\n", ""))
    return made if len(made) > 1 and left <= (1 - _MIN_COVERED) * len(text) else set()


def _numbers(cell: Hashable, parts: Sequence[tuple[int, Hashable]]) -> set[int]:
    (own, first), *others = parts
    if not first or not is_number(first) or not is_number(cell) or len(fold_coarsely(str(cell))) < 3:
        return set()
    for place, other in others:
        if other and is_number(other) and first + other == cell:  # type: ignore[operator]
            return {own, place}
    return set()


@dataclass(frozen=True, slots=True)
class Leaf:
    """One field of one document, not scored yet.

    ``path`` is its path in gold, ``output_path`` its path in the output. ``why`` is the error of the rows or the object
    around it: "row" for a row that was split or merged, "format" for an object or a list that is neither.
    """

    path: str
    field: Field
    gold: Any
    output: Any
    output_path: str
    why: str = ""


def get(value: Any, name: str) -> Any:
    """A value of an object; None if there is no such field, or no object."""
    return value.get(name) if isinstance(value, dict) else None


def cells(node: Node, value: Any) -> tuple[Hashable, ...]:
    """The normalized leaves of one row, a nested list as one cell."""
    if node.field is not None:
        return (normalize(value, node.field),)
    if node.item is not None:
        return (tuple(cells(node.item, item) for item in value) if isinstance(value, list) else None,)
    return tuple(cell for name, child in node.children.items() for cell in cells(child, get(value, name)))


def pair(node: Node, gold: Any, output: Any, path: str = "", out: str = "", why: str = "") -> Iterator[Leaf]:
    """Every leaf at and below a place of the schema."""
    if node.field is not None:
        yield Leaf(path, node.field, gold, output, out, why)
    elif node.item is not None:
        if output is not None and not isinstance(output, list):
            why = "format"
        yield from _rows(node, gold, output, path, out, why)
    else:
        if output is not None and not isinstance(output, dict):
            why = "format"
        for name, child in node.children.items():
            here = join(path, name)
            there = here if out == path else join(out, name)
            yield from pair(child, get(gold, name), get(output, name), here, there, why)


def _rows(node: Node, gold: Any, output: Any, path: str, out: str, why: str) -> Iterator[Leaf]:
    item = node.item
    assert item is not None
    gold_rows = gold if isinstance(gold, list) else []
    output_rows = output if isinstance(output, list) else []
    gold_cells = [cells(item, row) for row in gold_rows]
    output_cells = [cells(item, row) for row in output_rows]
    pairs = align_rows(gold_cells, output_cells, ordered=node.ordered)
    torn = merged_rows(gold_cells, output_cells, pairs)
    for index, (left, right) in enumerate(pairs):
        yield from pair(
            item,
            None if left is None else gold_rows[left],
            None if right is None else output_rows[right],
            f"{path}[{index}]",
            f"{out}[{right}]",
            "row" if index in torn else why,
        )
