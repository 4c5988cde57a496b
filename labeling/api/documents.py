"""Documents of a project: the list with the filters of its page, one with all that is known of it, its history."""

from typing import Annotated, Any, Literal

from django.http import HttpRequest, HttpResponse
from ninja import Query, Router
from pydantic import StringConstraints

from labeling.api.access import Slug, caller, object_of, project_of
from labeling.api.problems import Problem, field_problem
from labeling.api.schemas.common import Text, about
from labeling.api.schemas.work import DocumentFilters, DocumentOut, DocumentsOut, HistoryOut
from labeling.api.serializers import for_listing, listed, revision_row, sees_only_own, whole
from labeling.api.wire import answer
from labeling.documents.list import search
from labeling.documents.list.filters import Filters, read_filters
from labeling.documents.list.orders import read_place
from labeling.models import AnnotationRevision, Document
from slmstudio.web.paging import page

router = Router(tags=["documents"])
MOST = 200
PER_PAGE = 50
Place = Annotated[Text, StringConstraints(max_length=200)]


@router.get("", summary="List documents", **about("read", DocumentsOut))
def documents(
    request: HttpRequest,
    slug: Slug,
    filters: DocumentFilters = Query(...),
    order: Literal["", "newest", "saved", "worst", "best", "slowest"] = Query(
        "", description="as the list of the pages"
    ),
    after: Place = Query("", description="the next_after of the page before"),
    limit: int = Query(PER_PAGE, ge=1, le=MOST),
) -> HttpResponse:
    """Documents a page at a time, by the filters of the list. A search that takes long ends a page early: go on while
    `next_after` is not null.
    """
    project = project_of(request)
    if filters.external_id:
        rows = list(for_listing(named(request, project, filters)))
        return answer({"items": [listed(row) for row in rows], "next_after": None})
    wanted = read(request, project, filters)
    if after and read_place(after, order) is None:
        raise field_problem("after", "This is no next_after of this order.")
    found = search.page(project=project, filters=wanted, after=after, size=limit, patient=True)
    by_key = for_listing(Document.objects.filter(project=project)).in_bulk(found.ids)
    items = [listed(by_key[pk]) for pk in found.ids if pk in by_key]
    return answer({"items": items, "next_after": found.after or None})


@router.get("/{int:pk}", summary="Read a document", **about("read", DocumentOut))
def document(request: HttpRequest, slug: Slug, pk: int) -> HttpResponse:
    """One document: text, gold, what each person wrote, what models proposed."""
    found = object_of(request, Document.objects.select_related("assigned_to"), pk=pk)
    project = found.project
    return answer(whole(project, found, caller(request).user))


@router.get("/{int:pk}/history", summary="Read a document's history", **about("read", HistoryOut))
def history(
    request: HttpRequest, slug: Slug, pk: int, before: int | None = Query(None, ge=1, lt=2**63)
) -> HttpResponse:
    """Every save of the document's labels, the newest first, fifty at a time."""
    found = object_of(request, Document.objects.defer("text"), pk=pk)
    project = found.project
    rows = AnnotationRevision.objects.filter(annotation__document=found).select_related(
        "user", "annotation__schema_version"
    )
    if sees_only_own(project, found):
        rows = rows.filter(annotation__user=caller(request).user)
    part = page(rows, after=before, newest=True, size=PER_PAGE)
    return answer({"items": [revision_row(row) for row in part.rows], "next_before": part.after})


def chosen(request: HttpRequest, project: Any, filters: DocumentFilters) -> Any:
    """The documents that the filters of an address leave, in no order.

    Raises:
        Problem: a condition that cannot be asked.
    """
    if filters.external_id:
        return named(request, project, filters)
    return search.matching(project, read(request, project, filters))


def named(request: HttpRequest, project: Any, filters: DocumentFilters) -> Any:
    """The one document with a certain id.

    Raises:
        Problem: there are other filters beside the id.
    """
    if set(request.GET).intersection(DocumentFilters.model_fields) != {"external_id"}:
        raise field_problem("external_id", "It names one document; ask for it without other filters.")
    return Document.objects.filter(project=project, external_id=filters.external_id)


def read(request: HttpRequest, project: Any, filters: DocumentFilters) -> Filters:
    """The filters of an address as the list of the pages takes them.

    Raises:
        Problem: a condition that cannot be asked.
    """
    if len({len(filters.field), len(filters.op), len(filters.value)}) > 1:
        raise Problem(422, "field, op and value come in threes: give each of them once per condition.")
    found = read_filters(request.GET, project.schema_version.compiled)
    if found.errors:
        raise Problem(422, found.errors[0], [{"field": "field", "message": message} for message in found.errors])
    return found
