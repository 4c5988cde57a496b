"""The verdicts of gates, from counts of documents, and the bounds that these counts allow.

A verdict follows from the bounds and the threshold. Exact bounds of counted documents, and of quantiles of latencies,
are computed here. A stored bound may be wider than the exact one, as where documents belong to families, and never
narrower. Bounds by resampling need a random generator and are taken from the report; the estimate that they are about
is counted again.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from .bounds import exact_lower, exact_upper, quantile_lower, quantile_upper
from .documents import CORRECT
from .paths import text_of_any

PASS, FAIL, NOT_PROVEN = "PASS", "FAIL", "NOT PROVEN"
#: for rounding in other libraries
_TOLERANCE = 1e-6
#: metrics of which a low value passes
_AT_MOST = (
    *("field_error_rate", "document_error_rate", "hallucination_rate", "pinned_broken"),
    *("p95_latency_ms", "cost_per_request", "peak_memory_gb"),
)
_RESOURCES = ("p95_latency_ms", "requests_per_second", "cost_per_request", "peak_memory_gb")


@dataclass
class Evidence:
    """What verdicts are about, by document id: scores of the model and of the baseline, each request as milliseconds
    and whether it failed; and the pinned documents with whether they are right."""

    scores: dict[str, Any]
    baseline: dict[str, Any] | None = None
    requests: dict[str, tuple[float, bool]] = field(default_factory=dict)
    pins: dict[str, Any] | None = None


@dataclass
class GateResult:
    """The check of one gate: what is wrong, and how its bound was checked."""

    title: str
    status: str
    problems: list[str]
    how: str


def check_gate(
    verdict: dict[str, Any], inputs: dict[str, Any], evidence: Evidence, number: int, single: bool
) -> GateResult:
    """Checks a verdict. ``inputs``: the documents that the gate counts, and those that count as wrong; ``number``: of
    the hold-out evaluation; ``single``: the policy allows one."""
    gate = verdict["gate"]
    result = GateResult(str(gate.get("title") or gate["metric"]), str(verdict["status"]), [], "taken from the report")
    if verdict["measured"] is None:
        result.how = "nothing was measured"
        if verdict["status"] != NOT_PROVEN:
            result.problems.append("nothing was measured, so the verdict must be NOT PROVEN")
        return result
    result.problems += _count_problems(verdict, inputs, evidence, result)
    result.problems += _confidence_problems(verdict, number, single)
    expected = _status(gate, verdict)
    # The regression suite is not proven where the model was not evaluated on some of it.
    incomplete = (gate["metric"], expected, verdict["status"]) == ("pinned_broken", PASS, NOT_PROVEN)
    if expected != verdict["status"] and not incomplete:
        result.problems.append(f"the bounds and the threshold give {expected}, the report has {verdict['status']}")
    return result


def _status(gate: dict[str, Any], verdict: dict[str, Any]) -> str:
    low, high, limit = verdict["low"], verdict["high"], float(gate["threshold"])
    if gate["metric"] == "no_regression":
        return PASS if low is not None and low > -limit else FAIL if high is not None and high < -limit else NOT_PROVEN
    if gate["metric"] in _AT_MOST:
        return PASS if high is not None and high <= limit else FAIL if low is not None and low > limit else NOT_PROVEN
    return PASS if low is not None and low >= limit else FAIL if high is not None and high < limit else NOT_PROVEN


def _confidence_problems(verdict: dict[str, Any], number: int, single: bool) -> Iterator[str]:
    """Hold-out evaluation k is tested at alpha / 2^k, resources and single evaluations at the gate's confidence."""
    gate = verdict["gate"]
    alpha = 1 - float(gate["confidence"])
    if gate["metric"] not in _RESOURCES and not single:
        alpha /= 2.0**number
    if verdict["confidence"] < 1 - alpha - _TOLERANCE:
        yield f"it is tested at {verdict['confidence']:.4%} confidence, and {1 - alpha:.4%} is required"


def _count_problems(
    verdict: dict[str, Any], inputs: dict[str, Any], evidence: Evidence, result: GateResult
) -> Iterator[str]:
    metric = str(verdict["gate"]["metric"])
    if metric in _DOCUMENTS:
        yield from _documents(verdict, inputs, evidence, result)
    elif metric in _SHARES:
        yield from _shares(verdict, inputs, evidence, result)
    elif metric == "no_regression":
        yield from _paired(verdict, inputs, evidence, result)
    elif metric == "p95_latency_ms":
        yield from _latency(verdict, inputs, evidence, result)
    elif metric == "pinned_broken":
        yield from _pins(verdict, evidence, result)


