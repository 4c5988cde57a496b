"""Label challenges: a user claims that a gold label is wrong, and a reviewer decides.

A challenge is resolved by the document's next gold label, however it came to be: adjudication, a fix on the labeling
screen, or a new annotation after a rejection. With four eyes, neither the author of the label nor the challenger
resolves it.
"""

from collections.abc import Sequence
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import F, OuterRef, Subquery

from evaluation.audit import services as audit_services
from evaluation.models import EvalOutput, EvalRun, LabelChallenge, SuspectLabel
from evaluation.scores.label_noise import candidate_label
from labeling.annotation import challenged_labels
from labeling.annotation.challenged_labels import ChallengedLabel
from labeling.form.merge import same
from labeling.models import AnnotationRevision, DatasetItem, Document, Gold, Project
from slmstudio.access import Action, require
from slmstudio.errors import Refused
from slmstudio.text.formatting import percent

MAX_REASON_LENGTH = 1000
_BATCH_SIZE = 500

__all__ = ["challenge_suspect", "create_challenge", "open_challenges", "resolve_all", "resolve_project"]


def create_challenge(*, output: EvalOutput, user: User, path: str = "", reason: str = "") -> LabelChallenge:
    """Challenges the gold label of an output, at ``path`` or as a whole; the document goes to adjudication. Returns the
    open challenge of the document, if there is one.

    Raises:
        Refused: ``field`` is field, reason or form.
    """
    require(output.eval_run.project, user, Action.LABEL)
    run = output.eval_run
    reason = reason.replace("\0", "").strip()
    if len(reason) > MAX_REASON_LENGTH:
        raise Refused(
            f"The reason has {len(reason):,} characters; the maximum is {MAX_REASON_LENGTH:,}.", field="reason"
        )
    if path and path not in challengeable_fields(output):
        raise Refused("This output does not have that field.", field="field")
    with transaction.atomic():
        Project.objects.select_for_update(no_key=True).get(pk=run.project_id)  # first: the audit log locks it
        # Locked, so that two concurrent challenges become one.
        document = Document.objects.select_for_update(of=("self",), no_key=True).get(pk=output.document_id)
        existing: LabelChallenge | None = LabelChallenge.objects.open().filter(document=document).first()
        if existing is not None:
            return existing
        try:
            revision = challenged_labels.send_to_adjudication(document=document)
        except Refused as refused:
            raise Refused(str(refused), field="form") from refused
        _check_current(run, document, revision)
        challenge = LabelChallenge(
            project_id=run.project_id,
            document=document,
            eval_run=run,
            revision=revision,
            field=path,
            reason=reason,
            created_by=user,
        )
        details = {"evaluation": run.number, "field": path, "reason": reason, "revision": revision.pk}
        _save(challenge, run.project, user, details)
    return challenge


@transaction.atomic
def challenge_suspect(*, suspect: SuspectLabel, user: User, eval_run: EvalRun | None = None) -> bool:
    """Challenges the label of a suspect, with the prediction as the suggestion. False if it is already challenged.

    Raises:
        Refused: the label changed since the check, or cannot be adjudicated.
    """
    require(suspect.run.project, user, Action.CURATE)
    run = suspect.run
    Project.objects.select_for_update(no_key=True).get(pk=run.project_id)
    document = Document.objects.select_for_update(of=("self",), no_key=True).get(pk=suspect.document_id)
    if document.holdout or LabelChallenge.objects.open().filter(document=document).exists():
        return False
    if challenged_labels.send_to_adjudication(document=document).pk != suspect.revision_id:
        raise Refused("The label changed since the check.")
    challenge = LabelChallenge(
        project_id=run.project_id,
        document=document,
        eval_run=eval_run,
        revision=suspect.revision,
        field=suspect.field,
        reason=(
            f"Suspect label {suspect.place} of {run}: {percent(suspect.probability, 0)} confidence in another value."
        ),
        suggestion=suspect.suggestion,
        suggested_by=suspect.model,
        created_by=user,
    )
    details = {"label check": run.number, "field": suspect.field, "revision": suspect.revision_id}
    _save(challenge, run.project, user, details)
    return True


def _save(challenge: LabelChallenge, project: Project, user: User, details: dict[str, Any]) -> None:
    """Stores a new challenge, and the act in the audit log."""
    challenge.full_clean(validate_constraints=False)
    challenge.save()
    audit_services.record(
        project=project, user=user, action="doubted", about=_about(challenge.document), details=details
    )


def challengeable_fields(output: EvalOutput) -> list[str]:
    """The fields of an output that can be challenged, wrong ones first."""
    rows = (output.score or {}).get("fields", [])
    return [row["path"] for row in sorted(rows, key=lambda row: row["outcome"] in ("correct", "both_absent"))]


