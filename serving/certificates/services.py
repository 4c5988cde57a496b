"""Plans certificates, draws their documents, and issues them."""

from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from evaluation.audit import services as audit_services
from evaluation.stats import alpha_level, pairs_needed
from labeling.imports.services import insert_rows
from labeling.models import Document, Prediction
from serving.captures.services import withhold
from serving.certificates import content, traffic
from serving.certificates.content import Comparison, compare
from serving.models import Certificate, CertificatePair, Deployment
from slmstudio.access import Action, require
from slmstudio.errors import Refused
from slmstudio.storage.hashing import sha256_text

SOURCE = "certificate"
MAX_PAIRS = 5_000
#: assumed share of documents on which one side alone is right, where no outputs can be compared yet
DEFAULT_DISCORDANCE = 0.1
Method, Outcome = Certificate.Method, Certificate.Outcome


def plan(
    *,
    deployment: Deployment,
    user: User,
    margin: float,
    measure: str = Certificate.Measure.DOCUMENT,
    method: str = Method.ANYTIME,
    family: str = "",
    wanted: int | None = None,
) -> Certificate:
    """Plans a certificate of the candidate against the stable release, before its documents are labeled.

    ``wanted``: documents to label; None: as many as the planner says.

    Raises:
        Forbidden: the user's role does not permit it.
        Refused: there is no candidate, or ``field`` is out of range.
    """
    require(deployment.project, user, Action.DEPLOY)
    if deployment.candidate is None or deployment.stable is None:
        raise Refused(
            "A certificate needs a stable version and a candidate. Deploy a candidate to shadow first.",
            field="form",
            code="no_candidate",
        )
    project = deployment.project
    if not 0.001 <= margin <= 0.5:
        raise Refused("Enter a margin between 0.1 and 50 points.", field="margin", code="margin")
    with transaction.atomic():
        Deployment.objects.select_for_update(of=("self",)).get(pk=deployment.pk)
        attempt = attempt_of(deployment)
        if wanted is None:
            wanted = needed(deployment, margin=margin)
            if wanted is None:
                raise Refused(
                    "This margin would take too many labels to prove. Enter a larger margin.",
                    field="margin",
                    code="margin",
                )
        if not 1 <= wanted <= MAX_PAIRS:
            raise Refused(f"Enter 1 to {MAX_PAIRS:,} documents.", field="wanted", code="wanted")
        certificate = Certificate(
            project=project, number=project.next_number(Certificate), attempt=attempt,
            stable=deployment.stable, candidate=deployment.candidate,
            measure=measure, method=method, margin=margin, alpha=alpha_level(attempt), family=family, wanted=wanted,
            created_by=user,
        )  # fmt: skip
        certificate.full_clean()
        certificate.save()
        _record(certificate, user, "planned", wanted=wanted, alpha=certificate.alpha)
    return certificate


def attempt_of(deployment: Deployment) -> int:
    """The number of the candidate among those that were compared with the same model, from 1."""
    assert deployment.stable is not None
    assert deployment.candidate is not None
    stables = traffic.same_model(deployment.stable)
    rows = Certificate.objects.filter(project=deployment.project_id, stable__in=stables)
    # A second certificate of the same candidate is a second try, too.
    return rows.count() + 1


def needed(deployment: Deployment, *, margin: float, discordance: float | None = None) -> int | None:
    """How many labeled pairs show that a candidate is non-inferior that is as good; None: too many."""
    if discordance is None:
        assert deployment.stable is not None
        assert deployment.candidate is not None
        found = traffic.pairs(deployment.project, deployment.stable, deployment.candidate)
        discordance = traffic.differing_share(deployment.project, found)
    if discordance is None:
        discordance = DEFAULT_DISCORDANCE
    alpha = alpha_level(attempt_of(deployment))
    return pairs_needed(margin=margin, discordance=max(0.005, discordance), alpha=alpha)


