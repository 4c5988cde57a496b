"""Two models on the same documents: what B fixed and broke, and whether that is significant.

Pure: scores in (``slmstudio.contract.scoring.scorer.DocumentScore`` or its dict), a Comparison out.
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from evaluation.comparison.document_filter import (
    ABSENT,
    IN_A,
    IN_B,
    IN_BOTH,
    LETTERS,
    NEITHER,
    STATES,
    DocumentColumns,
)
from evaluation.scores.rates import document_rate, field_accuracy, sign_test
from evaluation.scores.score_view import UNCOUNTED_OUTCOME, FieldCount, ScoreView
from evaluation.stats import holm


@dataclass(frozen=True)
class FieldComparison:
    """One field (a pattern like ``line_items[].amount``) over the documents where it counts.

    A document has it right if all its occurrences are right; documents in which gold and both outputs lack it do not
    count. ``p_value`` is exact McNemar over documents, and not below that over families, ``p_adjusted`` after Holm over
    all fields.
    """

    field: str
    n: int
    a_right: int
    b_right: int
    fixed: tuple[str, ...]
    broken: tuple[str, ...]
    still_wrong: tuple[str, ...]
    still_right: tuple[str, ...]
    p_value: float
    p_adjusted: float

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready, with counts instead of ids, which are in the columns."""
        by_state = {state: len(getattr(self, state)) for state in STATES}
        return {
            "field": self.field,
            "n": self.n,
            "a_right": self.a_right,
            "b_right": self.b_right,
            **by_state,
            "p_value": self.p_value,
            "p_adjusted": self.p_adjusted,
        }


@dataclass(frozen=True)
class RateChange:
    """A rate of both runs on the documents they share, each ``{k, n, rate, low, high}``.

    ``better`` and ``worse``: changed documents; ``p_value``: their exact sign test, by document and by family.
    """

    name: str
    a: Mapping[str, Any]
    b: Mapping[str, Any]
    better: int
    worse: int
    p_value: float
    good_is_up: bool = True


