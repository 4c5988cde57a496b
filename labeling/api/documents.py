"""Documents: the filtered list, details and history."""

from typing import Annotated, Any, Literal

from django.db.models import QuerySet
from django.db.models.functions import Left
from django.http import HttpRequest
from ninja import Query, Router, Schema
from pydantic import Field, StringConstraints

from labeling.annotation.locked_document import sees_own_only
from labeling.api.access import Slug, caller, object_of, project_of
from labeling.api.operations import operation
from labeling.api.problems import Problem, field_problem
from labeling.api.schemas import PER_PAGE, Before, Json, Moment, Out, Page, State, Text, UserName, page
from labeling.documents.list import search
from labeling.documents.list.filters import MAX_CONDITIONS, Filters, read_filters
from labeling.documents.list.orders import decode_position
from labeling.models import Annotation, AnnotationRevision, Document, Gold, Prediction, Project

router = Router(tags=["documents"])
MAX_PAGE_SIZE = 200
MAX_PREDICTIONS = 20
Position = Annotated[Text, StringConstraints(max_length=200)]
Name = Annotated[Text, StringConstraints(max_length=150)]
Condition = Annotated[Text, StringConstraints(max_length=300)]
YesNo = Literal["yes", "no"]
_LISTED = (
    "external_id",
    "state",
    "returned",
    "tags",
    "holdout",
    "synthetic",
    "source",
    "created_at",
    "assigned_to__username",
)


class DocumentFilters(Schema):
    """The filters of the document list. Each condition on a field has a field, op and value."""

    q: Text = Field("", max_length=200, description="text to find in the ID or the text")
    external_id: Text = Field("", max_length=200, description="exact document ID")
    state: State | None = None
    by: Name = Field("", description="labeled by this user; - for no user, * for any user")
    assigned: Name = Field("", description="assigned to this user; - for no user, * for any user")
    tag: Text = Field("", max_length=40)
    holdout: YesNo | None = None
    synthetic: YesNo | None = None
    source: Text = Field("", max_length=200)
    imported: int | None = Field(None, ge=1, lt=2**63, description="ID of an import")
    split: Literal["train", "validation", "holdout", "none"] | None = Field(
        None, description="split in the newest dataset version"
    )
    below: float | None = Field(None, ge=0, le=100, description="score of the last evaluation, in percent")
    above: float | None = Field(None, ge=0, le=100, description="score of the last evaluation, in percent")
    wrong: Text = Field("", max_length=300, description="a field that was wrong in the last evaluation")
    field: list[Condition] = Field(
        [], max_length=MAX_CONDITIONS, description="a field of the schema, for example total_amount"
    )
    op: list[Literal["is", "contains", "more", "less", "empty"]] = Field([], max_length=MAX_CONDITIONS)
    value: list[Condition] = Field([], max_length=MAX_CONDITIONS, description="the value to compare with, as typed")


class ListedOut(Out):
    """A document in a list."""

    id: int
    external_id: str
    state: State
    tags: list[str]
    holdout: bool
    synthetic: bool
    source: str
    returned: str | None = Field(description="why a schema change returned it to the queue")
    assigned_to: UserName | None
    created_at: Moment
    beginning: str = Field(description="the first 240 characters of its text")

    @staticmethod
    def resolve_returned(document: Document) -> str | None:
        """A sentence."""
        return document.requeue_reason or None

    @staticmethod
    def resolve_beginning(document: Any) -> str:
        """As ``for_listing`` reads it, or of the text."""
        return str(document.beginning if hasattr(document, "beginning") else document.text[:240])


class DocumentsOut(Out):
    """A page of documents."""

    items: list[ListedOut]
    next_after: str | None = Field(description="the next value of after; null on the last page")


class _Valued(Out):
    schema_number: int = Field(validation_alias="schema_version.number")
    value: Json

    @staticmethod
    def resolve_value(row: Annotation | Prediction) -> Any:
        """In the order of the schema."""
        return None if row.value is None else row.schema_version.compiled.ordered(row.value)


class PredictionOut(_Valued):
    """A prediction. Its ``value`` is null if the output is not JSON."""

    id: int
    model: str
    source: str
    valid: bool
    confidence: dict[str, Any]
    created_at: Moment


class GoldOut(Out):
    """A gold label."""

    value: Json
    schema_number: int = Field(validation_alias="schema_version.number")
    origin: str
    revision: int = Field(validation_alias="revision_id")
    approved_by: UserName | None
    created_at: Moment

    @staticmethod
    def resolve_value(gold: Gold) -> Any:
        """In the order of the schema."""
        return gold.schema_version.compiled.ordered(gold.revision.value)


class LabelOut(_Valued):
    """The label of a user."""

    user: UserName | None = Field(description="null for an import")
    version: int
    evidence: dict[str, Any]
    valid: bool
    submitted: bool
    origin: str
    updated_at: Moment