def draw(*, certificate: Certificate, user: User) -> int:
    """Draws documents at random from those that both releases answered, up to the planned number. They are labeled
    without the outputs of either. Returns how many were drawn now; called again, it goes on.

    Raises:
        Forbidden: the user's role does not permit it.
        Refused: it is issued already.
    """
    require(certificate.project, user, Action.DEPLOY)
    if certificate.outcome:
        raise Refused("The certificate was already issued.", field="form", code="issued")
    project = certificate.project
    have = set(certificate.pairs.values_list("document__sha256", flat=True))
    missing = certificate.wanted - len(have)
    trained = traffic.training_texts(certificate.candidate)
    found = traffic.pairs(project, certificate.stable, certificate.candidate)
    drawn, at = 0, 0
    ordered = traffic.in_random_order(found, certificate.number)
    while drawn < missing and at < len(ordered):
        some, at = ordered[at : at + 200], at + 200
        rows = traffic.rows([one.request_id for one in some] + [one.shadow_id for one in some])
        fresh: list[tuple[str, Any, Any]] = []
        for one in some:
            request, shadow = rows.get(one.request_id), rows.get(one.shadow_id)
            if request is None or shadow is None or not request.text:
                continue
            sha256 = sha256_text(request.text)
            if sha256 not in have and sha256 not in trained and drawn + len(fresh) < missing:
                have.add(sha256)
                fresh.append((sha256, request, shadow))
        drawn += _store(certificate, user, fresh)
    _record(certificate, user, "drew", documents=drawn)
    return drawn


def _store(certificate: Certificate, user: User, drawn: list[tuple[str, Any, Any]]) -> int:
    project = certificate.project
    with transaction.atomic():
        known = Document.objects.existing_texts(project, [sha256 for sha256, _, _ in drawn])
        fresh = [{"text": request.text, "request_id": str(request.id)} for sha, request, _ in drawn if sha not in known]
        if fresh:
            insert_rows(project=project, user=user, rows=fresh, source=SOURCE)
        rows = Document.objects.filter(project=project, sha256__in=[sha256 for sha256, _, _ in drawn])
        documents = {row.sha256: row for row in rows.only("pk", "sha256", "source", "metadata")}
        made = [
            CertificatePair(
                certificate=certificate, document=documents[sha256], request_id=request.id, shadow_id=shadow.id,
                family=content.family_of(certificate.family, documents[sha256], request.caller),
                replayed=shadow.protocol == "replay", stable_output=request.output,
                candidate_output=shadow.output if shadow.status == 200 else "", stable_ms=request.total_ms,
                candidate_ms=shadow.total_ms, candidate_model_ms=shadow.model_ms,
                stable_tokens=[request.prompt_tokens, request.output_tokens],
            )
            for sha256, request, shadow in drawn
            if sha256 in documents
        ]  # fmt: skip
        CertificatePair.objects.bulk_create(made, ignore_conflicts=True)
        keys = [row.document_id for row in made]
        withhold(keys)
        # Proposals of runs, too: gold must not lean to either side.
        Prediction.objects.filter(document__in=keys, document__state="new").update(withheld=True)
    return len(made)


def issue(*, certificate: Certificate, user: User) -> Certificate:
    """Ends a certificate with what is shown now, and stores its content with its hashes.

    Raises:
        Forbidden: the user's role does not permit it.
        Refused: it is not shown yet, or at a fixed number: not every document is labeled.
    """
    require(certificate.project, user, Action.DEPLOY)
    with transaction.atomic():
        certificate = Certificate.objects.select_for_update(of=("self",)).get(pk=certificate.pk)
        if certificate.outcome:
            raise Refused("The certificate was already issued.", field="form", code="issued")
        found = compare(certificate)
        outcome = outcome_of(certificate, found)
        if outcome == Outcome.OPEN:
            raise Refused(
                "The candidate is not shown to be non-inferior yet. Label more documents.",
                field="form",
                code="not_shown",
            )
        certificate.outcome, certificate.issued_at = outcome, timezone.now()
        certificate.content = content.content_of(certificate, found)
        certificate.sha256 = content.content_hash(certificate.content)
        certificate.save()
        _record(certificate, user, "issued", outcome=str(outcome), sha256=certificate.sha256)
    return certificate


def outcome_of(certificate: Certificate, found: Comparison) -> str:
    """What may be stated now: at a fixed number only once all of its documents are labeled, and then for good."""
    if certificate.method == Method.ANYTIME:
        return Outcome.CERTIFIED if found.result.is_shown else Outcome.OPEN
    if found.result.pairs < certificate.wanted:
        return Outcome.OPEN
    return Outcome.CERTIFIED if found.result.is_bounded else Outcome.NOT_SHOWN


def _record(certificate: Certificate, user: User, action: str, **details: Any) -> None:
    audit_services.record(
        project=certificate.project, user=user, action=action, about=str(certificate), details=details
    )
