"""What the page of the review queue shows."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.db.models import Q

from labeling.models import Document, Project
from serving.feedback import judgments
from serving.feedback.redaction import redact, redact_value
from serving.feedback.selection import ordered
from serving.models import Judgment, RequestLog, SamplePlan
from serving.models.review import Draw, Reason, ReviewItem
from slmstudio.contract.json_text import JsonError, dumps, loads
from slmstudio.contract.schema.compiled import CompiledSchema
from slmstudio.contract.scoring.pairing import pair
from slmstudio.contract.values import evidence

SIZE = 20
#: characters of a text that are shown; evidence is searched in these
MAX_TEXT = 20_000
MAX_VALUES = 60
WORST, NEWEST = "worst", "newest"


@dataclass(frozen=True, slots=True)
class ShownValue:
    """A value of the output. ``is_found``: it is in the text."""

    path: str
    value: str
    confidence: float | None
    is_found: bool


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of the text; ``path``: the value that is marked, or ""."""

    text: str
    path: str = ""


@dataclass(frozen=True)
class QueueRow:
    """An item with the request that it shows, redacted."""

    item: ReviewItem
    reasons: list[tuple[str, str]]
    pieces: list[Piece]
    hidden: int
    values: list[ShownValue]
    output: str
    code: str
    detail: str
    is_answered: bool

    @property
    def is_gone(self) -> bool:
        """Whether its text is no longer stored."""
        return not self.pieces


@dataclass(frozen=True)
class QueuePage:
    """Rows with the positions of the neighboring pages ("" at an end)."""

    rows: list[QueueRow]
    after: str
    is_first: bool


def plan_of(project: Project) -> SamplePlan:
    """The sample plan of a project; the default where none is stored."""
    return SamplePlan.objects.filter(deployment__project=project).first() or SamplePlan()


