"""Agreement between annotators of the same documents, per field. Pure.

Values are compared as in scoring: normalized by field kind, with rows of arrays paired by similarity. Absent (a missing
name, null, a missing row) is a value like any other.

Cohen, J. (1960): A coefficient of agreement for nominal scales. Light, R. J. (1971): Measures of response agreement for
qualitative data (kappa of more than two people: the mean over pairs). Krippendorff, K. (2011): Computing Krippendorff's
alpha-reliability (nominal data, any number of people, missing values).
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

from slmstudio.contract.schema.compiled import CompiledSchema, exact
from slmstudio.contract.schema.structure import Field, Node
from slmstudio.contract.scoring.pairing import align_rows
from slmstudio.contract.scoring.scorer import cells
from slmstudio.contract.values.kinds.values import normalize

#: in a unit: the annotator did not label it
NOT_LABELED: Final = object()

Unit = Sequence[Hashable]
#: compared places from which agreement differs clearly from chance
MIN_UNITS = 20


@dataclass(frozen=True, slots=True)
class FieldAgreement:
    """Agreement on one field. ``units``: compared places; in arrays, one per row and document.

    ``exact``: share of pairs of labels that are equal, 0 to 1. ``kappa`` (Cohen; with more than two annotators the mean
    over pairs) and ``alpha`` (Krippendorff, nominal) only for choices with ``MIN_UNITS``; None where they are
    undefined, such as when only one choice occurs.
    """

    field: Field
    units: int
    exact: float
    kappa: float | None = None
    alpha: float | None = None


def by_field(compiled: CompiledSchema, documents: Iterable[Sequence[Any]]) -> list[FieldAgreement]:
    """Agreement per field, in the order of the schema. A document is a sequence with one label per annotator, or
    NOT_LABELED; the annotators have the same order in every document.

    Omits fields without a unit. Raises ValueError for values that are not JSON.
    """
    units: dict[str, list[list[Hashable]]] = {field.pattern: [] for field in compiled.root.leaves()}
    fields = {field.pattern: field for field in compiled.root.leaves()}
    for labels in documents:
        asked = [index for index, label in enumerate(labels) if label is not NOT_LABELED]
        if len(asked) < 2:
            continue
        for field, values in compared(compiled, [labels[index] for index in asked]):
            unit: list[Hashable] = [NOT_LABELED] * len(labels)
            for index, value in zip(asked, values, strict=True):
                unit[index] = value
            units[field.pattern].append(unit)
    return [_agreement(fields[pattern], compared_units) for pattern, compared_units in units.items() if compared_units]


def _agreement(field: Field, units: list[list[Hashable]]) -> FieldAgreement:
    agreeing, pairs = 0, 0
    for unit in units:
        counts = Counter(value for value in unit if value is not NOT_LABELED)
        total = sum(counts.values())
        pairs += total * (total - 1)
        agreeing += sum(count * (count - 1) for count in counts.values())
    kappa = alpha = None
    if field.is_choice and len(units) >= MIN_UNITS:
        kappa, alpha = mean_pairwise_kappa(units), krippendorff_alpha(units)
    return FieldAgreement(field, len(units), agreeing / pairs, kappa, alpha)


def cohen_kappa(first: Sequence[Hashable], other: Sequence[Hashable]) -> float | None:
    """Cohen's kappa of two annotators' labels of the same units; None where both used only one value.

    Raises ValueError where the two are not of the same length.
    """
    total = len(first)
    if not total:
        return None
    observed = sum(a == b for a, b in zip(first, other, strict=True)) / total
    ones, others = Counter(first), Counter(other)
    expected = sum(count * others[value] for value, count in ones.items()) / total**2
    return None if expected == 1 else (observed - expected) / (1 - expected)


def mean_pairwise_kappa(units: Sequence[Unit]) -> float | None:
    """Cohen's kappa; with more than two annotators the mean over pairs (Light), weighted by the units that both
    labeled, because pairs share more or fewer. A unit is as in ``krippendorff_alpha``. None if no pair has one.
    """
    pairs: dict[tuple[int, int], tuple[list[Hashable], list[Hashable]]] = {}
    for unit in units:
        asked = [index for index, value in enumerate(unit) if value is not NOT_LABELED]
        for first, other in combinations(asked, 2):
            ones, others = pairs.setdefault((first, other), ([], []))
            ones.append(unit[first])
            others.append(unit[other])
    kappas = [(kappa, len(ones)) for ones, others in pairs.values() if (kappa := cohen_kappa(ones, others)) is not None]
    weight = sum(size for _, size in kappas)
    return sum(kappa * size for kappa, size in kappas) / weight if weight else None


def krippendorff_alpha(units: Iterable[Unit]) -> float | None:
    """Krippendorff's alpha for nominal data. A unit is the value of each annotator, NOT_LABELED where they did not
    label it; units with fewer than two labels do not count. None where no two labels can be paired or all are the same.
    """
    disagreeing = 0.0
    totals: Counter[Hashable] = Counter()
    for unit in units:
        counts = Counter(value for value in unit if value is not NOT_LABELED)
        people = sum(counts.values())
        if people < 2:
            continue
        totals.update(counts)
        same = sum(count * (count - 1) for count in counts.values())
        disagreeing += (people * (people - 1) - same) / (people - 1)
    n = sum(totals.values())
    by_chance = n * n - sum(count * count for count in totals.values())
    return 1 - (n - 1) * disagreeing / by_chance if by_chance else None


# -- the labels of several annotators, by place ------------------------------------------------------------------------


def compared(compiled: CompiledSchema, labels: Sequence[Any]) -> Iterator[tuple[Field, list[Hashable]]]:
    """Every leaf with the normalized value of each label; None if a label has none."""
    yield from _compared(compiled.root, [exact(label) for label in labels])


def _compared(node: Node, values: list[Any]) -> Iterator[tuple[Field, list[Hashable]]]:
    if node.field is not None:
        yield node.field, [normalize(value, node.field) for value in values]
    elif node.item is not None:
        rows = [value if isinstance(value, list) else [] for value in values]
        for group in paired_rows(node, rows):
            yield from _compared(node.item, [rows[i][group[i]] if i in group else None for i in range(len(rows))])
    else:
        for name, child in node.children.items():
            yield from _compared(child, [value.get(name) if isinstance(value, dict) else None for value in values])


def paired_rows(node: Node, rows: Sequence[Sequence[Any]]) -> list[dict[int, int]]:
    """The rows of several annotators grouped by similarity: annotator -> row number per group.

    In the order of the first annotator, then rows of later ones. ``node``: the array.
    """
    assert node.item is not None
    item = node.item
    groups: list[dict[int, int]] = []
    representatives: list[tuple[Hashable, ...]] = []
    for annotator, own in enumerate(rows):
        mine = [cells(item, row) for row in own]
        for group, row in align_rows(representatives, mine, ordered=node.ordered):
            if row is None:
                continue
            if group is None:
                groups.append({annotator: row})
                representatives.append(mine[row])
            else:
                groups[group][annotator] = row
    return groups