@dataclass(frozen=True)
class Comparison:
    """A against B over their common documents; each tuple holds document ids in the order of A.

    A document is right if it is an exact match. ``left_out_a`` and ``left_out_b`` count the documents that only A or
    only B has. ``outcomes``: outcome of a field -> its count in A and in B; ``errors``: error type -> its fields in A
    and in B, and its documents in A and in B. ``field_counts``: in the order of ``cases``.
    """

    n: int
    left_out_a: int
    left_out_b: int
    fixed: tuple[str, ...]
    broken: tuple[str, ...]
    still_wrong: tuple[str, ...]
    still_right: tuple[str, ...]
    p_value: float
    fields: tuple[FieldComparison, ...]
    measures: tuple[RateChange, ...]
    outcomes: Mapping[str, tuple[int, int]]
    errors: Mapping[str, tuple[int, int, int, int]]
    cases: DocumentColumns
    field_counts: tuple[tuple[FieldCount, ...], tuple[FieldCount, ...]]

    @property
    def note(self) -> str:
        """The excluded documents, as a sentence; "" if there are none."""
        if not (self.left_out_a or self.left_out_b):
            return ""
        return (
            f"Compared on the {self.n:,} documents that both runs have; excluded: "
            f"{self.left_out_a:,} only in A, {self.left_out_b:,} only in B."
        )

    def states(self) -> list[tuple[str, str]]:
        """(document id, state) of every compared document, broken first."""
        return [(key, state) for state in STATES for key in getattr(self, state)]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready: ids of changed documents, counts and columns of all."""
        return {
            "n": self.n,
            "left_out_a": self.left_out_a,
            "left_out_b": self.left_out_b,
            "note": self.note,
            "broken": list(self.broken),
            "fixed": list(self.fixed),
            "counts": {state: len(getattr(self, state)) for state in STATES},
            "p_value": self.p_value,
            "measures": [asdict(measure) for measure in self.measures],
            "fields": [field.as_dict() for field in self.fields],
            "outcomes": {name: list(pair) for name, pair in self.outcomes.items()},
            "errors": {name: list(pair) for name, pair in self.errors.items()},
            "cases": self.cases.as_dict(),
        }


def compare(
    a: Iterable[tuple[str, Any]],
    b: Iterable[tuple[str, Any]],
    shared: frozenset[str] | None = None,
    families: Mapping[str, Any] | None = None,
) -> Comparison:
    """Compares two runs, each a list of (document id, score); ValueError where one has a document twice.

    ``families``: document id -> family, where a document is not alone in it. Intervals and tests are then over whole
    families, too.

    ``shared``: the fields that both were scored for, where their schemas differ. Fields of only one schema do not
    count, and a document is right if its shared fields are.
    """
    scores_a, scores_b = _by_document(a, "A", shared), _by_document(b, "B", shared)
    common = [key for key in scores_a if key in scores_b]
    names = _field_names((scores_a[key], scores_b[key]) for key in common)
    keys = sorted(common, key=lambda key: STATES.index(_state(scores_a[key].exact, scores_b[key].exact)))
    in_a, in_b = [scores_a[key] for key in keys], [scores_b[key] for key in keys]
    cases = DocumentColumns(
        keys=tuple(keys),
        state="".join(LETTERS[_state(score.exact, other.exact)] for score, other in zip(in_a, in_b, strict=True)),
        fields=_field_columns(names, in_a, in_b),
        errors=_error_columns(in_a, in_b),
    )
    states = _in_order(cases.keys, cases.state)
    field_counts = tuple(score.count() for score in in_a), tuple(score.count() for score in in_b)
    of = [(families or {}).get(key, key) for key in keys]
    measures = _measures(in_a, in_b, field_counts, of)
    return Comparison(
        n=len(common),
        left_out_a=len(scores_a) - len(common),
        left_out_b=len(scores_b) - len(common),
        **states,
        p_value=next(measure.p_value for measure in measures if measure.name == "document_exact"),
        fields=_fields(common, cases, of),
        measures=measures,
        outcomes=_outcomes(in_a, in_b),
        errors=_errors(in_a, in_b),
        cases=cases,
        field_counts=field_counts,
    )


def _by_document(scores: Iterable[tuple[str, Any]], name: str, shared: frozenset[str] | None) -> dict[str, ScoreView]:
    views: dict[str, ScoreView] = {}
    for key, score in scores:
        if key in views:
            raise ValueError(f"run {name} has document {key} twice")
        views[key] = ScoreView.of(score).within(shared)
    return views


def _state(right_a: bool, right_b: bool) -> str:
    if right_a:
        return "still_right" if right_b else "broken"
    return "fixed" if right_b else "still_wrong"


def _in_order(keys: Sequence[str], column: str) -> dict[str, tuple[str, ...]]:
    """State -> the keys with its letter in the column."""
    return {
        state: tuple(key for key, its in zip(keys, column, strict=True) if its == letter)
        for state, letter in LETTERS.items()
    }


def _field_names(pairs: Iterable[tuple[ScoreView, ScoreView]]) -> list[str]:
    """Every field that counts somewhere, in the order in which fields first occur."""
    names: dict[str, None] = {}
    for pair in pairs:
        for view in pair:
            names.update((row.field, None) for row in view.fields if row.outcome != UNCOUNTED_OUTCOME)
    return list(names)


def _field_columns(names: Sequence[str], in_a: Sequence[ScoreView], in_b: Sequence[ScoreView]) -> dict[str, str]:
    columns = {name: [ABSENT] * len(in_a) for name in names}
    for place, (left, other) in enumerate(zip(in_a, in_b, strict=True)):
        right_a, right_b = left.correct_fields(), other.correct_fields()
        for name in right_a | right_b:
            # counted in one run only: gold and the other output lack it, which is right
            columns[name][place] = LETTERS[_state(right_a.get(name, True), right_b.get(name, True))]
    return {name: "".join(column) for name, column in columns.items()}


def _error_columns(in_a: Sequence[ScoreView], in_b: Sequence[ScoreView]) -> dict[str, str]:
    pairs = [(left.errors, other.errors) for left, other in zip(in_a, in_b, strict=True)]
    letters = {(False, False): NEITHER, (True, False): IN_A, (False, True): IN_B, (True, True): IN_BOTH}
    kinds = sorted(set().union(*(left | other for left, other in pairs)))
    return {kind: "".join(letters[kind in left, kind in other] for left, other in pairs) for kind in kinds}


def _fields(common: Sequence[str], cases: DocumentColumns, of: Sequence[Hashable]) -> tuple[FieldComparison, ...]:
    """The table per field; its ids in the order of A. ``of``: the family of each case."""
    place = {key: number for number, key in enumerate(cases.keys)}
    order = [place[key] for key in common]
    by_name = {
        name: _in_order(common, "".join(column[number] for number in order)) for name, column in cases.fields.items()
    }
    p_values = [_state_test(column, of) for column in cases.fields.values()]
    return tuple(
        FieldComparison(
            field=name,
            n=sum(len(keys) for keys in states.values()),
            a_right=len(states["still_right"]) + len(states["broken"]),
            b_right=len(states["still_right"]) + len(states["fixed"]),
            **states,
            p_value=p_value,
            p_adjusted=adjusted,
        )
        for (name, states), p_value, adjusted in zip(by_name.items(), p_values, holm(p_values), strict=True)
    )


def _state_test(column: str, of: Sequence[Hashable]) -> float:
    """The p-value of fixed against broken documents in a column of states."""
    right_before = [letter in (LETTERS["broken"], LETTERS["still_right"]) for letter in column]
    right_after = [letter in (LETTERS["fixed"], LETTERS["still_right"]) for letter in column]
    return sign_test(right_before, right_after, of)[2]


def _measures(
    in_a: Sequence[ScoreView],
    in_b: Sequence[ScoreView],
    counts: tuple[Sequence[FieldCount], Sequence[FieldCount]],
    of: Sequence[Hashable],
) -> tuple[RateChange, ...]:
    """The rates of the comparison: schema-valid, field accuracy, exact match, hallucinated."""

    def counted(name: str, a: list[bool], b: list[bool], good_is_up: bool = True) -> RateChange:
        better, worse, p_value = sign_test(a, b, of) if good_is_up else sign_test(b, a, of)
        return RateChange(name, document_rate(a, of), document_rate(b, of), better, worse, p_value, good_is_up)

    before, after = counts
    moved = sign_test([count.share for count in before], [count.share for count in after], of)
    return (
        counted("schema_valid", [score.schema_valid for score in in_a], [score.schema_valid for score in in_b]),
        RateChange("field_exact", field_accuracy(before, of), field_accuracy(after, of), *moved),
        counted("document_exact", [score.exact for score in in_a], [score.exact for score in in_b]),
        counted(
            "hallucinated",
            [score.has_hallucination() for score in in_a],
            [score.has_hallucination() for score in in_b],
            good_is_up=False,
        ),
    )


def _outcomes(in_a: Sequence[ScoreView], in_b: Sequence[ScoreView]) -> dict[str, tuple[int, int]]:
    a, b = (Counter(row.outcome for score in scores for row in score.fields) for scores in (in_a, in_b))
    return {outcome: (a[outcome], b[outcome]) for outcome in sorted(a | b)}


def _errors(in_a: Sequence[ScoreView], in_b: Sequence[ScoreView]) -> dict[str, tuple[int, int, int, int]]:
    """Kind -> fields in A and in B, documents in A and in B."""
    a, b = (Counter(row.error for score in scores for row in score.fields if row.error) for scores in (in_a, in_b))
    of_a, of_b = (Counter(error for score in scores for error in score.errors) for scores in (in_a, in_b))
    return {kind: (a[kind], b[kind], of_a[kind], of_b[kind]) for kind in sorted(a | b)}