def counts(project: Project) -> dict[str, int]:
    """Reason -> open items, and "" for all of them; one query."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT reasons, count(*) FROM serving_reviewitem"
            " WHERE project_id = %s AND status = 'open' AND leader_id IS NULL GROUP BY reasons",
            [project.pk],
        )
        rows = cursor.fetchall()
    found: Counter[str] = Counter()
    for reasons, number in rows:
        found[""] += number
        for reason in reasons:
            found[reason] += number
    return dict(found)


def urgent_items(project: Project) -> int:
    """Open items of requests that failed, or that a caller judged wrong; one query."""
    urgent = [Reason.FEEDBACK, Reason.FAILURE]
    return ReviewItem.objects.open(project).filter(reason__in=urgent).count()


def queue_page(project: Project, *, reason: str = "", order: str = WORST, after: str = "") -> QueuePage:
    """A page of the queue. ``after``: the position of the row before it, as ``QueuePage.after`` gives it."""
    rows = ReviewItem.objects.open(project, reason).defer("signature").select_related("release")
    position = _position(after, order)
    if order == NEWEST:
        rows = rows.order_by("-pk")
        if position is not None:
            rows = rows.filter(pk__lt=position[1])
    else:
        rows = rows.order_by("-severity", "-pk")
        if position is not None:
            severity, pk = position
            rows = rows.filter(Q(severity__lt=severity) | Q(severity=severity, pk__lt=pk), severity__lte=severity)
    items = list(rows[: SIZE + 1])
    more, items = len(items) > SIZE, items[:SIZE]
    last = items[-1] if items else None
    cursor = f"{last.severity!r}:{last.pk}" if more and last is not None else ""
    return QueuePage(_rows(project, items), cursor, position is None)


def _position(text: str, order: str) -> tuple[float, int] | None:
    severity, _, pk = text.partition(":")
    if not pk.isascii() or not pk.isdigit() or len(pk) > 18:
        return None
    try:
        value = float(severity)
    except ValueError:
        return None
    return (value, int(pk)) if 0 <= value <= 1 else None


def all_items(project: Project, reason: str, most: int) -> list[int]:
    """The items of the queue, the worst first, for a decision about all of them."""
    rows = ReviewItem.objects.open(project, reason).order_by("-severity", "-pk")
    return list(rows.values_list("pk", flat=True)[:most])


def _rows(project: Project, items: Sequence[ReviewItem]) -> list[QueueRow]:
    requests = RequestLog.objects.filter(id__in=[item.request_id for item in items], day__in={i.day for i in items})
    requests = requests.select_related("release__package__eval_run__dataset__schema_version")
    by_id = {request.id: request for request in requests}
    kinds = plan_of(project).redact
    newest = project.schema_version.compiled
    return [_row(project, item, by_id.get(item.request_id), kinds, newest) for item in items]


def _row(
    project: Project, item: ReviewItem, request: RequestLog | None, kinds: Sequence[str], newest: CompiledSchema
) -> QueueRow:
    labels = dict(Reason.choices)
    reasons = [(reason, str(labels.get(reason, reason))) for reason in item.reasons]
    if request is None or not request.text:
        return QueueRow(item, reasons, [], 0, [], "", "", "", False)
    release = request.release
    schema = judgments.schema_of(project, release) if release is not None and release.package else newest
    text = redact(request.text, kinds)
    shown = text[:MAX_TEXT]
    values, spans = _values(schema, request, kinds, shown)
    return QueueRow(
        item=item, reasons=reasons, pieces=_pieces(shown, spans), hidden=len(text) - len(shown), values=values,
        output="" if values else redact(request.output, kinds), code=request.code,
        detail=redact(request.detail, kinds), is_answered=request.status == 200,
    )  # fmt: skip


def _values(
    schema: CompiledSchema, request: RequestLog, kinds: Sequence[str], text: str
) -> tuple[list[ShownValue], dict[str, tuple[int, int]]]:
    """The values of an output that is JSON, and where they are in the text."""
    try:
        output = redact_value(loads(request.output), kinds) if request.output else None
    except (JsonError, ValueError):
        output = None
    if not isinstance(output, dict):
        return [], {}
    found: list[ShownValue] = []
    spans: dict[str, tuple[int, int]] = {}
    for leaf in pair(schema.root, output, output):
        if len(found) == MAX_VALUES:
            break
        places = [] if leaf.output is None or leaf.field.evidence == "none" else evidence.find(
            leaf.output, leaf.field, text
        )  # fmt: skip
        if places:
            spans[leaf.output_path] = places[0].start, places[0].end
        value = "" if leaf.output is None else leaf.output if isinstance(leaf.output, str) else dumps(leaf.output)
        found.append(ShownValue(leaf.output_path, value, _confidence(request, leaf.output_path), bool(places)))
    return found, spans


def _confidence(request: RequestLog, path: str) -> float | None:
    value: Any = request.calibrated.get(path, request.confidence.get(path))
    if isinstance(value, list):
        value = value[0] if value else None
    return float(value) if isinstance(value, int | float) else None


def _pieces(text: str, spans: dict[str, tuple[int, int]]) -> list[Piece]:
    pieces, at = [], 0
    for path, (start, end) in sorted(spans.items(), key=lambda item: item[1]):
        if start < at:
            continue
        if start > at:
            pieces.append(Piece(text[at:start]))
        pieces.append(Piece(text[start:end], path))
        at = end
    if at < len(text):
        pieces.append(Piece(text[at:]))
    return pieces


@dataclass(frozen=True)
class JudgedRequest:
    """A drawn request of a document, and what each source says about its output."""

    draw: Draw
    reasons: list[str]
    judgments: list[Judgment]


def judged_requests(document: Document) -> list[JudgedRequest]:
    """The requests that a document came from, the newest first; no query for other documents but one."""
    draws = Draw.objects.filter(item__document=document).select_related("release").order_by("-created_at")
    found = list(draws[:SIZE])
    if not found:
        return []
    labels = dict(Reason.choices)
    rows = Judgment.objects.filter(request_id__in=[draw.request_id for draw in found]).order_by("source")
    by_request: dict[Any, list[Judgment]] = {}
    for row in rows:
        by_request.setdefault(row.request_id, []).append(row)
    return [
        JudgedRequest(
            draw, [str(labels.get(one, one)) for one in ordered(draw.probabilities)],
            by_request.get(draw.request_id, []),
        )
        for draw in found
    ]  # fmt: skip
