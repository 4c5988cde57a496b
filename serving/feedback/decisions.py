"""Decisions about items of the review queue: right, dismissed, or sent to labeling as documents."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from labeling.annotation import predictions
from labeling.annotation.predictions import PredictionInput
from labeling.failure_tags import tags_of
from labeling.imports.services import insert_rows
from labeling.models import Document, Project
from labeling.models.documents import Selection
from serving.feedback import judgments
from serving.feedback.output_scores import UNKNOWN_RIGHT, UNKNOWN_WRONG, compare
from serving.feedback.redaction import redact, redact_value
from serving.feedback.selection import INDEPENDENT
from serving.models import Judgment, RequestLog, SamplePlan
from serving.models.review import Draw, Reason, ReviewItem
from slmstudio.access import Action, require
from slmstudio.contract.json_text import JsonError, dumps, loads
from slmstudio.contract.schema.dialect import identity
from slmstudio.errors import Refused
from slmstudio.storage.hashing import sha256_text

Status = ReviewItem.Status
MAX_ITEMS = 500
SOURCE = "requests"


@dataclass(frozen=True)
class Decided:
    """``items``: decided; ``gone``: their text is no longer stored, so that they left the queue; ``rejected``: their
    text is no document, such as one that is too long."""

    items: int
    gone: int = 0
    rejected: int = 0


@transaction.atomic
def dismiss(*, project: Project, user: User, items: Iterable[int]) -> Decided:
    """Takes items out of the queue with their near-duplicates; nothing is judged."""
    require(project, user, Action.REVIEW)
    rows = _locked(project, items)
    _decide([*rows, *_members(rows)], Status.DISMISSED, user)
    return Decided(len(rows))


@transaction.atomic
def mark_right(*, project: Project, user: User, items: Iterable[int]) -> Decided:
    """Stores that the shown outputs are right, also of requests for the same text that got an equal output.

    An item with another output stays in the queue and shows that one.

    Raises:
        Refused: an item has no output that could be right.
    """
    require(project, user, Action.REVIEW)
    rows = _locked(project, items)
    requests = _shown(rows)
    done = [row for row in rows if row.request_id in requests]
    if any(requests[row.request_id].status != 200 for row in done):
        raise Refused(
            "A failed request has no output, so it cannot be marked correct.", field="items", code="no_output"
        )
    gone = _drop_gone(rows, requests)
    decided = []
    for row in done:
        rest = _judge_equal(project, user, row, requests[row.request_id], right=True)
        if rest is None:
            decided.append(row)
        else:
            row.request_id, row.day, row.release_id = rest.request_id, rest.day, rest.release_id
            row.save(update_fields=["request_id", "day", "release"])
    _decide(decided, Status.RIGHT, user)
    _release_members(decided)
    return Decided(len(done), gone)


@transaction.atomic
def send(*, project: Project, user: User, items: Iterable[int], wrong: bool, tag: str = "") -> Decided:
    """Makes documents of items, for labeling. ``wrong``: the reviewer says that the output is.

    Targeted documents get the output as a pre-label. Documents of the uniform sample and of the audit get none: their
    label judges the output. Those of the uniform sample may be drawn into the hold-out. A text that the project has
    already becomes no second document.

    Raises:
        Refused: the project has no such failure tag.
    """
    require(project, user, Action.REVIEW)
    if tag and tag not in tags_of(project):
        raise Refused("Select a tag of the project.", field="tag", code="tag")
    rows = _locked(project, items)
    requests = _shown(rows)
    gone = _drop_gone(rows, requests)
    kept = [row for row in rows if row.request_id in requests]
    kinds = SamplePlan.objects.filter(deployment__project=project).values_list("redact", flat=True).first() or []
    documents = _documents(project, user, kept, requests, kinds, tag)
    sent = [row for row in kept if row.pk in documents]
    for row in sent:
        row.document = documents[row.pk]
        row.judged_by = None
        row.save(update_fields=["document", "judged_by"])
        if wrong:
            _judge_equal(project, user, row, requests[row.request_id], right=False)
    _decide(sent, Status.SENT, user)
    _decide(_members(sent), Status.DISMISSED, user)
    return Decided(len(sent), gone, len(kept) - len(sent))


def _locked(project: Project, items: Iterable[int]) -> list[ReviewItem]:
    rows = ReviewItem.objects.filter(project=project, pk__in=list(items)[:MAX_ITEMS], status=Status.OPEN)
    return list(rows.order_by("pk").select_for_update(of=("self",), no_key=True))


def _members(rows: Sequence[ReviewItem]) -> list[ReviewItem]:
    return list(ReviewItem.objects.filter(leader__in=rows, status=Status.OPEN).exclude(pk__in=[row.pk for row in rows]))


def _release_members(rows: Sequence[ReviewItem]) -> None:
    """The first near-duplicate of a decided item leads the others: its output is another one."""
    for row in rows:
        members = list(ReviewItem.objects.filter(leader=row, status=Status.OPEN).order_by("pk"))
        if members:
            first, rest = members[0], members[1:]
            first.leader, first.members_count, first.signature = None, len(rest), row.signature
            first.save(update_fields=["leader", "members_count", "signature"])
            ReviewItem.objects.filter(pk__in=[one.pk for one in rest]).update(leader=first)


def _decide(rows: Sequence[ReviewItem], status: str, user: User) -> None:
    ReviewItem.objects.filter(pk__in=[row.pk for row in rows]).update(
        status=status, decided_by=user, decided_at=timezone.now()
    )


def _shown(rows: Sequence[ReviewItem]) -> dict[Any, RequestLog]:
    """The shown requests that are still stored, by id."""
    found = RequestLog.objects.filter(id__in=[row.request_id for row in rows], day__in={row.day for row in rows})
    found = found.exclude(text="").select_related("release__package__eval_run__dataset__schema_version")
    return {one.id: one for one in found}


def _drop_gone(rows: Sequence[ReviewItem], requests: dict[Any, RequestLog]) -> int:
    """Deletes items whose text is no longer stored."""
    gone = [row.pk for row in rows if row.request_id not in requests]
    ReviewItem.objects.filter(leader__in=gone).update(leader=None)
    ReviewItem.objects.filter(pk__in=gone).delete()
    return len(gone)


def _judge_equal(project: Project, user: User, item: ReviewItem, shown: RequestLog, *, right: bool) -> Draw | None:
    """Judges every drawn request of an item with the same output; returns one that is left, or None."""
    draws = {draw.request_id: draw for draw in item.draws.all()}
    rows = RequestLog.objects.filter(id__in=draws, day__in={draw.day for draw in draws.values()})
    known = set(
        Judgment.objects.of(project)
        .by_people_of_the_project()
        .filter(request_id__in=draws)
        .values_list("request_id", flat=True)
    )
    wanted, left = _meaning(shown.output), None
    for row in rows.select_related("release__package__eval_run__dataset__schema_version"):
        if row.id != shown.id and (row.status != shown.status or _meaning(row.output) != wanted):
            if row.id not in known and row.status == 200 and row.output:
                left = draws[row.id]
            continue
        schema = judgments.schema_of(project, row.release)
        score = UNKNOWN_WRONG
        if right:
            score = compare(schema, text=row.text, output=row.output, gold=row.output) if row.output else UNKNOWN_RIGHT
        judgments.store(project=project, request=row, source=Judgment.Source.REVIEWER, score=score, user=user)
    return left


def _meaning(output: str) -> object:
    try:
        return identity(loads(output))
    except (JsonError, ValueError):
        return output


# -- documents ---------------------------------------------------------------------------------------------------------


def _documents(
    project: Project,
    user: User,
    items: Sequence[ReviewItem],
    requests: dict[Any, RequestLog],
    kinds: Sequence[str],
    tag: str,
) -> dict[int, Document]:
    """The document of each item; without those whose text was rejected."""
    texts = {item.pk: redact(requests[item.request_id].text, kinds) for item in items}
    hashes = {pk: sha256_text(text) for pk, text in texts.items()}
    known = Document.objects.existing_texts(project, hashes.values())
    rows = [
        {
            "id": f"request-{item.request_id}", "text": texts[item.pk], "tags": [tag] if tag else [],
            "request": str(item.request_id), "version": item.release.number if item.release else None,
        }
        for item in items
        if hashes[item.pk] not in known
    ]  # fmt: skip
    if rows:
        insert_rows(project=project, user=user, rows=rows, source=SOURCE)
    found = Document.objects.filter(project=project, sha256__in=hashes.values()).only("pk", "sha256", "tags", "project")
    by_hash = {document.sha256: document for document in found}
    items = [item for item in items if hashes[item.pk] in by_hash]
    _tag(by_hash.values(), known, tag)
    uniform = [item for item in items if Reason.UNIFORM in item.reasons]
    targeted = [item for item in items if Reason.UNIFORM not in item.reasons]
    for selection, part in ((Selection.UNIFORM, uniform), (Selection.TARGETED, targeted)):
        fresh = [by_hash[hashes[item.pk]].pk for item in part if hashes[item.pk] not in known]
        Document.objects.filter(pk__in=fresh).update(selection=selection)
    for item in targeted:
        if hashes[item.pk] not in known and INDEPENDENT.isdisjoint(item.reasons):
            _prelabel(project, by_hash[hashes[item.pk]], requests[item.request_id], kinds)
    return {item.pk: by_hash[hashes[item.pk]] for item in items}


def _tag(documents: Iterable[Document], known: set[str], tag: str) -> None:
    """Adds the failure tag to documents that the project had already."""
    for document in documents:
        if tag and document.sha256 in known and tag not in document.tags:
            document.tags = [*document.tags, tag]
            document.save(update_fields=["tags"])


def _prelabel(project: Project, document: Document, request: RequestLog, kinds: Sequence[str]) -> None:
    """The output as a pre-label; it is never gold."""
    if not request.output:
        return
    raw = request.output
    try:
        raw = dumps(redact_value(loads(raw), kinds)) if kinds else raw
    except (JsonError, ValueError):
        return
    confidence = {path: value[0] if isinstance(value, list) else value for path, value in request.confidence.items()}
    proposal = PredictionInput(document.pk, raw, confidence, request.model_ms / 1000)
    release = request.release
    model = f"{project.slug}@{release.number}" if release is not None else project.slug
    predictions.record(
        project=project, schema_version=project.schema_version, proposals=[proposal], model=model,
        source=f"request-{request.id}",
    )  # fmt: skip
