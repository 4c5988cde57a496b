"""Documents: the filtered list, details and history."""

from typing import Annotated, Any, Literal

from django.http import HttpRequest, HttpResponse
from ninja import Query, Router
from pydantic import StringConstraints

from labeling.annotation.locked_document import sees_own_only
from labeling.api.access import Slug, caller, object_of, project_of
from labeling.api.operations import operation
from labeling.api.problems import Problem, field_problem
from labeling.api.schemas.base import Text
from labeling.api.schemas.documents import DocumentFilters, DocumentOut, DocumentsOut, HistoryOut
from labeling.api.serializers import document_detail, for_listing, listed, revision_row
from labeling.api.wire import answer
from labeling.documents.list import search
from labeling.documents.list.filters import Filters, read_filters
from labeling.documents.list.orders import decode_position
from labeling.models import AnnotationRevision, Document
from slmstudio.web.paging import page

router = Router(tags=["documents"])
MAX_PAGE_SIZE = 200
PER_PAGE = 50
Position = Annotated[Text, StringConstraints(max_length=200)]


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
) -> HttpResponse:
    """Documents by page, with the filters of the document list. A slow search can end a page early: continue while
    `next_after` is not null.
    """
    project = project_of(request)
    if filters.external_id:
        rows = list(for_listing(named(request, project, filters)))
        return answer({"items": [listed(row) for row in rows], "next_after": None})
    list_filters = read(request, project, filters)
    if after and decode_position(after, order) is None:
        raise field_problem(
            "after", "This value does not belong to this order. Send next_after of the previous response."
        )
    matches = search.page(project=project, filters=list_filters, after=after, size=limit, extended=True)
    by_key = for_listing(Document.objects.filter(project=project)).in_bulk(matches.ids)
    items = [listed(by_key[pk]) for pk in matches.ids if pk in by_key]
    return answer({"items": items, "next_after": matches.after or None})


@router.get("/{int:pk}", summary="Get a document", **operation("read", DocumentOut))
def document(request: HttpRequest, slug: Slug, pk: int) -> HttpResponse:
    """A document with its text, gold label, labels and predictions."""
    row = object_of(request, Document.objects.with_assignee(), pk=pk)
    project = row.project
    return answer(document_detail(project, row, caller(request).user))


@router.get("/{int:pk}/history", summary="Get the history of a document", **operation("read", HistoryOut))
def history(
    request: HttpRequest, slug: Slug, pk: int, before: int | None = Query(None, ge=1, lt=2**63)
) -> HttpResponse:
    """The revisions of the document's labels, newest first, fifty per page."""
    row = object_of(request, Document.objects.without_text(), pk=pk)
    project = row.project
    rows = AnnotationRevision.objects.of(row)
    if sees_own_only(project, row):
        rows = rows.filter(annotation__user=caller(request).user)
    part = page(rows, after=before, newest=True, size=PER_PAGE)
    return answer({"items": [revision_row(row) for row in part.rows], "next_before": part.after})


def chosen(request: HttpRequest, project: Any, filters: DocumentFilters) -> Any:
    """The documents that match the query parameters, unordered.

    Raises:
        Problem: a filter is invalid.
    """
    if filters.external_id:
        return named(request, project, filters)
    return search.matching_documents(project, read(request, project, filters))


def named(request: HttpRequest, project: Any, filters: DocumentFilters) -> Any:
    """The document with an external id.

    Raises:
        Problem: there are other filters.
    """
    if set(request.GET).intersection(DocumentFilters.model_fields) != {"external_id"}:
        raise field_problem("external_id", "external_id cannot be combined with other filters.")
    return Document.objects.filter(project=project, external_id=filters.external_id)


def read(request: HttpRequest, project: Any, filters: DocumentFilters) -> Filters:
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
