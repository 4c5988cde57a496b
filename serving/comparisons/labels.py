"""Labeled documents of shadow: a candidate against what answers today, on documents of the traffic with human gold.

It is planned before the documents are labeled. They are drawn at random from those that both versions answered,
without those of the candidate's training, and labeled without the outputs of either.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import User
from django.db import connection, models, transaction

from evaluation.inference.prices import TokenPrice, cost_of_time
from evaluation.scores.score_view import ScoreView
from evaluation.stats import NonInferiority, alpha_level, distribution, non_inferiority, pairs_needed
from labeling.datasets import queries as dataset_queries
from labeling.imports.services import insert_rows
from labeling.models import Contract, Document, Gold, Origin, Prediction, Project, Split
from serving.captures.services import withhold
from serving.models import ComparisonPair, Deployment, Release, RequestLog, TrafficComparison
from slmstudio.contract.json_text import dumps
from slmstudio.contract.output_json import extract_json
from slmstudio.contract.scoring.scorer import count_differences, score_document
from slmstudio.storage.hashing import sha256_text

#: labels that people made; a prediction that a person submitted is one
HUMAN = (Origin.HUMAN, Origin.PRELABELLED)
#: of the documents that are drawn
SOURCE = "certificate"
MAX_DOCUMENTS = 5_000
#: assumed share of documents on which one side alone is right, where no outputs can be compared yet
DEFAULT_DISCORDANCE = 0.1
#: margins of the planner's table
MARGINS = (0.01, 0.02, 0.03, 0.05)
#: newest pairs of which the share of differing outputs is estimated
_COMPARED = 1_000
Verdict = TrafficComparison.Verdict


class Measure(models.TextChoices):
    """What is compared."""

    DOCUMENT = "document", "Document accuracy: every field is correct"
    FIELD = "field", "Field accuracy: the share of fields that are correct"


class Method(models.TextChoices):
    """When it may be read."""

    ANYTIME = "anytime", "At any time: may be read after every label"
    FIXED = "fixed", "Once: when the planned documents are labeled"


@dataclass(frozen=True)
class LabelPlan:
    """What is to be shown. ``attempt``: the number of this candidate among all that were compared with the same
    version, which sets ``alpha``. ``family``: source, metadata.<key>, caller, or empty."""

    margin: float
    documents: int
    alpha: float
    attempt: int
    measure: str = Measure.DOCUMENT
    method: str = Method.ANYTIME
    family: str = ""


# -- planning ---------------------------------------------------------------------------------------------------------


def needed_documents(deployment: Deployment) -> dict[str, Any] | None:
    """How many documents have to be labeled for the candidate, before any is; None without one. ``differing``: None
    where no pair can be compared."""
    if deployment.stable is None or deployment.candidate is None:
        return None
    pairs = logged_pairs(deployment.project, deployment.stable, deployment.candidate)
    differing = differing_share(deployment.project, pairs)
    attempt = attempt_of(deployment.project, deployment.stable)
    alpha = alpha_level(attempt)
    by_margin = [(margin, documents_for(margin, differing, alpha)) for margin in MARGINS]
    return {
        "available": len(pairs), "differing": differing, "attempt": attempt, "alpha": alpha, "by_margin": by_margin
    }  # fmt: skip


def documents_for(margin: float, differing: float | None, alpha: float) -> int | None:
    """How many labeled documents show that a candidate is non-inferior that is as good; None: too many."""
    discordance = DEFAULT_DISCORDANCE if differing is None else differing
    return pairs_needed(margin=margin, discordance=max(0.005, discordance), alpha=alpha)


def attempt_of(project: Project, stable: Release) -> int:
    """The number of the next candidate among those that were compared with the same model, from 1."""
    rows = TrafficComparison.objects.filter(
        project=project, kind=TrafficComparison.Kind.SHADOW, a__in=same_model(stable)
    )
    # A second comparison of the same candidate is a second try, too.
    return rows.count() + 1


# -- requests that both versions answered -----------------------------------------------------------------------------

_PAIRS = """
SELECT DISTINCT ON (s.key_sha256) s.key_sha256, s.id, r.id
FROM serving_requestlog r
JOIN serving_requestlog s ON s.id = r.shadow_of AND s.project_id = r.project_id
WHERE r.project_id = %(project)s AND r.release_id = ANY(%(candidates)s) AND s.release_id = ANY(%(stables)s)
  AND r.shadow_of IS NOT NULL AND s.status = 200 AND s.text <> '' AND r.status <> 429
  AND (r.status = 200 OR r.status >= 500 OR r.code = 'too_long')