class DocumentOut(ListedOut):
    """A document with its labels and predictions. With overlap, annotators only see their own label."""

    text: str
    metadata: Json
    skip_reason: str
    overlap: int = Field(description="the overlap")
    disputed: bool
    page_count: int
    url: str = Field(validation_alias="get_absolute_url")
    gold: GoldOut | None
    labels: list[LabelOut]
    predictions: list[PredictionOut] = Field(description="the newest twenty that are not withheld")

    @staticmethod
    def resolve_gold(document: Document) -> Gold | None:
        """The current one, if the user may see it."""
        if sees_own_only(document.project, document):
            return None
        golds = Gold.objects.current(document.project).filter(document=document)
        gold: Gold | None = golds.select_related("revision", "schema_version", "approved_by").first()
        return gold

    @staticmethod
    def resolve_labels(document: Document, context: dict[str, Any]) -> QuerySet[Annotation]:
        """Those that the user may see, the newest first."""
        rows = document.annotations.select_related("schema_version", "user")
        if sees_own_only(document.project, document):
            rows = rows.filter(user=caller(context["request"]).user)
        return rows.order_by("-schema_version__number", "-version", "-pk")

    @staticmethod
    def resolve_predictions(document: Document) -> QuerySet[Prediction]:
        """None of the hold-out."""
        rows = document.predictions.none() if document.holdout else document.predictions.filter(withheld=False)
        return rows.select_related("schema_version").order_by("-pk")[:MAX_PREDICTIONS]


class RevisionOut(Out):
    """A revision of a label."""

    id: int
    number: int
    action: str
    user: UserName | None
    schema_number: int = Field(validation_alias="annotation.schema_version.number")
    value: Json
    created_at: Moment

    @staticmethod
    def resolve_value(row: AnnotationRevision) -> Any:
        """In the order of the schema."""
        return row.annotation.schema_version.compiled.ordered(row.value)


@router.get("", summary="List documents", **operation("read", DocumentsOut))
def documents(
    request: HttpRequest,
    slug: Slug,
    filters: DocumentFilters = Query(...),
    order: Literal["", "newest", "saved", "worst", "best", "slowest"] = Query(
        "", description="order, as in the document list"
    ),
    after: Position = Query("", description="next_after of the previous response"),
    limit: int = Query(PER_PAGE, ge=1, le=MAX_PAGE_SIZE),
) -> Any:
    """Documents by page, with the filters of the document list. A slow search can end a page early: continue while
    `next_after` is not null.
    """
    project = project_of(request)
    if filters.external_id:
        return {"items": for_listing(_named(request, project, filters)), "next_after": None}
    list_filters = _read(request, project, filters)
    if after and decode_position(after, order) is None:
        raise field_problem(
            "after", "This value does not belong to this order. Send next_after of the previous response."
        )
    matches = search.page(project=project, filters=list_filters, after=after, size=limit, extended=True)
    by_key = for_listing(project.documents.all()).in_bulk(matches.ids)
    return {"items": [by_key[pk] for pk in matches.ids if pk in by_key], "next_after": matches.after or None}


@router.get("/{int:pk}", summary="Get a document", **operation("read", DocumentOut))
def document(request: HttpRequest, slug: Slug, pk: int) -> Any:
    """A document with its text, gold label, labels and predictions."""
    return object_of(request, Document.objects.with_assignee(), pk=pk)


@router.get("/{int:pk}/history", summary="Get the history of a document", **operation("read", Page[RevisionOut]))
def history(request: HttpRequest, slug: Slug, pk: int, before: Before = None) -> Any:
    """The revisions of the document's labels, newest first, fifty per page."""
    row = object_of(request, Document.objects.without_text(), pk=pk)
    rows = AnnotationRevision.objects.of(row)
    if sees_own_only(row.project, row):
        rows = rows.filter(annotation__user=caller(request).user)
    return page(rows, before)


def for_listing(rows: QuerySet[Document]) -> QuerySet[Document]:
    """Documents with the columns of ``ListedOut``; only the beginning of texts, which can be 1 MB long."""
    return rows.select_related("assigned_to").only(*_LISTED).annotate(beginning=Left("text", 240))


def chosen(request: HttpRequest, project: Project, filters: DocumentFilters) -> QuerySet[Document]:
    """The documents that match the query parameters, unordered.

    Raises:
        Problem: a filter is invalid.
    """
    if filters.external_id:
        return _named(request, project, filters)
    return search.matching_documents(project, _read(request, project, filters))


def _named(request: HttpRequest, project: Project, filters: DocumentFilters) -> QuerySet[Document]:
    """The document with an external id.

    Raises:
        Problem: there are other filters.
    """
    if set(request.GET).intersection(DocumentFilters.model_fields) != {"external_id"}:
        raise field_problem("external_id", "external_id cannot be combined with other filters.")
    return project.documents.filter(external_id=filters.external_id)


def _read(request: HttpRequest, project: Project, filters: DocumentFilters) -> Filters:
    """The query parameters as filters of the document list.

    Raises:
        Problem: a filter is invalid.
    """
    if len({len(filters.field), len(filters.op), len(filters.value)}) > 1:
        raise Problem(422, "field, op and value must be given together, once per condition.")
    parsed = read_filters(request.GET, project.schema_version.compiled)
    if parsed.errors:
        raise Problem(422, parsed.errors[0], [{"field": "field", "message": message} for message in parsed.errors])
    return parsed
