"""The review queue: what its page shows, and what people decide about its items."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import User
from django.db import connection, transaction
from django.db.models import Q
from django.utils import timezone

from labeling.annotation import predictions
from labeling.annotation.predictions import PredictionInput
from labeling.failure_tags import tags_of
from labeling.imports.services import insert_rows
from labeling.models import Document, Project
from labeling.models.documents import Selection
from serving.models import Judgment, RequestLog
from serving.models.review import Draw, Reason, ReviewItem
from serving.review import judgments
from serving.review.judgments import OutputScore, compare
from serving.review.redaction import redact, redact_json, redact_value
from slmstudio.access import Action, require
from slmstudio.contract.json_text import JsonError, dumps, loads
from slmstudio.contract.schema.compiled import CompiledSchema
from slmstudio.contract.schema.dialect import identity
from slmstudio.contract.scoring.pairing import pair
from slmstudio.contract.values import evidence
from slmstudio.errors import Refused
from slmstudio.storage.hashing import sha256_text

Status = ReviewItem.Status
#: items of one decision
MAX_ITEMS = 500
SOURCE = "requests"
SIZE = 20
#: characters of a text that are shown; evidence is searched in these
MAX_TEXT = 20_000
MAX_VALUES = 60
#: place in the queue by the most urgent reason
_SEVERITY: dict[str, float] = {
    Reason.FEEDBACK: 1.0, Reason.FAILURE: 0.9, Reason.REVIEW: 0.8, Reason.SHADOW: 0.7, Reason.FALLBACK: 0.6,
    Reason.LOW_CONFIDENCE: 0.2, Reason.UNIFORM: 0.0,
}  # fmt: skip
WORST, NEWEST = "worst", "newest"


def severity(reasons: Iterable[str], confidence: float | None) -> float:
    """The place in the queue, 0 to 1: the most urgent reason; among low confidences the lowest."""
    worst = max((_SEVERITY[reason] for reason in reasons), default=0.0)
    is_low = worst == _SEVERITY[Reason.LOW_CONFIDENCE] and confidence is not None
    return worst + 0.3 * (1 - (confidence or 0.0)) if is_low else worst


# -- the page ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ShownValue:
    """A value of the output. ``is_found``: it is in the text."""

    path: str
    value: str
    confidence: float | None
    is_found: bool


@dataclass(frozen=True)
class ShownRequest:
    """A request, redacted. ``pieces``: of the text, with the path of the value that is marked or ""; none where the
    text is no longer stored. ``hidden``: characters that are not shown."""

    pieces: list[tuple[str, str]]
    hidden: int
    values: list[ShownValue]
    output: str
    request: RequestLog
    detail: str


@dataclass(frozen=True)
class QueueRow:
    """An item with the request that it shows; None where its text is no longer stored."""

    item: ReviewItem
    reasons: list[tuple[str, str]]
    shown: ShownRequest | None


@dataclass(frozen=True)
class QueuePage:
    """Rows with the position of the next page ("" at the end)."""

    rows: list[QueueRow]
    after: str
    is_first: bool


def counts(project: Project) -> dict[str, int]:
    """Reason -> open items, and "" for all of them; one query."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT reasons, count(*) FROM serving_reviewitem"
            " WHERE project_id = %s AND status = 'open' AND leader_id IS NULL GROUP BY reasons",
            [project.pk],
        )
        rows = cursor.fetchall()
    numbers: Counter[str] = Counter()
    for reasons, number in rows:
        for reason in ("", *reasons):
            numbers[reason] += number
    return dict(numbers)


def urgent_items(project: Project) -> int:
    """Open items of requests that failed, or that a caller judged wrong; one query."""
    return ReviewItem.objects.open(project).filter(reason__in=[Reason.FEEDBACK, Reason.FAILURE]).count()


def queue_page(project: Project, *, reason: str = "", order: str = WORST, after: str = "") -> QueuePage:
    """A page of the queue. ``after``: the position of the row before it, as ``QueuePage.after`` gives it."""
    rows = ReviewItem.objects.open(project, reason).defer("signature").select_related("release")
    rows = rows.order_by("-pk") if order == NEWEST else rows.order_by("-severity", "-pk")
    position = _position(after)
    if position is not None:
        severity, pk = position
        worse = Q(severity__lt=severity) | Q(severity=severity, pk__lt=pk)
        rows = rows.filter(pk__lt=pk) if order == NEWEST else rows.filter(worse, severity__lte=severity)
    items = list(rows[: SIZE + 1])
    after = f"{items[SIZE - 1].severity!r}:{items[SIZE - 1].pk}" if len(items) > SIZE else ""
    return QueuePage(_rows(project, items[:SIZE]), after, position is None)


def _position(text: str) -> tuple[float, int] | None:
    severity, _, pk = text.partition(":")
    if not pk.isascii() or not pk.isdigit() or len(pk) > 18:
        return None
    try:
        value = float(severity)
    except ValueError:
        return None
    return (value, int(pk)) if 0 <= value <= 1 else None


