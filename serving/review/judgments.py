"""Judgments of requests: by callers at the gateway, by reviewers, and by the gold labels of their documents."""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db.models import F, OuterRef, Subquery
from django.utils import timezone

from evaluation.scores.score_view import CORRECT_OUTCOMES
from labeling.models import AnnotationRevision, Gold, Project
from serving.models import Deployment, Judgment, Release, RequestLog, SamplePlan
from serving.models.review import Draw, ReviewItem
from serving.review.redaction import redact, redact_json
from slmstudio.contract.json_text import dumps, loads
from slmstudio.contract.schema.compiled import CompiledSchema
from slmstudio.contract.schema.wrapped_values import wrap
from slmstudio.contract.scoring.outcomes import Outcome
from slmstudio.contract.scoring.pairing import pair
from slmstudio.contract.scoring.scorer import score_document
from slmstudio.contract.values.kinds.registry import KINDS
from slmstudio.errors import Refused
from slmstudio.periodic import for_each

OPENAI_PREFIX = "chatcmpl-"
_COLUMNS = ("right", "fields", "correct_fields", "counted_fields", "correction", "token_id", "user", "updated_at")
_BATCH, _ERASED = 500, 5_000


@dataclass(frozen=True, slots=True)
class OutputScore:
    """Whether an output is right. ``fields``: path in the output -> right; a missing value has its path in gold.

    ``counted``: fields that are present in the output or in gold, as in an evaluation; ``correct``: of these.
    """

    right: bool
    fields: dict[str, bool] = field(default_factory=dict)
    correct: int = 0
    counted: int = 0


def compare(schema: CompiledSchema, *, text: str, output: str, gold: str) -> OutputScore:
    """The score of ``output``, both as JSON text, with the scoring of evaluations. "": there is no output."""
    value = loads(gold)
    score = score_document(schema, text=text, gold=value, raw=output or None)
    leaves = [leaf for leaf in pair(schema.root, value, score.output) if KINDS[leaf.field.kind].scored]
    fields: dict[str, bool] = {}
    correct = counted = 0
    for number, outcome in enumerate(score.fields):
        right = outcome.outcome in CORRECT_OUTCOMES
        # Outcomes are in the order of the leaves; those of unknown fields follow.
        leaf = leaves[number] if number < len(leaves) else None
        path = outcome.path if leaf is None or leaf.output is None else leaf.output_path
        fields[path] = right and fields.get(path, True)
        if outcome.outcome != Outcome.BOTH_ABSENT:
            counted += 1
            correct += right
    return OutputScore(score.exact, fields, correct, counted)


class UnknownRequest(Refused):
    """There is no such request in the project."""

    def __init__(self) -> None:
        super().__init__("There is no such request in this project.", field="request_id", code="request")


def parse_id(text: object) -> uuid.UUID:
    """The id of a request, also as the OpenAI-compatible interface writes it.

    Raises:
        UnknownRequest: it is none.
    """
    try:
        return uuid.UUID(str(text).removeprefix(OPENAI_PREFIX))
    except ValueError:
        raise UnknownRequest from None


def find_request(project: Project, request_id: uuid.UUID) -> RequestLog:
    """A caller's request.

    Raises:
        UnknownRequest: the log of the project does not have it; also for requests in shadow, which no caller knows.
    """
    rows = RequestLog.objects.filter(id=request_id, project_id=project.pk, shadow_of=None)
    row = rows.select_related("release__package__eval_run__dataset__schema_version").first()
    if row is None:
        raise UnknownRequest
    return row


def schema_of(project: Project, release: Release | None) -> CompiledSchema:
    """The schema that a release answers by: that of its evaluation, or of an external model the newest."""
    return package_schema(release) or project.schema_version.compiled


def package_schema(release: Release | None) -> CompiledSchema | None:
    """The schema of the evaluation of a release; None of an external model."""
    package = release.package if release is not None else None
    return package.eval_run.dataset.schema_version.compiled if package is not None else None


def redacted_kinds(project: Project) -> list[str]:
    """The kinds of values that the queue and its documents do not show."""
    return SamplePlan.objects.filter(deployment__project=project).values_list("redact", flat=True).first() or []


def judge(
    *, project: Project, request: RequestLog, right: bool | None = None, output: Any = None, token_id: int | None = None
) -> Judgment:
    """Stores a caller's judgment: ``right``, or the corrected object as ``output``, a JSON value. The newest counts.

    An object that equals the stored output counts as right. Where the output is no longer stored, an object counts as
    a correction, and its fields are not compared.

    Raises:
        Refused: neither or both are given; there is no output that could be right; or the object does not match the
            schema: ``errors`` has the message of every field.
    """
    if (right is None) == (output is None):
        raise Refused("Send either right or output.", field="right", code="what")
    schema = schema_of(project, request.release)
    if output is not None:
        output = wrap(schema.schema, output)
        problems = schema.validate(output)
        if problems:
            errors = {problem.path: problem.message for problem in reversed(problems)}
            first = problems[0]
            raise Refused(
                f"{first.path or 'The object'} {first.message}.", field=f"output.{first.path}".rstrip("."),
                code="schema", errors=errors,
            )  # fmt: skip
    elif right and request.status != 200:
        raise Refused("The request has no output.", field="right", code="no_output")
    gold = "" if output is None else dumps(output)
    score = _score(schema, request, bool(right), gold)
    days = Deployment.objects.filter(project=project).values_list("retention_days", flat=True).first() or 0
    is_stored = bool(days) and request.created_at >= timezone.now() - timedelta(days=days)
    return store(
        project=project, request=request, source=Judgment.Source.CALLER, score=score,
        correction=gold if not score.right and is_stored else "", token_id=token_id,
    )  # fmt: skip


