"""Two models on the same documents: what B fixed and broke, and whether that is significant.

Pure: scores in (``slmstudio.contract.scoring.scorer.DocumentScore`` or its dict), JSON-ready results out.
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
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

FieldCounts = tuple[tuple[FieldCount, ...], tuple[FieldCount, ...]]


def compare(
    a: Iterable[tuple[str, Any]],
    b: Iterable[tuple[str, Any]],
    shared: frozenset[str] | None = None,
    families: Mapping[str, Any] | None = None,
) -> tuple[dict[str, Any], DocumentColumns, FieldCounts]:
    """Compares two runs, each a list of (document id, score); ValueError where one has a document twice.

    ``families``: document id -> family, where a document is not alone in it. Intervals and tests are then over whole
    families, too.

    ``shared``: the fields that both were scored for, where their schemas differ. Fields of only one schema do not
    count, and a document is right if its shared fields are.

    Returns the result over their common documents, the columns of these documents, and the field counts of A and B in
    their order. A document is right if it is an exact match. In the result ``broken`` and ``fixed`` are ids of
    documents; ``counts``: state -> documents; ``left_out_a`` and ``left_out_b``: documents that only A or only B has;
    ``measures``: see ``_measures``; ``fields``: see ``_fields``; ``outcomes``: outcome of a field -> its count in A and
    in B; ``errors``: error type -> its fields in A and in B, and its documents in A and in B.
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
    field_counts = tuple(score.count() for score in in_a), tuple(score.count() for score in in_b)
    of = [(families or {}).get(key, key) for key in keys]
    measures = _measures(in_a, in_b, field_counts, of)
    alone = len(scores_a) - len(common), len(scores_b) - len(common)
    excluded = f"excluded: {alone[0]:,} only in A, {alone[1]:,} only in B."
    result = {
        "n": len(common),
        "left_out_a": alone[0],
        "left_out_b": alone[1],
        "note": f"Compared on the {len(common):,} documents that both runs have; {excluded}" if any(alone) else "",
        **{
            state: [key for key, letter in zip(keys, cases.state, strict=True) if letter == LETTERS[state]]
            for state in ("broken", "fixed")
        },
        "counts": _state_counts(cases.state),
        "p_value": next(measure["p_value"] for measure in measures if measure["name"] == "document_exact"),
        "measures": measures,
        "fields": _fields(cases, of),
        "outcomes": _outcomes(in_a, in_b),
        "errors": _errors(in_a, in_b),
    }
    return result, cases, field_counts


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


def _state_counts(column: str) -> dict[str, int]:
    return {state: column.count(letter) for state, letter in LETTERS.items()}


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


def _fields(cases: DocumentColumns, of: Sequence[Hashable]) -> list[dict[str, Any]]:
    """A row for each field (a pattern like ``line_items[].amount``) over the documents where it counts.

    A document has it right if all its occurrences are right; documents in which gold and both outputs lack it do not
    count. ``p_value`` is exact McNemar over documents, and not below that over families (``of``: that of each case),
    ``p_adjusted`` after Holm over all fields.
    """
    p_values = [_state_test(column, of) for column in cases.fields.values()]
    rows = []
    for (name, column), p_value, adjusted in zip(cases.fields.items(), p_values, holm(p_values), strict=True):
        counts = _state_counts(column)
        rows.append(
            {
                "field": name,
                "n": sum(counts.values()),
                "a_right": counts["still_right"] + counts["broken"],
                "b_right": counts["still_right"] + counts["fixed"],
                **counts,
                "p_value": p_value,
                "p_adjusted": adjusted,
            }
        )
    return rows


def _state_test(column: str, of: Sequence[Hashable]) -> float:
    """The p-value of fixed against broken documents in a column of states."""
    right_before = [letter in (LETTERS["broken"], LETTERS["still_right"]) for letter in column]
    right_after = [letter in (LETTERS["fixed"], LETTERS["still_right"]) for letter in column]
    return sign_test(right_before, right_after, of)[2]


def _measures(
    in_a: Sequence[ScoreView], in_b: Sequence[ScoreView], counts: FieldCounts, of: Sequence[Hashable]
) -> list[dict[str, Any]]:
    """The rates of both: schema-valid, field accuracy, exact match, hallucinated; each ``{k, n, rate, low, high}``.

    ``better`` and ``worse``: changed documents; ``p_value``: their exact sign test, by document and by family.
    """

    def measure(name: str, a: Any, b: Any, changes: tuple[int, int, float], good_is_up: bool = True) -> dict[str, Any]:
        better, worse, p_value = changes
        return {
            "name": name, "a": a, "b": b, "better": better, "worse": worse, "p_value": p_value,
            "good_is_up": good_is_up,
        }  # fmt: skip

    def counted(name: str, a: list[bool], b: list[bool], good_is_up: bool = True) -> dict[str, Any]:
        changes = sign_test(a, b, of) if good_is_up else sign_test(b, a, of)
        return measure(name, document_rate(a, of), document_rate(b, of), changes, good_is_up)

    before, after = counts
    moved = sign_test([count.share for count in before], [count.share for count in after], of)
    return [
        counted("schema_valid", [score.schema_valid for score in in_a], [score.schema_valid for score in in_b]),
        measure("field_exact", field_accuracy(before, of), field_accuracy(after, of), moved),
        counted("document_exact", [score.exact for score in in_a], [score.exact for score in in_b]),
        counted(
            "hallucinated",
            [score.has_hallucination() for score in in_a],
            [score.has_hallucination() for score in in_b],
            good_is_up=False,
        ),
    ]


def _outcomes(in_a: Sequence[ScoreView], in_b: Sequence[ScoreView]) -> dict[str, list[int]]:
    a, b = (Counter(row.outcome for score in scores for row in score.fields) for scores in (in_a, in_b))
    return {outcome: [a[outcome], b[outcome]] for outcome in sorted(a | b)}


def _errors(in_a: Sequence[ScoreView], in_b: Sequence[ScoreView]) -> dict[str, list[int]]:
    """Kind -> fields in A and in B, documents in A and in B."""
    a, b = (Counter(row.error for score in scores for row in score.fields if row.error) for scores in (in_a, in_b))
    of_a, of_b = (Counter(error for score in scores for error in score.errors) for scores in (in_a, in_b))
    return {kind: [a[kind], b[kind], of_a[kind], of_b[kind]] for kind in sorted(a | b)}
