"""Pair the rows of two lists by likeness, so that a row more or less does not make all that follow wrong."""

from collections.abc import Hashable, Sequence

from rapidfuzz.fuzz import ratio

MAX_CELLS = 40_000
_FUZZY_CELLS = 2_500
_LEAST = 0.3

Pair = tuple[int | None, int | None]


def _likeness(left: Sequence[Hashable], right: Sequence[Hashable], fuzzy: bool) -> float:
    """0 to 1: the share of cells that are equal; a text that is nearly equal counts in part. Cells empty on both sides
    do not count.
    """
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


def align(gold: Sequence[Sequence[Hashable]], output: Sequence[Sequence[Hashable]], *, ordered: bool) -> list[Pair]:
    """Pairs of row numbers (gold, output); None for a row without a partner.

    Rows are tuples of normalised cells. With ``ordered``, and where there are more than 40,000 combinations, row meets
    row by position. Else the assignment with the greatest likeness in all is taken (ties go to the same position), and
    pairs that share nearly nothing are parted. Gold rows come first, in order, then the output rows without a partner.
    """
    shared = min(len(gold), len(output))
    if list(gold) == list(output) or ordered or len(gold) * len(output) > MAX_CELLS:
        pairs: list[Pair] = [(index, index) for index in range(shared)]
        pairs += [(index, None) for index in range(shared, len(gold))]
        return pairs + [(None, index) for index in range(shared, len(output))]
    partner = _assign(gold, output) if shared else {}
    taken = set(partner.values())
    pairs = [(index, partner.get(index)) for index in range(len(gold))]
    return pairs + [(None, index) for index in range(len(output)) if index not in taken]


def _assign(gold: Sequence[Sequence[Hashable]], output: Sequence[Sequence[Hashable]]) -> dict[int, int]:
    # scipy.optimize takes a third of a second to import; a process that never scores lists should not pay for it.
    import numpy
    from scipy.optimize import linear_sum_assignment

    fuzzy = len(gold) * len(output) <= _FUZZY_CELLS
    likeness = numpy.array([[_likeness(left, right, fuzzy) for right in output] for left in gold])
    distance = abs(numpy.subtract.outer(numpy.arange(len(gold)), numpy.arange(len(output))))
    rows, columns = linear_sum_assignment(likeness - 1e-6 * distance, maximize=True)
    return {int(row): int(column) for row, column in zip(rows, columns, strict=True) if likeness[row, column] >= _LEAST}