def all_items(project: Project, reason: str) -> list[int]:
    """The items of the queue, the worst first, for a decision about all of them."""
    rows = ReviewItem.objects.open(project, reason).order_by("-severity", "-pk")
    return list(rows.values_list("pk", flat=True)[:MAX_ITEMS])


def _rows(project: Project, items: Sequence[ReviewItem]) -> list[QueueRow]:
    requests = _shown(items)
    kinds, newest = judgments.redacted_kinds(project), project.schema_version.compiled
    labels = dict(Reason.choices)
    rows = []
    for item in items:
        request = requests.get(item.request_id)
        reasons = [(reason, str(labels.get(reason, reason))) for reason in item.reasons]
        rows.append(QueueRow(item, reasons, _redacted(request, kinds, newest) if request is not None else None))
    return rows


def shown_request(project: Project, request_id: object) -> ShownRequest:
    """A caller's request by its id, as the queue shows it.

    Raises:
        UnknownRequest: the log of the project does not have it.
    """
    request = judgments.find_request(project, judgments.parse_id(request_id))
    return _redacted(request, judgments.redacted_kinds(project), project.schema_version.compiled)


def _shown(items: Sequence[ReviewItem]) -> dict[Any, RequestLog]:
    """The shown requests that are still stored, by id."""
    rows = RequestLog.objects.filter(id__in=[item.request_id for item in items], day__in={item.day for item in items})
    rows = rows.exclude(text="").select_related("release__package__eval_run__dataset__schema_version")
    return {row.id: row for row in rows}


def _redacted(request: RequestLog, kinds: Sequence[str], newest: CompiledSchema) -> ShownRequest:
    text = redact(request.text, kinds)
    values, spans = _values(request, kinds, text[:MAX_TEXT], newest)
    return ShownRequest(
        _pieces(text[:MAX_TEXT], spans), max(0, len(text) - MAX_TEXT), values,
        "" if values else redact(request.output, kinds), request, redact(request.detail, kinds),
    )  # fmt: skip


def _values(
    request: RequestLog, kinds: Sequence[str], text: str, newest: CompiledSchema
) -> tuple[list[ShownValue], dict[str, tuple[int, int]]]:
    """The values of an output that is JSON, and where they are in the text."""
    try:
        output = redact_value(loads(request.output), kinds) if request.output else None
    except (JsonError, ValueError):
        output = None
    if not isinstance(output, dict):
        return [], {}
    values: list[ShownValue] = []
    spans: dict[str, tuple[int, int]] = {}
    schema = judgments.package_schema(request.release) or newest
    for leaf in list(pair(schema.root, output, output))[:MAX_VALUES]:
        has_evidence = leaf.output is not None and leaf.field.evidence != "none"
        places = evidence.find(leaf.output, leaf.field, text) if has_evidence else []
        if places:
            spans[leaf.output_path] = places[0].start, places[0].end
        value = "" if leaf.output is None else leaf.output if isinstance(leaf.output, str) else dumps(leaf.output)
        values.append(ShownValue(leaf.output_path, value, _confidence(request, leaf.output_path), bool(places)))
    return values, spans


def _confidence(request: RequestLog, path: str) -> float | None:
    value: Any = request.calibrated.get(path, request.confidence.get(path))
    if isinstance(value, list):
        value = value[0] if value else None
    return float(value) if isinstance(value, int | float) else None


def _pieces(text: str, spans: dict[str, tuple[int, int]]) -> list[tuple[str, str]]:
    pieces, at = [], 0
    for path, (start, end) in sorted(spans.items(), key=lambda item: item[1]):
        if start >= at:
            pieces += [(text[at:start], ""), (text[start:end], path)]
            at = end
    return [piece for piece in (*pieces, (text[at:], "")) if piece[0]]


def judged_requests(document: Document) -> list[tuple[Draw, list[str], list[Judgment]]]:
    """The requests that a document came from with their reasons and judgments, the newest first; no query for other
    documents but one."""
    draws = list(Draw.objects.filter(item__document=document).select_related("release").order_by("-created_at")[:SIZE])
    if not draws:
        return []
    labels = dict(Reason.choices)
    by_request: dict[Any, list[Judgment]] = {}
    for row in Judgment.objects.filter(request_id__in=[draw.request_id for draw in draws]).order_by("source"):
        by_request.setdefault(row.request_id, []).append(row)
    return [
        (draw, [str(labels[reason]) for reason in draw.reasons], by_request.get(draw.request_id, [])) for draw in draws
    ]


