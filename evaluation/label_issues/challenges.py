"""Questions about gold: somebody who reads a case says that its label is wrong, and a reviewer decides.

What was decided is read off the document's gold, whichever way it came to be: adjudication, a fix on the labeling
screen, a new label after it was sent back. Where four eyes are on, neither who wrote the label nor who doubts it
answers the question.
"""

from collections.abc import Sequence
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import F, OuterRef, Subquery

from evaluation.audit import services as audit_services
from evaluation.label_issues.label_noise import proposal
from evaluation.models import EvalOutput, EvalRun, GoldQuestion
from labeling.annotation import challenges
from labeling.annotation.challenges import LabelChallenge
from labeling.form.merge import same
from labeling.models import AnnotationRevision, DatasetItem, Document, Gold, Project
from slmstudio.errors import Refused

MOST_REASON = 1000
_AT_ONCE = 500

__all__ = ["ask", "doubts_of", "look", "look_everywhere"]


def ask(*, output: EvalOutput, user: User, path: str = "", reason: str = "") -> GoldQuestion:
    """Doubts the gold of a case, at ``path`` or all of it; the document goes to adjudication. Asked twice, it waits
    once: the question that waits is given back.

    Raises:
        Refused: ``field`` is field, reason or form; nothing is asked then.
    """
    run = output.eval_run
    reason = reason.replace("\0", "").strip()
    if len(reason) > MOST_REASON:
        raise Refused(f"The reason is {len(reason):,} characters long; {MOST_REASON:,} are possible.", field="reason")
    if path and path not in paths_of(output):
        raise Refused("This case has no such field.", field="field")
    with transaction.atomic():
        Project.objects.select_for_update(no_key=True).get(pk=run.project_id)  # first: the audit log locks it
        # Its row is locked, so that two people who ask at once ask one question.
        document = Document.objects.select_for_update(of=("self",), no_key=True).get(pk=output.document_id)
        waiting: GoldQuestion | None = GoldQuestion.objects.open().filter(document=document).first()
        if waiting is not None:
            return waiting
        try:
            revision = challenges.send_to_adjudication(document=document)
        except Refused as refused:
            raise Refused(str(refused), field="form") from refused
        _check_is_doubted(run, document, revision)
        question = GoldQuestion(
            project_id=run.project_id,
            document=document,
            eval_run=run,
            revision=revision,
            field=path,
            reason=reason,
            created_by=user,
        )
        question.full_clean(validate_constraints=False)
        question.save()
        audit_services.record(
            project=run.project,
            user=user,
            action="doubted",
            about=_about(document),
            details={"evaluation": run.number, "field": path, "reason": reason, "revision": revision.pk},
        )
    return question


def paths_of(output: EvalOutput) -> list[str]:
    """The fields of a case that can be doubted, those that are wrong first."""
    rows = (output.score or {}).get("fields", [])
    return [row["path"] for row in sorted(rows, key=lambda row: row["outcome"] in ("correct", "both_absent"))]


def _check_is_doubted(run: EvalRun, document: Document, revision: AnnotationRevision) -> None:
    """Refuses where the gold that the run was scored against is not what counts any more."""
    items = DatasetItem.objects.filter(dataset=run.dataset_id, document=document).select_related("revision__annotation")
    item = items.first()
    if item is None or item.revision_id == revision.pk:
        return
    schemas = {item.revision.annotation.schema_version_id, revision.annotation.schema_version_id}
    if len(schemas) == 1 and not same(item.revision.value, revision.value):
        raise Refused(
            "Its label was changed since this evaluation. Freeze a new version and score the evaluation again.",
            field="form",
        )


def _about(document: Document) -> str:
    return f"gold of {document.external_id}"[:200]


# -- what a reviewer sees ----------------------------------------------------------------------------------------------


