"""The verdicts of gates, from counts of documents, and the bounds that these counts allow.

A verdict follows from the bounds and the threshold. All of them are computed here: exact bounds of counted documents,
those over families, of shares of fields and of differences, of quantiles of latencies, and of the mean time of a
request. The price of a request, the peak of memory and the mean itself are taken from the report.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from .bounds import (
    Count,
    exact_lower,
    exact_upper,
    family_p_value,
    is_upper,
    mean_p_value,
    quantile_lower,
    quantile_upper,
)
from .documents import CORRECT
from .paths import text_of_any

PASS, FAIL, NOT_PROVEN, INAPPLICABLE = "PASS", "FAIL", "NOT PROVEN", "INAPPLICABLE"
#: for rounding in other libraries
_TOLERANCE = 1e-6
#: metrics of which a low value passes
_AT_MOST = (
    *("field_error_rate", "document_error_rate", "hallucination_rate", "pinned_broken"),
    *("p95_latency_ms", "cost_per_request", "peak_memory_gb"),
)
_PAIRED = ("no_regression", "non_inferiority")
_RESOURCES = ("p95_latency_ms", "requests_per_second", "cost_per_request", "peak_memory_gb")


@dataclass
class Evidence:
    """What verdicts are about, by document id: scores of the model, of the baseline and of the production model, each
    request as milliseconds and whether it failed, and the family where a document is not alone in it; and the pinned
    documents with whether they are right. ``is_external``: requests are priced by tokens."""

    scores: dict[str, Any]
    baseline: dict[str, Any] | None = None
    requests: dict[str, tuple[float, bool]] = field(default_factory=dict)
    pins: dict[str, Any] | None = None
    production: dict[str, Any] | None = None
    families: dict[str, Any] = field(default_factory=dict)
    is_external: bool = False


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
        is_alone = gate["metric"] == "non_inferiority" and evidence.production is None
        if verdict["status"] != NOT_PROVEN and not (is_alone and verdict["status"] == INAPPLICABLE):
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
    if gate["metric"] in _PAIRED:
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
    elif metric in _PAIRED:
        yield from _paired(verdict, inputs, evidence, result)
    elif metric == "p95_latency_ms":
        yield from _latency(verdict, inputs, evidence, result)
    elif metric in ("requests_per_second", "cost_per_request"):
        yield from _mean(verdict, inputs, evidence, result)
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


def _scores(inputs: dict[str, Any], scores: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The scores that a gate counts; documents that left the hold-out count as wrong."""
    removed = set(inputs["removed"])
    names = dict.fromkeys([*inputs["documents"], *inputs["removed"]])
    return {name: as_wrong(scores[name]) if name in removed else scores[name] for name in names}


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
    has = {key: bool(_DOCUMENTS[gate["metric"]](score, gate.get("field", ""))) for key, score in scores.items()}
    yield from _differs(verdict, sum(has.values()), len(has))
    yield from _rate(verdict, {key: (float(value), 1.0) for key, value in has.items()}, inputs, evidence, result)


def _differs(verdict: dict[str, Any], k: int, n: int) -> Iterator[str]:
    if (verdict["k"], verdict["n"]) != (k, n):
        yield f"{k} of {n} documents counted, the report has {verdict['k']:.0f} of {verdict['n']:.0f}"


def _families(
    counts: dict[str, Count], verdict: dict[str, Any], inputs: dict[str, Any], evidence: Evidence
) -> list[Count]:
    """The sums over the documents of each family; empty where each document is its own."""
    sums: dict[Any, Count] = {}
    for key, (part, whole) in counts.items():
        family = evidence.families.get(key, (key,)) if inputs.get("by_family") else (key,)
        old = sums.get(family, (0.0, 0.0))
        sums[family] = (old[0] + part, old[1] + whole)
    return list(sums.values()) if len(sums) < len(counts) else []


def _family_problems(verdict: dict[str, Any], families: Sequence[Count]) -> Iterator[str]:
    if (verdict.get("families") or 0) != len(families):
        yield f"{len(families)} families counted, the report has {verdict.get('families') or 0}"


def _rate(
    verdict: dict[str, Any],
    counts: dict[str, Count],
    inputs: dict[str, Any],
    evidence: Evidence,
    result: GateResult,
    *,
    flipped: bool = False,
) -> Iterator[str]:
    """Compares the bounds of a rate of documents with the exact ones, or wider ones over families. ``flipped``: the
    report has the rate of the other documents."""
    k, n, confidence = round(sum(part for part, _ in counts.values())), len(counts), float(verdict["confidence"])
    families = _families(counts, verdict, inputs, evidence)
    yield from _family_problems(verdict, families)
    low, high = float(verdict["low"]), float(verdict["high"])
    if flipped:
        low, high = 1 - high, 1 - low
    rest = [(whole - part, whole) for part, whole in families]
    for name, stored, exact, sums in (
        ("upper", high, exact_upper(k, n, confidence), families),
        ("lower", 1 - low, 1 - exact_lower(k, n, confidence), rest),
    ):
        at_exact = abs(stored - exact) <= _TOLERANCE
        if not sums:
            agrees = at_exact
        elif at_exact:  # the bound over families is inside the exact one
            limit = stored + _TOLERANCE
            agrees = limit >= 1 or family_p_value(sums, limit) <= 1 - confidence
        else:
            agrees = stored > exact and is_upper([partial(family_p_value, sums)], stored, confidence)
        if not agrees:
            yield f"another {name} bound than the stored one is computed; the exact one of {n} documents is {exact:.6f}"
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
    counts = {
        key: _SHARES[gate["metric"]](score, gate.get("field", ""), gate.get("value", ""))
        for key, score in _scores(inputs, evidence.scores).items()
    }
    pairs = {key: (float(failing), float(counted)) for key, (failing, counted) in counts.items() if counted}
    share = sum(failing for failing, _ in pairs.values()) / max(1, sum(counted for _, counted in pairs.values()))
    found = gate["metric"] == "recall"
    if abs(verdict["measured"] - (1 - share if found else share)) > _TOLERANCE:
        yield f"a share of {share:.6f} of fields counted, the report has {verdict['measured']:.6f}"
    if pairs and all(counted == 1 for _, counted in pairs.values()):
        yield from _rate(verdict, pairs, inputs, evidence, result, flipped=found)
        return
    low, high = float(verdict["low"]), float(verdict["high"])
    if found:
        low, high = 1 - high, 1 - low
    rest = {key: (counted - failing, counted) for key, (failing, counted) in pairs.items()}
    yield from _widest(verdict, (high, pairs), (1 - low, rest), inputs, evidence)
    result.how = "counted and computed again"


