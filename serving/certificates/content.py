"""What a certificate says: the comparison on documents with gold, costs, latencies, and hashes of all of it."""

import hashlib
from dataclasses import dataclass
from typing import Any

from evaluation.inference.prices import TokenPrice, cost_of_time
from evaluation.scores.score_view import ScoreView
from evaluation.stats import NonInferiority, distribution, non_inferiority
from labeling.models import Contract, Document, Gold, Origin
from serving.models import Certificate, CertificatePair, Release
from slmstudio.contract.json_text import dumps
from slmstudio.contract.output_json import extract_json
from slmstudio.contract.scoring.scorer import SCORER_VERSION, score_document

#: labels that people made; a prediction that a person submitted is one
HUMAN = (Origin.HUMAN, Origin.PRELABELLED)


@dataclass(frozen=True)
class Side:
    """One of both releases over the labeled pairs. ``cost``: of 1,000 documents; None: unknown, with the reason."""

    label: str
    accuracy: float
    cost: float | None
    cost_reason: str
    p50_ms: float | None
    p95_ms: float | None


@dataclass(frozen=True)
class Comparison:
    """What the labeled pairs show. ``drawn``: documents, of which ``result.pairs`` are labeled by people."""

    result: NonInferiority
    drawn: int
    stable: Side
    candidate: Side
    currency: str
    #: labels that were made from a pre-label, and pairs whose candidate answered a replay
    from_proposals: int
    replayed: int
    pairs_sha256: str


def family_of(family: str, document: Document, caller: str) -> str:
    """The family of a document; one without a value is its own."""
    own = f"document {document.pk}"
    if family == "caller":
        return hashlib.sha256(caller.encode()).hexdigest()[:16] if caller else own
    if family == "source":
        return document.source or own
    if family.startswith("metadata."):
        value = document.metadata.get(family.removeprefix("metadata."))
        return str(value)[:200] if value not in (None, "") else own
    return own


def compare(certificate: Certificate) -> Comparison:
    """Scores both outputs of each pair that people labeled."""
    project = certificate.project
    schema_version = project.schema_version
    compiled = schema_version.compiled
    pairs = {pair.document_id: pair for pair in certificate.pairs.select_related("document").order_by("pk")}
    golds = (
        Gold.objects.current(project)
        .filter(document__in=pairs, origin__in=HUMAN, document__synthetic=False)
        .select_related("revision")
        .order_by("document_id")
    )
    before, after, families, labeled, hashed = [], [], [], [], hashlib.sha256()
    prelabelled = 0
    for gold in golds:
        pair = pairs[gold.document_id]
        value = gold.revision.value
        outputs = extract_json(pair.stable_output)[1], pair.candidate_output
        scores = [score_document(compiled, text=pair.document.text, gold=value, raw=raw) for raw in outputs]
        one, other = (_value(certificate.measure, score) for score in scores)
        before.append(one)
        after.append(other)
        families.append(pair.family or f"document {pair.document_id}")
        labeled.append(pair)
        prelabelled += gold.origin == Origin.PRELABELLED
        hashed.update(dumps([pair.document.sha256, gold.revision_id, compiled.canonical(value), *outputs]).encode())
    result = non_inferiority(
        before, after, margin=certificate.margin, alpha=certificate.alpha,
        families=families if certificate.family else None,
    )  # fmt: skip
    contract = Contract.objects.filter(project=project).first()
    constraints = contract.constraints if contract else {}
    return Comparison(
        result=result, drawn=len(pairs), currency=str(constraints.get("currency") or ""),
        stable=_side(certificate.stable, result.before, labeled, constraints, is_candidate=False),
        candidate=_side(certificate.candidate, result.after, labeled, constraints, is_candidate=True),
        from_proposals=prelabelled, replayed=sum(pair.replayed for pair in labeled), pairs_sha256=hashed.hexdigest(),
    )  # fmt: skip


def _value(measure: str, score: Any) -> float:
    view = ScoreView.of(score)
    return float(view.exact) if measure == Certificate.Measure.DOCUMENT else float(view.accuracy)


