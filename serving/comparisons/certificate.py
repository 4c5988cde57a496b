"""The certificate of a comparison: what it shows, with the hashes of all that it depends on. Its content is filled once
and its hash is stored next to it, so anyone who has the file can check that it is unchanged."""

import hashlib
import math
from typing import Any

from serving.comparisons.labels import Labeled, LabelPlan, Measure, Side, labeled
from serving.comparisons.split import Arms, Split
from serving.models import Release, TrafficComparison
from slmstudio.contract.json_text import dumps
from slmstudio.contract.scoring.scorer import SCORER_VERSION


def content_of(comparison: TrafficComparison, labels: Labeled | None = None) -> dict[str, Any]:
    """Everything that the certificate of a split or of labeled documents says, JSON-ready."""
    specific = _of_split if comparison.kind == TrafficComparison.Kind.SPLIT else _of_labels
    own = specific(comparison, labels)
    return {
        "project": comparison.project.slug,
        "certificate": comparison.number,
        "outcome": comparison.verdict,
        "claim": claim(comparison),
        **own,
        "hashes": {"stable": _model_hash(comparison.a), "candidate": _model_hash(comparison.b), **own["hashes"]},
        "issued_at": comparison.issued_at.isoformat() if comparison.issued_at else None,
    }


def _of_labels(comparison: TrafficComparison, labels: Labeled | None) -> dict[str, Any]:
    labels = labels or labeled(comparison)
    plan, result = labels.plan, labels.result
    return {
        "measure": plan.measure,
        "method": plan.method,
        "margin": plan.margin,
        "alpha": plan.alpha,
        "attempt": plan.attempt,
        "planned_pairs": plan.documents,
        "drawn": labels.drawn,
        "pairs": result.pairs,
        "families": result.families if plan.family else None,
        "family": plan.family,
        "stable": _side_json(labels.stable),
        "candidate": _side_json(labels.candidate),
        "currency": labels.currency,
        "difference": round(result.difference, 6),
        "max_loss": round(result.bound.value, 6),
        "e_value_log10": _log10(result.log_e),
        "labels_from_proposals": labels.from_proposals,
        "replayed": labels.replayed,
        "hashes": {
            "schema": comparison.project.schema_version.sha256,
            "scorer": SCORER_VERSION,
            "pairs": labels.pairs_sha256,
        },
    }


def _side_json(side: Side) -> dict[str, Any]:
    return {
        "label": side.label,
        "accuracy": round(side.accuracy, 6),
        "cost_per_1000": None if side.cost is None else round(side.cost, 6),
        "cost_reason": side.cost_reason,
        "latency_ms": {"p50": side.p50_ms, "p95": side.p95_ms},
    }


def _of_split(comparison: TrafficComparison, labels: Labeled | None) -> dict[str, Any]:
    split, arms = Split(**comparison.plan), Arms(**comparison.result["counts"])
    return {
        "question": split.question,
        "share": split.share,
        "limit_ms": split.limit_ms,
        "events": split.events,
        "stable": {"label": comparison.a.label, "requests": arms.a_requests, "events": arms.a_events},
        "candidate": {"label": comparison.b.label, "requests": arms.b_requests, "events": arms.b_events},
        "e_value_log10": _log10(max(comparison.result["log_e"].values())),
        "hashes": {},
    }


def _log10(log_e: float) -> float:
    return round(log_e / math.log(10), 4)


def _model_hash(release: Release) -> str:
    if release.package is not None:
        return str(release.package.sha256)
    assert release.endpoint is not None
    return hashlib.sha256(dumps([release.endpoint.url, release.endpoint.model]).encode()).hexdigest()


def claim(comparison: TrafficComparison) -> str:
    """What is certified, as a sentence."""
    if comparison.kind == TrafficComparison.Kind.SPLIT:
        better, other = (comparison.a, comparison.b) if comparison.verdict == "a" else (comparison.b, comparison.a)
        return f"{better.label.capitalize()} is better than {other.label}: {Split(**comparison.plan).label.lower()}."
    plan = LabelPlan(**comparison.plan)
    measure = "document" if plan.measure == Measure.DOCUMENT else "field"
    return (
        f"The {measure} accuracy of {comparison.b.label} is less than {100 * plan.margin:g} points below that of "
        f"{comparison.a.label}."
    )


def content_hash(content: dict[str, Any]) -> str:
    """SHA-256 of the content, independent of the order of its members."""
    return hashlib.sha256(dumps(_ordered(content)).encode()).hexdigest()


def _ordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _ordered(value[name]) for name in sorted(value)}
    if isinstance(value, list):
        return [_ordered(element) for element in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
