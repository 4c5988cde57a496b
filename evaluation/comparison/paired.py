"""Two models on the same documents: what B fixed and broke, and whether that is more than luck.

Pure: scores in (``slmstudio.contract.scoring.scorer.DocumentScore`` or its dict), a Comparison out.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from evaluation.comparison.document_columns import IN_A, IN_B, IN_BOTH, LETTERS, NEITHER, NOT_THERE, STATES, Cases
from evaluation.scores.failure_modes import Tally, better_and_worse, fields_right
from evaluation.scores.measurements import NOT_COUNTED, RIGHT, Scored, percentile
from evaluation.stats import holm, mcnemar_exact
from slmstudio.contract.scoring.summary import wilson

__all__ = [
    "STATES",
    "Comparison",
    "FieldComparison",
    "Judged",
    "Measure",
    "compare",
    "cost_of_time",
    "cost_of_tokens",
    "spread",
]

MADE_UP = "hallucinated"


@dataclass(frozen=True, slots=True)
class Judged:
    """What comparing needs of one document's score; ``fields`` holds (field, outcome, kind of error).

    ``clean``: the output has no name that the schema does not know.
    """

    exact: bool
    schema_valid: bool
    fields: tuple[tuple[str, str, str], ...]
    clean: bool = True

    @classmethod
    def of(cls, score: Any) -> "Judged":
        """Reads a DocumentScore, the dict made from one, or what a gate reads of it."""
        if isinstance(score, Judged):
            return score
        if isinstance(score, Scored):
            return cls(score.exact, score.schema_valid, tuple((name, outcome, "") for name, outcome in score.fields))
        get = score.__getitem__ if isinstance(score, Mapping) else lambda name: getattr(score, name)
        fields = tuple(_field(row) for row in get("fields"))
        return cls(bool(get("exact")), bool(get("schema_valid")), fields, _clean(score))

    def within(self, shared: frozenset[str] | None) -> "Judged":
        """The score as it is over some fields alone; None: as it stands."""
        if shared is None:
            return self
        fields = tuple(row for row in self.fields if row[0] in shared)
        right = self.schema_valid and self.clean and all(outcome in RIGHT for _, outcome, _ in fields)
        return replace(self, exact=self.exact or right, fields=fields)

    @property
    def tally(self) -> Tally:
        """How many fields count, and how many are right."""
        counted = [outcome for _, outcome, _ in self.fields if outcome != NOT_COUNTED]
        return Tally(sum(outcome in RIGHT for outcome in counted), len(counted))

    @property
    def errors(self) -> set[str]:
        """The kinds of error that occur."""
        return {error for _, _, error in self.fields if error}

    @property
    def made_up(self) -> bool:
        """Whether a field says what is nowhere in the document."""
        return any(outcome == MADE_UP for _, outcome, _ in self.fields)

    def right_fields(self) -> dict[str, bool]:
        """Field -> whether all its counted occurrences are right."""
        right: dict[str, bool] = {}
        for field, outcome, _ in self.fields:
            if outcome != NOT_COUNTED:
                right[field] = right.get(field, True) and outcome in RIGHT
        return right


def _clean(score: Any) -> bool:
    known = score.get("no_extra_keys") if isinstance(score, Mapping) else getattr(score, "no_extra_keys", None)
    return known is not False


def _field(row: Any) -> tuple[str, str, str]:
    if isinstance(row, Mapping):
        return str(row["field"]), str(row["outcome"]), str(row.get("error") or "")
    return str(row.field), str(row.outcome), str(getattr(row, "error", "") or "")


@dataclass(frozen=True)
class FieldComparison:
    """One field (a pattern like ``line_items[].amount``) over the documents where it counts.

    In a document it is right where all its occurrences are; documents where it is absent on both sides in
    both runs are left out. ``p_value`` is exact McNemar over documents, ``p_adjusted`` after Holm over all
    fields.
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
        """JSON-ready, with counts in the place of ids: those stand in the columns of the cases."""
        counts = {state: len(getattr(self, state)) for state in STATES}
        return {
            "field": self.field,
            "n": self.n,
            "a_right": self.a_right,
            "b_right": self.b_right,
            **counts,
            "p_value": self.p_value,
            "p_adjusted": self.p_adjusted,
        }