def _side(
    release: Release, accuracy: float, pairs: list[CertificatePair], constraints: dict[str, Any], *, is_candidate: bool
) -> Side:
    times = distribution([pair.candidate_ms if is_candidate else pair.stable_ms for pair in pairs])
    cost, reason = _cost(release, pairs, constraints, is_candidate=is_candidate)
    return Side(release.label, accuracy, cost, reason, times["p50"], times["p95"])


def _cost(
    release: Release, pairs: list[CertificatePair], constraints: dict[str, Any], *, is_candidate: bool
) -> tuple[float | None, str]:
    if not pairs:
        return None, "no document is labeled"
    if release.endpoint is not None:
        price = TokenPrice(release.endpoint.price_in, release.endpoint.price_out)
        tokens = [sum(pair.stable_tokens[at] for pair in pairs) for at in (0, 1)]
        found = price.of_run({"prompt_tokens": tokens[0], "output_tokens": tokens[1]}, len(pairs))
        return found.per_thousand, found.reason
    per_hour = constraints.get("hardware_price_per_hour")
    if per_hour in (None, ""):
        return None, "the contract has no price per hour of the hardware"
    times = [pair.candidate_model_ms if is_candidate else pair.stable_ms for pair in pairs]
    return 1000 * cost_of_time(sum(times) / len(times), float(per_hour)), "measured time at the price per hour"


def content_of(certificate: Certificate, found: Comparison) -> dict[str, Any]:
    """Everything that an issued certificate says, JSON-ready."""
    result = found.result
    return {
        "project": certificate.project.slug,
        "certificate": certificate.number,
        "outcome": certificate.outcome,
        "claim": claim(certificate),
        "measure": certificate.measure,
        "method": certificate.method,
        "margin": certificate.margin,
        "alpha": certificate.alpha,
        "attempt": certificate.attempt,
        "planned_pairs": certificate.wanted,
        "drawn": found.drawn,
        "pairs": result.pairs,
        "families": result.families if certificate.family else None,
        "family": certificate.family,
        "stable": _side_json(found.stable),
        "candidate": _side_json(found.candidate),
        "currency": found.currency,
        "difference": round(result.difference, 6),
        "max_loss": round(result.bound.value, 6),
        "e_value_log10": round(result.log_e / 2.302585092994046, 4),
        "labels_from_proposals": found.from_proposals,
        "replayed": found.replayed,
        "hashes": hashes(certificate, found),
        "issued_at": certificate.issued_at.isoformat() if certificate.issued_at else None,
    }


def _side_json(side: Side) -> dict[str, Any]:
    return {
        "label": side.label,
        "accuracy": round(side.accuracy, 6),
        "cost_per_1000": None if side.cost is None else round(side.cost, 6),
        "cost_reason": side.cost_reason,
        "latency_ms": {"p50": side.p50_ms, "p95": side.p95_ms},
    }


def hashes(certificate: Certificate, found: Comparison) -> dict[str, str]:
    """SHA-256 of what the comparison depends on."""
    schema = certificate.project.schema_version
    return {
        "stable": _model_hash(certificate.stable),
        "candidate": _model_hash(certificate.candidate),
        "schema": schema.sha256,
        "scorer": SCORER_VERSION,
        "pairs": found.pairs_sha256,
    }


def _model_hash(release: Release) -> str:
    if release.package is not None:
        return str(release.package.sha256)
    assert release.endpoint is not None
    return hashlib.sha256(dumps([release.endpoint.url, release.endpoint.model]).encode()).hexdigest()


def content_hash(content: dict[str, Any]) -> str:
    """SHA-256 of the content, independent of the order of its members."""
    return hashlib.sha256(dumps(_ordered(content)).encode()).hexdigest()


def _ordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _ordered(value[name]) for name in sorted(value)}
    if isinstance(value, list):
        return [_ordered(one) for one in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def claim(certificate: Certificate) -> str:
    """What is certified, as a sentence."""
    measure = "document" if certificate.measure == Certificate.Measure.DOCUMENT else "field"
    return (
        f"The {measure} accuracy of {certificate.candidate.label} is less than {100 * certificate.margin:g} points "
        f"below that of {certificate.stable.label}."
    )