def doubts_of(documents: Sequence[int]) -> dict[int, LabelChallenge]:
    """The open questions about some documents, as the labeling side shows them; one query where there is none."""
    rows = GoldQuestion.objects.open().filter(document__in=documents)
    questions = list(
        rows.select_related(
            "revision", "created_by", *(f"eval_run__{name}" for name in ("base_model", "endpoint", "training_run")),
            "eval_run__model_version",
        )
    )  # fmt: skip
    if not questions:
        return {}
    said = EvalOutput.objects.filter(
        eval_run__in=[one.eval_run_id for one in questions], document__in=[one.document_id for one in questions]
    )
    scores = said.values_list("eval_run_id", "document_id", "score")
    outputs: dict[Any, Any] = {(run, key): score for run, key, score in scores}
    return {one.document_id: _as_doubt(one, outputs.get((one.eval_run_id, one.document_id))) for one in questions}


def _as_doubt(question: GoldQuestion, score: Any) -> LabelChallenge:
    run = question.eval_run
    return LabelChallenge(
        path=question.field,
        value=proposal(question.revision.value, (score or {}).get("output"), question.field),
        suggested_by=run.model_label if run is not None else "a model",
        created_by=question.created_by_id,
        name=question.created_by.get_username() if question.created_by else "Somebody",
        reason=question.reason,
    )


# -- what was decided --------------------------------------------------------------------------------------------------


def look_everywhere() -> None:
    """Answers what has been decided in all projects; called after each sweep."""
    look(GoldQuestion.objects.open())


def look_at(project: Project) -> int:
    """Answers what has been decided in a project. One query where nothing is open."""
    return look(GoldQuestion.objects.open().filter(project=project))


def look(rows: Any) -> int:
    """Answers those of some open questions that have been decided; returns how many. Safe to call at any time."""
    newest = Gold.objects.filter(document=OuterRef("document")).order_by("-schema_version__number")
    # Told apart by the database: those that still wait may be many, and are no work.
    rows = rows.annotate(counting=Subquery(newest.values("pk")[:1]), now=Subquery(newest.values("revision")[:1]))
    rows = rows.filter(now__isnull=False).exclude(now=F("revision"))
    rows = rows.select_related("project", "document", "revision__annotation").defer("document__text")
    questions = list(rows.order_by("pk")[:_AT_ONCE])
    if not questions:
        return 0
    golds = Gold.objects.select_related("revision__user", "approved_by").in_bulk([one.counting for one in questions])
    return sum(_answer(one, golds[one.counting]) for one in questions if one.counting in golds)


@transaction.atomic
def _answer(question: GoldQuestion, gold: Gold) -> bool:
    mine = GoldQuestion.objects.open().filter(pk=question.pk)
    revision = gold.revision
    if revision.action == AnnotationRevision.Action.MIGRATE:
        mine.update(revision=revision)  # taken to another schema: nobody has decided anything
        return False
    parties = {question.created_by_id, question.revision.annotation.user_id} - {None}
    answerable = {revision.user_id, gold.approved_by_id} - {None}
    if question.project.four_eyes and answerable and answerable <= parties:
        _dispute_again(question.document)
        return False
    # Who wrote the label may be a party, where somebody else approved it.
    decider = gold.approved_by if revision.user_id in parties and gold.approved_by_id else revision.user
    corrected = not same(question.revision.value, revision.value)
    answer = GoldQuestion.Answer.CORRECTED if corrected else GoldQuestion.Answer.CONFIRMED
    if not mine.update(answer=answer, answered_by=decider, answered_at=gold.created_at):
        return False
    audit_services.record(
        project=question.project,
        user=decider,
        action="answered",
        about=_about(question.document),
        details={"answer": str(answer.label), "field": question.field, "revision": revision.pk},
    )
    return True


def _dispute_again(document: Document) -> None:
    """A party submitted the label anew: somebody else still has to decide."""
    try:
        with transaction.atomic():
            challenges.send_to_adjudication(document=document)
    except Refused:
        pass  # it waits for a reviewer already, or is put aside