@dataclass(frozen=True)
class Measure:
    """A rate of both runs on the documents they share, each ``{k, n, rate, low, high}``.

    ``better`` and ``worse`` count the documents that moved; ``p_value`` is the exact sign test of that.
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

    A document is right where the whole of it is exact. ``left_out_a`` and ``left_out_b`` count the documents
    that only A or only B has. ``outcomes`` gives, for each outcome of a field, how often A and B have it; ``errors``,
    for each kind of error, in how many fields of A and B it is, and in how many documents. The tallies are in the order
    of the cases.
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
    measures: tuple[Measure, ...]
    outcomes: Mapping[str, tuple[int, int]]
    errors: Mapping[str, tuple[int, int, int, int]]
    cases: Cases
    tallies: tuple[tuple[Tally, ...], tuple[Tally, ...]]

    @property
    def note(self) -> str:
        """What was left out, as a sentence; "" where nothing was."""
        if not (self.left_out_a or self.left_out_b):
            return ""
        return (
            f"Compared on the {self.n:,} documents both runs have; left out: "
            f"{self.left_out_a:,} only in A, {self.left_out_b:,} only in B."
        )

    def states(self) -> list[tuple[str, str]]:
        """(document id, state) of every compared document, broken first."""
        return [(key, state) for state in STATES for key in getattr(self, state)]

    def as_dict(self) -> dict[str, Any]:
        """The comparison as JSON-ready data; ids of the documents that changed, counts and columns for the others."""
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
            "outcomes": {name: list(counts) for name, counts in self.outcomes.items()},
            "errors": {name: list(counts) for name, counts in self.errors.items()},
            "cases": self.cases.as_dict(),
        }


def compare(
    a: Iterable[tuple[str, Any]], b: Iterable[tuple[str, Any]], shared: frozenset[str] | None = None
) -> Comparison:
    """Compares two runs, each a list of (document id, score); ValueError where one has a document twice.

    ``shared``: the fields that both were scored for, where their schemas differ. What only one was asked for is neither
    right nor wrong in the other, so such fields count nowhere, and a document is right where the shared ones are.
    """
    scores_a, scores_b = _by_document(a, "A", shared), _by_document(b, "B", shared)
    common = [key for key in scores_a if key in scores_b]
    names = _field_names((scores_a[key], scores_b[key]) for key in common)
    keys = sorted(common, key=lambda key: STATES.index(_state(scores_a[key].exact, scores_b[key].exact)))
    in_a, in_b = [scores_a[key] for key in keys], [scores_b[key] for key in keys]
    cases = Cases(
        keys=tuple(keys),
        state="".join(LETTERS[_state(one.exact, other.exact)] for one, other in zip(in_a, in_b, strict=True)),
        fields=_field_columns(names, in_a, in_b),
        errors=_error_columns(in_a, in_b),
    )
    states = _in_order(cases.keys, cases.state)
    tallies = tuple(one.tally for one in in_a), tuple(one.tally for one in in_b)
    return Comparison(
        n=len(common),
        left_out_a=len(scores_a) - len(common),
        left_out_b=len(scores_b) - len(common),
        **states,
        p_value=mcnemar_exact(len(states["fixed"]), len(states["broken"])),
        fields=_fields(common, cases),
        measures=_measures(in_a, in_b, tallies),
        outcomes=_outcomes(in_a, in_b),
        errors=_errors(in_a, in_b),
        cases=cases,
        tallies=tallies,
    )


def _by_document(scores: Iterable[tuple[str, Any]], name: str, shared: frozenset[str] | None) -> dict[str, Judged]:
    found: dict[str, Judged] = {}
    for key, score in scores:
        if key in found:
            raise ValueError(f"run {name} has document {key} twice")
        found[key] = Judged.of(score).within(shared)
    return found


def _state(right_a: bool, right_b: bool) -> str:
    if right_a:
        return "still_right" if right_b else "broken"
    return "fixed" if right_b else "still_wrong"


def _in_order(keys: Sequence[str], column: str) -> dict[str, tuple[str, ...]]:
    """State -> the keys whose letter in the column says so."""
    return {
        state: tuple(key for key, its in zip(keys, column, strict=True) if its == letter)
        for state, letter in LETTERS.items()
    }


def _field_names(pairs: Iterable[tuple[Judged, Judged]]) -> list[str]:
    """Every field that counts somewhere, in the order in which fields first occur."""
    found: dict[str, None] = {}
    for pair in pairs:
        for one in pair:
            found.update((name, None) for name, outcome, _ in one.fields if outcome != NOT_COUNTED)
    return list(found)


def _field_columns(names: Sequence[str], in_a: Sequence[Judged], in_b: Sequence[Judged]) -> dict[str, str]:
    columns = {name: [NOT_THERE] * len(in_a) for name in names}
    for place, (one, other) in enumerate(zip(in_a, in_b, strict=True)):
        right_a, right_b = one.right_fields(), other.right_fields()
        for name in right_a | right_b:
            # absent on both sides in one run only: that run was right to leave it out
            columns[name][place] = LETTERS[_state(right_a.get(name, True), right_b.get(name, True))]
    return {name: "".join(column) for name, column in columns.items()}


def _error_columns(in_a: Sequence[Judged], in_b: Sequence[Judged]) -> dict[str, str]:
    pairs = [(one.errors, other.errors) for one, other in zip(in_a, in_b, strict=True)]
    letters = {(False, False): NEITHER, (True, False): IN_A, (False, True): IN_B, (True, True): IN_BOTH}
    kinds = sorted(set().union(*(one | other for one, other in pairs)))
    return {kind: "".join(letters[kind in one, kind in other] for one, other in pairs) for kind in kinds}


def _fields(common: Sequence[str], cases: Cases) -> tuple[FieldComparison, ...]:
    """The table per field; its ids in the order of A."""
    place = {key: number for number, key in enumerate(cases.keys)}
    order = [place[key] for key in common]
    found = {
        name: _in_order(common, "".join(column[number] for number in order)) for name, column in cases.fields.items()
    }
    p_values = [mcnemar_exact(len(states["fixed"]), len(states["broken"])) for states in found.values()]
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
        for (name, states), p_value, adjusted in zip(found.items(), p_values, holm(p_values), strict=True)
    )


def _measures(
    in_a: Sequence[Judged], in_b: Sequence[Judged], tallies: tuple[Sequence[Tally], Sequence[Tally]]
) -> tuple[Measure, ...]:
    """The head of the comparison: valid, fields right, documents right, something made up."""

    def counted(name: str, a: list[bool], b: list[bool], good_is_up: bool = True) -> Measure:
        better, worse, p_value = better_and_worse(a, b) if good_is_up else better_and_worse(b, a)
        return Measure(name, wilson(sum(a), len(a)), wilson(sum(b), len(b)), better, worse, p_value, good_is_up)

    before, after = tallies
    moved = better_and_worse([one.share for one in before], [one.share for one in after])
    return (
        counted("schema_valid", [one.schema_valid for one in in_a], [one.schema_valid for one in in_b]),
        Measure("field_exact", fields_right(before), fields_right(after), *moved),
        counted("document_exact", [one.exact for one in in_a], [one.exact for one in in_b]),
        counted("hallucinated", [one.made_up for one in in_a], [one.made_up for one in in_b], good_is_up=False),
    )


def _outcomes(in_a: Sequence[Judged], in_b: Sequence[Judged]) -> dict[str, tuple[int, int]]:
    a, b = (Counter(outcome for one in scores for _, outcome, _ in one.fields) for scores in (in_a, in_b))
    return {outcome: (a[outcome], b[outcome]) for outcome in sorted(a | b)}


def _errors(in_a: Sequence[Judged], in_b: Sequence[Judged]) -> dict[str, tuple[int, int, int, int]]:
    """Kind -> fields in A and in B, documents in A and in B."""
    a, b = (Counter(error for one in scores for _, _, error in one.fields if error) for scores in (in_a, in_b))
    of_a, of_b = (Counter(error for one in scores for error in one.errors) for scores in (in_a, in_b))
    return {kind: (a[kind], b[kind], of_a[kind], of_b[kind]) for kind in sorted(a | b)}


def spread(values: Sequence[float]) -> dict[str, float | int | None]:
    """``{n, mean, p50, p95, p99, max}`` of latencies or costs, in their unit; None for each where there are
    none.
    """
    if not values:
        return {"n": 0, "mean": None, "p50": None, "p95": None, "p99": None, "max": None}
    points = {name: percentile(values, p) for name, p in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))}
    return {"n": len(values), "mean": sum(values) / len(values), **points, "max": max(values)}


def cost_of_time(latency_ms: float, price_per_hour: float) -> float:
    """What a request costs that keeps the hardware busy for this long, in the currency of the hourly price."""
    return latency_ms / 3_600_000 * price_per_hour


def cost_of_tokens(
    prompt_tokens: int, output_tokens: int, price_per_million_in: float, price_per_million_out: float
) -> float:
    """What a request costs at an endpoint that is paid by the token."""
    return (prompt_tokens * price_per_million_in + output_tokens * price_per_million_out) / 1_000_000