# -- counts of documents -----------------------------------------------------------------------------------------------


def _of_field(score: dict[str, Any], name: str) -> list[dict[str, Any]]:
    return [one for one in score["fields"] if not name or one["field"] == name]


def _is_readable(score: dict[str, Any]) -> bool:
    return score["valid_json"] and all(one["outcome"] != "unscorable" for one in score["fields"])


def _is_decided(score: dict[str, Any], name: str) -> bool:
    rows = _of_field(score, name)
    return bool(score["schema_valid"] and rows) and all(one["output"] is not None for one in rows)


_DOCUMENTS: dict[str, Callable[[dict[str, Any], str], bool]] = {
    "schema_valid_rate": lambda score, name: score["schema_valid"],
    "document_error_rate": lambda score, name: not score["exact"],
    "invariants_hold_rate": lambda score, name: bool(score["invariants_hold"]),
    "routing_decision_rate": _is_decided,
    "hallucination_rate": lambda score, name: (
        not _is_readable(score) or any(one["outcome"] == "hallucinated" for one in _of_field(score, name))
    ),
}


def _scores(inputs: dict[str, Any], scores: dict[str, Any]) -> list[dict[str, Any]]:
    """The scores that a gate counts; documents that left the hold-out count as wrong."""
    removed = set(inputs["removed"])
    names = dict.fromkeys([*inputs["documents"], *inputs["removed"]])
    return [as_wrong(scores[name]) if name in removed else scores[name] for name in names]


def as_wrong(score: dict[str, Any]) -> dict[str, Any]:
    """A score in which everything that counts is wrong."""
    fields = [
        one if one["outcome"] == "both_absent" else {**one, "outcome": "unscorable", "output": None}
        for one in score["fields"]
    ]
    wrong = dict.fromkeys(("valid_json", "schema_valid", "exact", "invariants_hold"), False)
    return {**score, **wrong, "fields": fields}


def _documents(
    verdict: dict[str, Any], inputs: dict[str, Any], evidence: Evidence, result: GateResult
) -> Iterator[str]:
    gate = verdict["gate"]
    scores = _scores(inputs, evidence.scores)
    k = sum(bool(_DOCUMENTS[gate["metric"]](score, gate.get("field", ""))) for score in scores)
    yield from _differs(verdict, k, len(scores))
    yield from _bounds(verdict, k, len(scores), result)


def _differs(verdict: dict[str, Any], k: int, n: int) -> Iterator[str]:
    if (verdict["k"], verdict["n"]) != (k, n):
        yield f"{k} of {n} documents counted, the report has {verdict['k']:.0f} of {verdict['n']:.0f}"


def _bounds(verdict: dict[str, Any], k: int, n: int, result: GateResult, *, flipped: bool = False) -> Iterator[str]:
    """Compares stored bounds with the exact ones. ``flipped``: the report has the rate of the other documents."""
    confidence = float(verdict["confidence"])
    low, high = exact_lower(k, n, confidence), exact_upper(k, n, confidence)
    if flipped:
        low, high = 1 - high, 1 - low
    if verdict["low"] > low + _TOLERANCE or verdict["high"] < high - _TOLERANCE:
        yield f"exact bounds of {low:.6f} to {high:.6f}, the report has narrower ones"
    elif verdict["low"] < low - _TOLERANCE or verdict["high"] > high + _TOLERANCE:
        result.how = (
            "counted again; its bounds are wider than those of independent documents, and are taken from the report"
        )
    else:
        result.how = "counted and computed again"


# -- shares of fields --------------------------------------------------------------------------------------------------


def _failing(score: dict[str, Any], name: str, value: str) -> tuple[int, int]:
    counted = [one for one in _of_field(score, name) if one["outcome"] != "both_absent"]
    return sum(one["outcome"] not in CORRECT for one in counted), len(counted)


def _missed(score: dict[str, Any], name: str, value: str) -> tuple[int, int]:
    golds = [
        one
        for one in _of_field(score, name)
        if one["gold"] is not None and (not value or _as_text(one["gold"]) == value)
    ]
    return sum(one["outcome"] != "correct" for one in golds), len(golds)


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else text_of_any(value)