def store(
    *,
    project: Project,
    request: RequestLog,
    source: str,
    score: OutputScore,
    correction: str = "",
    user: User | None = None,
    token_id: int | None = None,
) -> Judgment:
    """Stores what a source says; replaces its former judgment of the request."""
    row = Judgment(
        project=project, request_id=request.id, day=request.day,
        requested_at=request.created_at, release=request.release, source=source,
        right=score.right, fields=score.fields, correct_fields=score.correct, counted_fields=score.counted,
        correction=correction, user=user, token_id=token_id, updated_at=timezone.now(),
    )  # fmt: skip
    [stored] = Judgment.objects.bulk_create(
        [row], update_conflicts=True, unique_fields=["request_id", "source"], update_fields=_COLUMNS
    )
    return stored


def _score(schema: CompiledSchema, request: RequestLog, right: bool, gold: str) -> OutputScore:
    if gold and (request.output or request.status != 200):
        output = request.output if request.status == 200 else ""
        return compare(schema, text=request.text, output=output, gold=gold)
    if right and request.output:
        return compare(schema, text=request.text, output=request.output, gold=request.output)
    return OutputScore(right)


# -- by gold labels ---------------------------------------------------------------------------------------------------


def judge_all() -> int:
    """Judges the requests of all projects by new gold labels; a periodic task. Returns how many were judged."""
    deployments = Deployment.objects.select_related("project").order_by("pk")
    return for_each("judging requests", deployments, lambda deployment: judge_by_gold(deployment.project))


def judge_by_gold(project: Project) -> int:
    """Judges the drawn requests of documents whose gold label is new or was changed; returns how many.

    Requests whose output is no longer stored are left as they are.
    """
    gold = Gold.objects.current(project).filter(document=OuterRef("document")).values("revision")[:1]
    items: Any = (
        ReviewItem.objects.filter(project=project, document__isnull=False)
        .annotate(gold=Subquery(gold))
        .exclude(gold=None)
        .exclude(judged_by__isnull=False, judged_by=F("gold"))
        .order_by("pk")
    )
    kinds = redacted_kinds(project)
    judged = 0
    for item in items[:_BATCH]:
        revision = AnnotationRevision.objects.select_related("user").get(pk=item.gold)
        judged += _judge_item(project, item, revision, kinds)
        item.judged_by = revision
        item.save(update_fields=["judged_by"])
    return judged


def _judge_item(project: Project, item: ReviewItem, revision: AnnotationRevision, kinds: list[str]) -> int:
    draws = dict(item.draws.values_list("request_id", "day"))
    rows = RequestLog.objects.filter(id__in=draws, day__in=set(draws.values())).exclude(text="")
    judged = 0
    for row in rows.select_related("release__package__eval_run__dataset__schema_version"):
        schema = schema_of(project, row.release)
        if schema.validate(revision.value) or (row.status == 200 and not row.output):
            continue  # a label of another schema, or nothing to compare
        output = redact_json(row.output, kinds) if row.status == 200 else ""
        score = compare(schema, text=redact(row.text, kinds), output=output, gold=dumps(revision.value))
        store(project=project, request=row, source=Judgment.Source.GOLD, score=score, user=revision.user)
        judged += 1
    return judged


# -- erasure ----------------------------------------------------------------------------------------------------------


def items_of(project_id: int, ids: Iterable[uuid.UUID]) -> list[int]:
    """The items of the review queue for some requests of a project."""
    draws = Draw.objects.filter(project_id=project_id, request_id__in=list(ids)).exclude(item=None)
    return sorted(draws.values_list("item_id", flat=True).distinct())


def erase_requests(project_id: int, ids: Iterable[uuid.UUID]) -> None:
    """Deletes everything about some requests of a project. Items without a request are deleted, too; others show one
    that they still have."""
    requests = list(ids)
    items = items_of(project_id, requests)
    Judgment.objects.filter(project_id=project_id, request_id__in=requests).delete()
    Draw.objects.filter(project_id=project_id, request_id__in=requests).delete()
    for item in ReviewItem.objects.filter(pk__in=items):
        rest = item.draws.order_by("-pk").first()
        if rest is None:
            delete_items([item.pk])
            continue
        item.draws_count = item.draws.count()
        item.request_id, item.day, item.release_id = rest.request_id, rest.day, rest.release_id
        item.save(update_fields=["draws_count", "request_id", "day", "release"])


def delete_items(items: list[int]) -> int:
    """Deletes items of the queue; their near-duplicates are listed by themselves. Returns the number of items."""
    ReviewItem.objects.filter(leader__in=items).update(leader=None)
    return ReviewItem.objects.filter(pk__in=items).delete()[1].get("serving.ReviewItem", 0)


def erase_expired(project_id: int, before: datetime) -> int:
    """Erases what quotes requests of a project before a moment: corrections, and the items of the queue whose texts are
    gone. Figures stay: judgments without corrections, and draws. Returns the number of items."""
    old = Judgment.objects.filter(project_id=project_id, day__lte=before.date(), requested_at__lt=before)
    old.exclude(correction="").update(correction="")
    items = ReviewItem.objects.filter(project_id=project_id).exclude(draws__created_at__gte=before)
    return delete_items(list(items.values_list("pk", flat=True)[:_ERASED]))