def _widest(
    verdict: dict[str, Any],
    upper: tuple[float, dict[str, Count]],
    opposite: tuple[float, dict[str, Count]],
    inputs: dict[str, Any],
    evidence: Evidence,
) -> Iterator[str]:
    """Compares a stored bound, and that of the opposite, with the wider one over documents and families."""
    confidence = float(verdict["confidence"])
    for name, (stored, counts) in (("upper", upper), ("lower", opposite)):
        families = _families(counts, verdict, inputs, evidence)
        if name == "upper":
            yield from _family_problems(verdict, families)
        chances = [partial(family_p_value, one) for one in (list(counts.values()), families) if one]
        if counts and not is_upper(chances, stored, confidence):
            yield f"another {name} bound than the stored one is computed"


def _accuracy(score: dict[str, Any], name: str) -> float | None:
    failing, counted = _failing(score, name, "")
    if counted:
        return 1 - failing / counted
    return None if name else float(score["exact"])


def _paired(verdict: dict[str, Any], inputs: dict[str, Any], evidence: Evidence, result: GateResult) -> Iterator[str]:
    name, removed = verdict["gate"].get("field", ""), set(inputs["removed"])
    other = evidence.production if verdict["gate"]["metric"] == "non_inferiority" else evidence.baseline
    pairs: dict[str, tuple[float | None, float | None]] = {}
    for key in dict.fromkeys([*inputs["documents"], *inputs["removed"]]):
        score, base = evidence.scores[key], (other or {}).get(key)
        if key in removed:  # wrong for the model, right for the other one
            counted = _accuracy(score, name)
            pairs[key] = (None, None) if counted is None else (1.0, 0.0)
        elif base is not None:
            pairs[key] = (_accuracy(base, name), _accuracy(score, name))
    losses = {
        key: ((1.0 if b is None else b) - (1.0 if a is None else a), 1.0)
        for key, (b, a) in pairs.items()
        if (b, a) != (None, None)
    }
    mean = -math.fsum(loss for loss, _ in losses.values()) / max(1, len(losses))
    if len(losses) != verdict["n"] or abs(mean - verdict["measured"]) > _TOLERANCE:
        n = len(losses)
        yield f"a difference of {mean:+.6f} on {n} documents counted, the report has {verdict['measured']:+.6f}"
        return
    gains = {key: (-loss, whole) for key, (loss, whole) in losses.items()}
    yield from _widest(verdict, (-verdict["low"], losses), (verdict["high"], gains), inputs, evidence)
    result.how = "counted and computed again"


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


def _mean(verdict: dict[str, Any], inputs: dict[str, Any], evidence: Evidence, result: GateResult) -> Iterator[str]:
    """Bounds of a mean time, at the stored mean: throughput, or the cost of time. The price of tokens is not known."""
    times = [evidence.requests[key] for key in inputs["documents"] if key in evidence.requests]
    answered = [spent for spent, failed in times if not failed]
    if len(answered) != verdict["n"]:
        yield f"{len(answered)} answered requests counted, the report has {verdict['n']:.0f}"
        return
    if verdict["low"] is None or (evidence.is_external and verdict["gate"]["metric"] == "cost_per_request"):
        return
    is_rate = verdict["gate"]["metric"] == "requests_per_second"
    mean, ends = (1 / float(verdict["measured"]), (1 / verdict["high"], 1 / verdict["low"])) if is_rate else (
        float(verdict["measured"]), (verdict["low"], verdict["high"])
    )  # fmt: skip
    scale = mean / (math.fsum(answered) / len(answered))
    values = [scale * spent for spent in answered]
    low, high = ends
    shift = max(values) + min(values)  # the lower bound is the upper one of the mirrored values
    mirrored = [shift - value for value in values]
    for name, stored, one in (("upper", high, values), ("lower", shift - low, mirrored)):
        if not is_upper([partial(mean_p_value, one)], stored, float(verdict["confidence"]), max(one)):
            yield f"another {name} bound than the stored one is computed"
    result.how = "computed again at the stored mean"


def _pins(verdict: dict[str, Any], evidence: Evidence, result: GateResult) -> Iterator[str]:
    if evidence.pins is None:
        return
    right = evidence.pins["right"]
    yield from _differs(verdict, sum(not one for one in right.values()), len(right))
    result.how = "counted again"