_SHARES: dict[str, Callable[[dict[str, Any], str, str], tuple[int, int]]] = {
    "field_error_rate": _failing,
    "recall": _missed,
}


def _shares(verdict: dict[str, Any], inputs: dict[str, Any], evidence: Evidence, result: GateResult) -> Iterator[str]:
    gate = verdict["gate"]
    pairs = [
        _SHARES[gate["metric"]](score, gate.get("field", ""), gate.get("value", ""))
        for score in _scores(inputs, evidence.scores)
    ]
    pairs = [(failing, counted) for failing, counted in pairs if counted]
    share = sum(failing for failing, _ in pairs) / max(1, sum(counted for _, counted in pairs))
    found = gate["metric"] == "recall"
    if abs(verdict["measured"] - (1 - share if found else share)) > _TOLERANCE:
        yield f"a share of {share:.6f} of fields counted, the report has {verdict['measured']:.6f}"
    if pairs and all(counted == 1 for _, counted in pairs):
        yield from _bounds(verdict, sum(failing for failing, _ in pairs), len(pairs), result, flipped=found)
        return
    result.how = "counted again; its bounds come from resampling and are taken from the report"
    yield from _contains(verdict)


def _contains(verdict: dict[str, Any]) -> Iterator[str]:
    if not verdict["low"] - _TOLERANCE <= verdict["measured"] <= verdict["high"] + _TOLERANCE:
        yield "its bounds do not contain its estimate"


def _accuracy(score: dict[str, Any], name: str) -> float | None:
    failing, counted = _failing(score, name, "")
    if counted:
        return 1 - failing / counted
    return None if name else float(score["exact"])


def _paired(verdict: dict[str, Any], inputs: dict[str, Any], evidence: Evidence, result: GateResult) -> Iterator[str]:
    name, removed = verdict["gate"].get("field", ""), set(inputs["removed"])
    pairs: list[tuple[float | None, float | None]] = []
    for key in dict.fromkeys([*inputs["documents"], *inputs["removed"]]):
        score, base = evidence.scores[key], (evidence.baseline or {}).get(key)
        if key in removed:  # wrong for the model, right for the baseline
            counted = _accuracy(score, name)
            pairs.append((None, None) if counted is None else (1.0, 0.0))
        elif base is not None:
            pairs.append((_accuracy(base, name), _accuracy(score, name)))
    kept = [(1.0 if b is None else b, 1.0 if a is None else a) for b, a in pairs if (b, a) != (None, None)]
    mean = math.fsum(a - b for b, a in kept) / len(kept) if kept else 0.0
    if len(kept) != verdict["n"] or abs(mean - verdict["measured"]) > _TOLERANCE:
        yield f"a difference of {mean:+.6f} on {len(kept)} documents counted, the report has {verdict['measured']:+.6f}"
    result.how = "counted again; its bounds come from resampling and are taken from the report"
    yield from _contains(verdict)


# -- resources and the regression suite --------------------------------------------------------------------------------


def _latency(verdict: dict[str, Any], inputs: dict[str, Any], evidence: Evidence, result: GateResult) -> Iterator[str]:
    requests = [evidence.requests[key] for key in inputs["documents"] if key in evidence.requests]
    confidence, limit = float(verdict["confidence"]), float(verdict["gate"]["threshold"])
    # A failed request is slower than any limit.
    slowest = max([math.nextafter(limit, math.inf), *(spent for spent, failed in requests if not failed)])
    values = [max(spent, slowest) if failed else spent for spent, failed in requests]
    if len(values) != verdict["n"]:
        yield f"{len(values)} requests counted, the report has {verdict['n']:.0f}"
        return
    low, high = quantile_lower(values, 0.95, confidence), quantile_upper(values, 0.95, confidence)
    for ours, theirs in ((low, verdict["low"]), (high, verdict["high"])):
        if (ours is None) != (theirs is None) or (ours is not None and abs(ours - theirs) > 0.01):
            yield f"bounds of {low} to {high} ms, the report has {verdict['low']} to {verdict['high']}"
            return
    result.how = "counted and computed again"


def _pins(verdict: dict[str, Any], evidence: Evidence, result: GateResult) -> Iterator[str]:
    if evidence.pins is None:
        return
    right = evidence.pins["right"]
    yield from _differs(verdict, sum(not one for one in right.values()), len(right))
    result.how = "counted again"