ORDER BY s.key_sha256, s.created_at DESC
"""


#: the hash of a document, and the ids of its request and of the copy
LoggedPair = tuple[str, Any, Any]


def same_model(release: Release) -> list[int]:
    """Versions of the same package or endpoint: an approval makes a new version of the same model."""
    rows = Release.objects.filter(project=release.project_id)
    same = rows.filter(package=release.package_id) if release.package_id else rows.filter(endpoint=release.endpoint_id)
    return list(same.values_list("pk", flat=True))


def logged_pairs(project: Project, stable: Release, candidate: Release) -> list[LoggedPair]:
    """The newest pair of each document that is stored, in no order. A candidate that failed is a pair: it has no
    output."""
    values: dict[str, Any] = {"project": project.pk, "stables": same_model(stable), "candidates": same_model(candidate)}
    with connection.cursor() as cursor:
        cursor.execute(_PAIRS, values)
        return list(cursor.fetchall())


def _logged(pairs: list[LoggedPair]) -> dict[Any, RequestLog]:
    """Rows of the log by id."""
    ids = [request_id for pair in pairs for request_id in pair[1:]]
    return {row.id: row for row in RequestLog.objects.filter(id__in=ids)}


def differing_share(project: Project, pairs: list[LoggedPair]) -> float | None:
    """The share of pairs whose outputs differ after normalization, which needs no gold; None without pairs.

    Right on one side alone is possible only there, so it is an upper limit for the share that decides.
    """
    compiled = project.schema_version.compiled
    some = sorted(pairs, key=lambda pair: pair[0])[:_COMPARED]
    logged = _logged(some)
    flags = []
    for _, request_id, shadow_id in some:
        if request_id in logged and shadow_id in logged:
            left, _ = compiled.check(extract_json(logged[request_id].output)[1])
            right, _ = compiled.check(logged[shadow_id].output)
            flags.append(left is None or right is None or count_differences(compiled, left, right)[0] > 0)
    return sum(flags) / len(flags) if flags else None


def training_texts(release: Release) -> set[str]:
    """Hashes of the documents that a model was trained or tuned with: they show nothing about others.

    Raises:
        FileNotFoundError: the file of the dataset version is missing.
    """
    run = release.package.eval_run if release.package is not None else None
    dataset = run.backend.trained_on if run is not None else None
    if dataset is None:
        return set()
    splits = (Split.TRAIN, Split.VALIDATION)
    return {sha256_text(row["text"]) for split in splits for row in dataset_queries.rows(dataset, split)}


# -- drawing ----------------------------------------------------------------------------------------------------------


def draw_documents(comparison: TrafficComparison, user: User) -> int:
    """Draws documents at random up to the planned number; called again, it goes on. Returns how many were drawn."""
    plan = LabelPlan(**comparison.plan)
    have = set(comparison.pairs.values_list("document__sha256", flat=True))
    excluded = training_texts(comparison.b) | have
    missing = plan.documents - len(have)
    # The order is that of a hash, the same each time.
    salt = f"certificate {comparison.number} "
    ordered = sorted(
        logged_pairs(comparison.project, comparison.a, comparison.b),
        key=lambda pair: hashlib.sha256(f"{salt}{pair[0]}".encode()).digest(),
    )
    drawn, at = 0, 0
    while drawn < missing and at < len(ordered):
        some, at = ordered[at : at + 200], at + 200
        logged = _logged(some)
        fresh: dict[str, tuple[RequestLog, RequestLog]] = {}
        for _, request_id, shadow_id in some:
            request, shadow = logged.get(request_id), logged.get(shadow_id)
            if request is None or shadow is None or not request.text:
                continue
            sha256 = sha256_text(request.text)
            if sha256 not in excluded and drawn + len(fresh) < missing:
                excluded.add(sha256)
                fresh[sha256] = request, shadow
        drawn += _store(comparison, plan.family, user, fresh)
    return drawn


def _store(
    comparison: TrafficComparison, family: str, user: User, drawn: dict[str, tuple[RequestLog, RequestLog]]
) -> int:
    project = comparison.project
    with transaction.atomic():
        known = Document.objects.existing_texts(project, list(drawn))
        fresh = [
            {"text": request.text, "request_id": str(request.id)}
            for sha256, (request, _) in drawn.items()
            if sha256 not in known
        ]
        if fresh:
            insert_rows(project=project, user=user, rows=fresh, source=SOURCE)
        documents = Document.objects.filter(project=project, sha256__in=list(drawn))
        pairs = []
        for document in documents.only("pk", "sha256", "source", "metadata"):
            request, shadow = drawn[document.sha256]
            pairs.append(
                ComparisonPair(
                    comparison=comparison, document=document, request_id=request.id, shadow_id=shadow.id,
                    family=family_of(family, document, request.caller), replayed=shadow.protocol == "replay",
                    stable_output=request.output, candidate_output=shadow.output if shadow.status == 200 else "",
                    stable_ms=request.total_ms, candidate_ms=shadow.total_ms, candidate_model_ms=shadow.model_ms,
                    stable_tokens=[request.prompt_tokens, request.output_tokens],
                )
            )  # fmt: skip
        ComparisonPair.objects.bulk_create(pairs, ignore_conflicts=True)
        keys = [pair.document_id for pair in pairs]
        withhold(keys)
        # Proposals of runs, too: gold must not lean to either side.
        Prediction.objects.filter(document__in=keys, document__state="new").update(withheld=True)
    return len(pairs)


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


# -- what the labels show ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Side:
    """One of both versions over the labeled pairs. ``cost``: of 1,000 documents; None: unknown, with the reason."""

    label: str
    accuracy: float
    cost: float | None
    cost_reason: str
    p50_ms: float | None
    p95_ms: float | None


@dataclass(frozen=True)
class Labeled:
    """What the labeled pairs show. ``drawn``: documents, of which ``result.pairs`` are labeled by people."""

    plan: LabelPlan
    result: NonInferiority
    drawn: int
    stable: Side
    candidate: Side
    currency: str
    #: labels that were made from a pre-label, and pairs whose candidate answered a replay
    from_proposals: int
    replayed: int
    pairs_sha256: str

    @property
    def sides(self) -> tuple[Side, Side]:
        """Of A and of B."""
        return self.stable, self.candidate

    @property
    def unlabeled(self) -> int:
        """Documents that people still have to label."""
        return self.drawn - self.result.pairs

    @property
    def verdict(self) -> str:
        """What may be stated now: at a fixed number only once all of its documents are labeled, and then for good."""
        if self.plan.method == Method.ANYTIME:
            return Verdict.NON_INFERIOR if self.result.is_shown else Verdict.NONE
        if self.result.pairs < self.plan.documents:
            return Verdict.NONE
        return Verdict.NON_INFERIOR if self.result.is_bounded else Verdict.NOT_SHOWN


def labeled(comparison: TrafficComparison) -> Labeled:
    """Scores both outputs of each pair that people labeled."""
    project, plan = comparison.project, LabelPlan(**comparison.plan)
    compiled = project.schema_version.compiled
    pairs = {pair.document_id: pair for pair in comparison.pairs.select_related("document").order_by("pk")}
    golds = (
        Gold.objects.current(project)
        .filter(document__in=pairs, origin__in=HUMAN, document__synthetic=False)
        .select_related("revision")
        .order_by("document_id")
    )
    values: tuple[list[float], list[float]] = ([], [])
    scored: list[ComparisonPair] = []
    hashed, prelabelled = hashlib.sha256(), 0
    for gold in golds:
        pair = pairs[gold.document_id]
        value = gold.revision.value
        outputs = extract_json(pair.stable_output)[1], pair.candidate_output
        for side, raw in zip(values, outputs, strict=True):
            score = ScoreView.of(score_document(compiled, text=pair.document.text, gold=value, raw=raw))
            side.append(float(score.exact if plan.measure == Measure.DOCUMENT else score.accuracy))
        scored.append(pair)
        prelabelled += gold.origin == Origin.PRELABELLED
        hashed.update(dumps([pair.document.sha256, gold.revision_id, compiled.canonical(value), *outputs]).encode())
    families = [pair.family or f"document {pair.document_id}" for pair in scored] if plan.family else None
    result = non_inferiority(*values, margin=plan.margin, alpha=plan.alpha, families=families)
    contract = Contract.objects.filter(project=project).first()
    constraints = contract.constraints if contract else {}
    return Labeled(
        plan=plan, result=result, drawn=len(pairs), currency=str(constraints.get("currency") or ""),
        stable=_side(comparison.a, result.before, scored, constraints, is_candidate=False),
        candidate=_side(comparison.b, result.after, scored, constraints, is_candidate=True),
        from_proposals=prelabelled, replayed=sum(pair.replayed for pair in scored), pairs_sha256=hashed.hexdigest(),
    )  # fmt: skip


def _side(
    release: Release, accuracy: float, pairs: list[ComparisonPair], constraints: dict[str, Any], *, is_candidate: bool
) -> Side:
    times = distribution([pair.candidate_ms if is_candidate else pair.stable_ms for pair in pairs])
    cost, reason = _cost(release, pairs, constraints, is_candidate=is_candidate)
    return Side(release.label, accuracy, cost, reason, times["p50"], times["p95"])


def _cost(
    release: Release, pairs: list[ComparisonPair], constraints: dict[str, Any], *, is_candidate: bool
) -> tuple[float | None, str]:
    if not pairs:
        return None, "no document is labeled"
    if release.endpoint is not None:
        price = TokenPrice(release.endpoint.price_in, release.endpoint.price_out)
        tokens = [sum(pair.stable_tokens[at] for pair in pairs) for at in (0, 1)]
        cost = price.of_run({"prompt_tokens": tokens[0], "output_tokens": tokens[1]}, len(pairs))
        return cost.per_thousand, cost.reason
    per_hour = constraints.get("hardware_price_per_hour")
    if per_hour in (None, ""):
        return None, "the contract has no price per hour of the hardware"
    times = [pair.candidate_model_ms if is_candidate else pair.stable_ms for pair in pairs]
    return 1000 * cost_of_time(sum(times) / len(times), float(per_hour)), "measured time at the price per hour"
