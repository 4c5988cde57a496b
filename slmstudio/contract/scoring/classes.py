"""Scores of choice fields: confusion matrix, precision and recall of each class, decision rate."""

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from slmstudio.contract.json_text import dumps
from slmstudio.contract.scoring.summary import f1, macro_average, wilson

if TYPE_CHECKING:
    from slmstudio.contract.schema.compiled import CompiledSchema
    from slmstudio.contract.scoring.outcomes import DocumentScore, FieldOutcome

MAX_CLASSES = 200
UNDECIDED = ""


def confusion(scores: Iterable["DocumentScore"], pattern: str) -> dict[str, Any]:
    """Confusion matrix of one class field: ``matrix[gold][output]`` counts, per class precision, recall and F1.

    Missing values, values that the schema does not allow and values of an invalid output are counted under "" (no
    decision). A field missing on both sides does not count. ``decided`` is the share with a decision, the routing
    decision rate; ``right`` the share with the correct one; ``macro`` the mean over classes. The denominator of
    precision is the values given plus those of invalid outputs, which count as given for the class in gold.
    """
    table = _Table()
    for score in scores:
        for field in score.fields:
            if field.field == pattern:
                table.add(field)
    return table.figures()


def class_scores(compiled: "CompiledSchema", scores: Iterable["DocumentScore"]) -> dict[str, Any]:
    """``confusion`` of every choice or boolean field, by pattern, in schema order.

    A field without a fixed list of choices that has more than 200 classes is left out.
    """
    chosen = {field.pattern: _Table() for field in compiled.fields if field.is_choice}
    if not chosen:
        return {}
    for score in scores:
        for field in score.fields:
            if field.field in chosen:
                chosen[field.field].add(field)
    figures = {pattern: table.figures() for pattern, table in chosen.items() if table.matrix}
    return {pattern: found for pattern, found in figures.items() if len(found["classes"]) <= MAX_CLASSES}


def label(value: Any) -> str:
    """The name of a class: a text as it is, anything else as JSON."""
    return value if isinstance(value, str) else dumps(value)


class _Table:
    """Counts of one field: ``matrix[gold][output]``, and how many values of a class are in invalid outputs."""

    def __init__(self) -> None:
        self.matrix: dict[str, Counter[str]] = {}
        self.owed = Counter[str]()

    def add(self, field: "FieldOutcome") -> None:
        """Counts one field of a document."""
        if field.outcome == "both_absent":
            return
        gold = UNDECIDED if field.gold is None else label(field.gold)
        self.owed[gold] += field.outcome == "unscorable"
        if field.outcome == "correct":
            output = gold  # they may differ in white space
        else:
            output = UNDECIDED if field.output is None or field.error == "format" else label(field.output)
        self.matrix.setdefault(gold, Counter())[output] += 1

    def figures(self) -> dict[str, Any]:
        """The counts in the form that ``confusion`` returns."""
        names = sorted({name for gold, row in self.matrix.items() for name in (gold, *row)} - {UNDECIDED})
        given, wanted = Counter[str](), Counter[str]()
        for gold, row in self.matrix.items():
            given.update(row)
            wanted[gold] += sum(row.values())
        hits = {name: self.matrix[name][name] if name in self.matrix else 0 for name in names}
        classes = {
            name: {**f1(hits[name], given[name] + self.owed[name], wanted[name]), "n": wanted[name]} for name in names
        }
        total = sum(given.values())
        return {
            "matrix": {gold: dict(sorted(row.items())) for gold, row in sorted(self.matrix.items())},
            "classes": classes,
            "macro": macro_average(classes.values()),
            "right": wilson(sum(hits.values()), total),
            "decided": wilson(total - given[UNDECIDED], total),
        }