# -- decisions --------------------------------------------------------------------------------------------------------


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
    if any(request.status != 200 for request in requests.values()):
        raise Refused(
            "A failed request has no output, so it cannot be marked correct.", field="items", code="no_output"
        )
    kept, gone = _without_gone(rows, requests)
    decided = []
    for row in kept:
        rest = _judge_equal(project, user, row, requests[row.request_id], right=True)
        if rest is None:
            decided.append(row)
        else:
            row.request_id, row.day, row.release_id = rest.request_id, rest.day, rest.release_id
            row.save(update_fields=["request_id", "day", "release"])
    _decide(decided, Status.RIGHT, user)
    _release_members(decided)
    return Decided(len(kept), gone)


@transaction.atomic
def send(*, project: Project, user: User, items: Iterable[int], wrong: bool, tag: str = "") -> Decided:
    """Makes documents of items, for labeling. ``wrong``: the reviewer says that the output is.

    Targeted documents get the output as a pre-label. Documents of the uniform sample get none, as their label judges
    the output, and may be drawn into the hold-out. A text that the project has already becomes no second document.

    Raises:
        Refused: the project has no such failure tag.
    """
    require(project, user, Action.REVIEW)
    if tag and tag not in tags_of(project):
        raise Refused("Select a tag of the project.", field="tag", code="tag")
    rows = _locked(project, items)
    requests = _shown(rows)
    kept, gone = _without_gone(rows, requests)
    documents = _documents(project, user, kept, requests, tag)
    sent = [row for row in kept if row.pk in documents]
    for row in sent:
        row.document, row.judged_by = documents[row.pk], None
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
            ReviewItem.objects.filter(pk__in=[member.pk for member in rest]).update(leader=first)


def _decide(rows: Sequence[ReviewItem], status: str, user: User) -> None:
    decided = ReviewItem.objects.filter(pk__in=[row.pk for row in rows])
    decided.update(status=status, decided_by=user, decided_at=timezone.now())


def _without_gone(rows: Sequence[ReviewItem], requests: dict[Any, RequestLog]) -> tuple[list[ReviewItem], int]:
    """The items whose text is still stored; the others are deleted, and counted."""
    gone = judgments.delete_items([row.pk for row in rows if row.request_id not in requests])
    return [row for row in rows if row.request_id in requests], gone


def _judge_equal(project: Project, user: User, item: ReviewItem, shown: RequestLog, *, right: bool) -> Draw | None:
    """Judges every drawn request of an item with the same output; returns one that is left, or None."""
    draws = {draw.request_id: draw for draw in item.draws.all()}
    rows = RequestLog.objects.filter(id__in=draws, day__in={draw.day for draw in draws.values()})
    known = Judgment.objects.of(project).most_reliable(list(draws))
    meaning, left = _meaning(shown.output), None
    for row in rows.select_related("release__package__eval_run__dataset__schema_version"):
        if row.id != shown.id and (row.status != shown.status or _meaning(row.output) != meaning):
            if row.id not in known and row.status == 200 and row.output:
                left = draws[row.id]
            continue
        score = OutputScore(right)
        if right and row.output:
            schema = judgments.schema_of(project, row.release)
            score = compare(schema, text=row.text, output=row.output, gold=row.output)
        judgments.store(project=project, request=row, source=Judgment.Source.REVIEWER, score=score, user=user)
    return left


def _meaning(output: str) -> object:
    try:
        return identity(loads(output))
    except (JsonError, ValueError):
        return output


def _documents(
    project: Project, user: User, items: Sequence[ReviewItem], requests: dict[Any, RequestLog], tag: str
) -> dict[int, Document]:
    """The document of each item; without those whose text was rejected."""
    kinds = judgments.redacted_kinds(project)
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
    stored = Document.objects.filter(project=project, sha256__in=hashes.values()).only(
        "pk", "sha256", "tags", "project"
    )
    documents = {document.sha256: document for document in stored}
    for document in documents.values():
        if tag and document.sha256 in known and tag not in document.tags:
            document.tags = [*document.tags, tag]
            document.save(update_fields=["tags"])
    for item in items:
        if hashes[item.pk] not in documents or hashes[item.pk] in known:
            continue
        document = documents[hashes[item.pk]]
        is_uniform = Reason.UNIFORM in item.reasons
        selection = Selection.UNIFORM if is_uniform else Selection.TARGETED
        Document.objects.filter(pk=document.pk).update(selection=selection)
        if not is_uniform:
            _prelabel(project, document, requests[item.request_id], kinds)
    return {item.pk: documents[hashes[item.pk]] for item in items if hashes[item.pk] in documents}


def _prelabel(project: Project, document: Document, request: RequestLog, kinds: Sequence[str]) -> None:
    """The output as a pre-label; it is never gold."""
    if not request.output:
        return
    confidence = {path: value[0] if isinstance(value, list) else value for path, value in request.confidence.items()}
    proposal = PredictionInput(document.pk, redact_json(request.output, kinds), confidence, request.model_ms / 1000)
    release = request.release
    model = f"{project.slug}@{release.number}" if release is not None else project.slug
    predictions.record(
        project=project, schema_version=project.schema_version, proposals=[proposal], model=model,
        source=f"request-{request.id}",
    )  # fmt: skip
