"""Pair the rows of two lists by similarity, so that one missing or extra row does not make all following rows wrong."""

from collections.abc import Hashable, Iterable, Sequence

from rapidfuzz.fuzz import ratio

from slmstudio.contract.schema.dialect import is_number
from slmstudio.contract.values.kinds.kind import fold_coarsely

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
    found = _assign([gold[index] for index in left], [output[index] for index in right])
    return partner | {left[row]: right[column] for row, column in found.items()}


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
    found: set[int] = set()
    for whole, parts in ((1, 0), (0, 1)):
        free = [place for place, row in enumerate(rows) if row[whole] is None]
        for place, row in enumerate(rows):
            if free and row[whole] is not None and row[whole] != row[parts]:
                partner = [place] if row[parts] is not None else []
                made = _parts_of(row[whole], [(one, rows[one][parts]) for one in (*partner, *free)], bool(partner))
                found |= {place, *made} if made else set()
    return frozenset(found)


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