def _check_current(run: EvalRun, document: Document, revision: AnnotationRevision) -> None:
    """Raises Refused where the gold label changed since the evaluation was scored."""
    items = DatasetItem.objects.filter(dataset=run.dataset_id, document=document).select_related("revision__annotation")
    item = items.first()
    if item is None or item.revision_id == revision.pk:
        return
    schemas = {item.revision.annotation.schema_version_id, revision.annotation.schema_version_id}
    if len(schemas) == 1 and not same(item.revision.value, revision.value):
        raise Refused(
            "The label changed since this evaluation. Freeze a new version and re-score the evaluation.",
            field="form",
        )


def _about(document: Document) -> str:
    return f"gold of {document.external_id}"[:200]


# -- for the reviewer ----------------------------------------------------------------------------------------------


def open_challenges(documents: Sequence[int]) -> dict[int, ChallengedLabel]:
    """The open challenges of some documents, for the labeling pages; one query where there are none."""
    rows = LabelChallenge.objects.open().filter(document__in=documents)
    pending = list(
        rows.select_related(
            "revision", "created_by", *(f"eval_run__{name}" for name in ("base_model", "endpoint", "training_run")),
            "eval_run__model_version",
        )
    )  # fmt: skip
    if not pending:
        return {}
    answers = EvalOutput.objects.filter(
        eval_run__in=[challenge.eval_run_id for challenge in pending],
        document__in=[challenge.document_id for challenge in pending],
    )
    scores = answers.values_list("eval_run_id", "document_id", "score")
    outputs: dict[Any, Any] = {(run, key): score for run, key, score in scores}
    return {
        challenge.document_id: _for_review(challenge, outputs.get((challenge.eval_run_id, challenge.document_id)))
        for challenge in pending
    }


def _for_review(challenge: LabelChallenge, score: Any) -> ChallengedLabel:
    run = challenge.eval_run
    return ChallengedLabel(
        path=challenge.field,
        value=challenge.suggestion
        or candidate_label(challenge.revision.value, (score or {}).get("output"), challenge.field),
        suggested_by=challenge.suggested_by or (run.model_label if run is not None else "a model"),
        created_by=challenge.created_by_id,
        name=challenge.created_by.get_username() if challenge.created_by else "A former member",
        reason=challenge.reason,
    )


# -- resolution --------------------------------------------------------------------------------------------------


def resolve_all() -> None:
    """Resolves the decided challenges of all projects; a periodic task."""
    resolve_challenges(LabelChallenge.objects.open())


def resolve_project(project: Project) -> int:
    """Resolves the decided challenges of a project. One query where none is open."""
    return resolve_challenges(LabelChallenge.objects.open().filter(project=project))


def resolve_challenges(rows: Any) -> int:
    """Resolves those of some open challenges that are decided; returns how many. Idempotent."""
    newest = Gold.objects.filter(document=OuterRef("document")).order_by("-schema_version__number")
    # The database selects the decided ones: many may be undecided.
    rows = rows.annotate(counting=Subquery(newest.values("pk")[:1]), now=Subquery(newest.values("revision")[:1]))
    rows = rows.filter(now__isnull=False).exclude(now=F("revision"))
    rows = rows.select_related("project", "document", "revision__annotation").defer("document__text")
    decided = list(rows.order_by("pk")[:_BATCH_SIZE])
    if not decided:
        return 0
    golds = Gold.objects.select_related("revision__user", "approved_by").in_bulk(
        [challenge.counting for challenge in decided]
    )
    return sum(_resolve(challenge, golds[challenge.counting]) for challenge in decided if challenge.counting in golds)


@transaction.atomic
def _resolve(challenge: LabelChallenge, gold: Gold) -> bool:
    own = LabelChallenge.objects.open().filter(pk=challenge.pk)
    revision = gold.revision
    if revision.action == AnnotationRevision.Action.MIGRATE:
        own.update(revision=revision)  # migrated to another schema version: not a decision
        return False
    involved = {challenge.created_by_id, challenge.revision.annotation.user_id} - {None}
    deciders = {revision.user_id, gold.approved_by_id} - {None}
    if challenge.project.four_eyes and deciders and deciders <= involved:
        _reopen_dispute(challenge.document)
        return False
    # The author of the label may be involved, where another user approved it.
    decider = gold.approved_by if revision.user_id in involved and gold.approved_by_id else revision.user
    corrected = not same(challenge.revision.value, revision.value)
    answer = LabelChallenge.Answer.CORRECTED if corrected else LabelChallenge.Answer.CONFIRMED
    if not own.update(answer=answer, answered_by=decider, answered_at=gold.created_at):
        return False
    audit_services.record(
        project=challenge.project,
        user=decider,
        action="answered",
        about=_about(challenge.document),
        details={"answer": str(answer.label), "field": challenge.field, "revision": revision.pk},
    )
    return True


def _reopen_dispute(document: Document) -> None:
    """An involved user submitted the label: another user must still decide."""
    try:
        with transaction.atomic():
            challenged_labels.send_to_adjudication(document=document)
    except Refused:
        pass  # already disputed, or skipped
