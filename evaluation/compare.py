"""Two models on the same documents: what B fixed and broke, and whether that is more than luck.

Pure: scores in (``slmstudio.contract.scoring.DocumentScore`` or its dict), a Comparison out.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from evaluation.measurements import NOT_COUNTED, RIGHT, Scored, percentile
from evaluation.stats import holm, mcnemar_exact

STATES = ("broken", "fixed", "still_wrong", "still_right")
LONGEST_DIFF = 4000


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


@dataclass(frozen=True)
class Comparison:
    """A against B over their common documents; each tuple holds document ids in the order of A.

    A document is right where the whole of it is exact. ``left_out_a`` and ``left_out_b`` count the documents
    that only A or only B has. ``outcomes`` gives, for each outcome of a field, how often A and B have it.
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
    outcomes: Mapping[str, tuple[int, int]]

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
        """The comparison as JSON-ready data."""
        return {**asdict(self), "outcomes": {k: list(v) for k, v in self.outcomes.items()}, "note": self.note}


def compare(a: Iterable[tuple[str, Any]], b: Iterable[tuple[str, Any]]) -> Comparison:
    """Compares two runs, each a list of (document id, score); ValueError where one has a document twice."""
    scores_a, scores_b = _by_document(a, "A"), _by_document(b, "B")
    common = [key for key in scores_a if key in scores_b]
    states = _states((key, scores_a[key].exact, scores_b[key].exact) for key in common)
    return Comparison(
        n=len(common),
        left_out_a=len(scores_a) - len(common),
        left_out_b=len(scores_b) - len(common),
        **states,
        p_value=mcnemar_exact(len(states["fixed"]), len(states["broken"])),
        fields=_fields(common, scores_a, scores_b),
        outcomes=_outcomes(common, scores_a, scores_b),
    )


def _by_document(scores: Iterable[tuple[str, Any]], name: str) -> dict[str, Scored]:
    found: dict[str, Scored] = {}
    for key, score in scores:
        if key in found:
            raise ValueError(f"run {name} has document {key} twice")
        found[key] = Scored.of(score)
    return found


def _states(rows: Iterable[tuple[str, bool, bool]]) -> dict[str, tuple[str, ...]]:
    """Sorts (id, right in A, right in B) into the four states."""
    found: dict[str, list[str]] = {state: [] for state in STATES}
    for key, right_a, right_b in rows:
        if right_a:
            found["still_right" if right_b else "broken"].append(key)
        else:
            found["fixed" if right_b else "still_wrong"].append(key)
    return {state: tuple(keys) for state, keys in found.items()}


def _fields(common: Sequence[str], a: Mapping[str, Scored], b: Mapping[str, Scored]) -> tuple[FieldComparison, ...]:
    """The table per field, in the order in which fields first occur."""
    rows: dict[str, list[tuple[str, bool, bool]]] = {}
    for key in common:
        right_a, right_b = _right_fields(a[key]), _right_fields(b[key])
        for field in dict.fromkeys([*right_a, *right_b]):
            # absent on both sides in one run only: that run was right to leave it out
            rows.setdefault(field, []).append((key, right_a.get(field, True), right_b.get(field, True)))
    found = {field: _states(documents) for field, documents in rows.items()}
    p_values = [mcnemar_exact(len(states["fixed"]), len(states["broken"])) for states in found.values()]
    return tuple(
        FieldComparison(
            field=field,
            n=len(rows[field]),
            a_right=len(states["still_right"]) + len(states["broken"]),
            b_right=len(states["still_right"]) + len(states["fixed"]),
            **states,
            p_value=p_value,
            p_adjusted=adjusted,
        )
        for (field, states), p_value, adjusted in zip(found.items(), p_values, holm(p_values), strict=True)
    )


def _right_fields(score: Scored) -> dict[str, bool]:
    """Field -> whether all its counted occurrences are right."""
    right: dict[str, bool] = {}
    for field, outcome in score.fields:
        if outcome != NOT_COUNTED:
            right[field] = right.get(field, True) and outcome in RIGHT
    return right


def _outcomes(common: Sequence[str], a: Mapping[str, Scored], b: Mapping[str, Scored]) -> dict[str, tuple[int, int]]:
    in_a = Counter(outcome for key in common for _, outcome in a[key].fields)
    in_b = Counter(outcome for key in common for _, outcome in b[key].fields)
    return {outcome: (in_a[outcome], in_b[outcome]) for outcome in sorted(in_a | in_b)}


def diff_chars(a: str, b: str) -> list[tuple[str, str]]:
    """The characters that differ: ("equal" | "delete" | "insert", text) pieces that turn ``a`` into ``b``.

    The parts kept and deleted, joined, give ``a``; those kept and inserted give ``b``. Beyond the common
    start and end, texts of more than ``LONGEST_DIFF`` characters are taken as wholly different.
    """
    from rapidfuzz.distance import Levenshtein

    start = _common(a, b)
    end = _common(a[start:][::-1], b[start:][::-1])
    old, new = a[start : len(a) - end], b[start : len(b) - end]
    pieces = [("equal", a[:start])]
    if max(len(old), len(new)) > LONGEST_DIFF:
        pieces += [("delete", old), ("insert", new)]
    else:
        for step in Levenshtein.opcodes(old, new):
            kept, added = old[step.src_start : step.src_end], new[step.dest_start : step.dest_end]
            if step.tag == "equal":
                pieces.append(("equal", kept))
            else:
                pieces += [("delete", kept), ("insert", added)]
    pieces.append(("equal", a[len(a) - end :]))
    return [(op, text) for op, text in pieces if text]


def _common(a: str, b: str) -> int:
    """How many characters two texts have in common at their start."""
    length = min(len(a), len(b))
    return next((index for index in range(length) if a[index] != b[index]), length)


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
