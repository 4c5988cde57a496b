"""Exports: a dataset version, and what a project has now, as files that are streamed."""

from collections.abc import Iterator

from django.db.models import QuerySet
from django.http import Http404, HttpResponse, HttpResponseBase, QueryDict, StreamingHttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from labeling.datasets import export
from labeling.datasets.formats.registry import FORMATS, Format
from labeling.documents.bulk_edit import MOST_IDS
from labeling.documents.list import search
from labeling.documents.list.filters import Filters, read_filters
from labeling.models import DatasetVersion, Document, Project, SchemaMigration, Split
from slmstudio.access import Action, may, object_for, project_for
from slmstudio.errors import Refused
from slmstudio.web.requests import SignedInRequest

#: milliseconds for the counts of the page, and for finding what is exported
COUNT_MS = 1_500
FIND_MS = 30_000


@require_safe
def dataset_export(request: SignedInRequest, slug: str, number: int, shape: str) -> HttpResponseBase:
    """The version in one shape; ``?split=`` for one split alone."""
    project, shown = object_for(
        request.user, slug, Action.READ, DatasetVersion.objects.select_related("schema_version"), number=number
    )
    split = request.GET.get("split", "")
    if shape not in FORMATS or split not in ("", *Split.values):
        raise Http404("There is no such export.")
    try:
        content = export.export_dataset(shown, shape, split)
    except FileNotFoundError as error:
        raise Http404(str(error)) from error
    return _sent(content, FORMATS[shape], [project.slug, f"v{number}", split, shape])


@require_safe
def export_page(request: SignedInRequest, slug: str) -> HttpResponse:
    """What can be exported of the documents that the list's filters leave."""
    project = project_for(request.user, slug, Action.READ)
    filters = _filters(request.GET, project)
    try:
        with search.within(COUNT_MS):
            chosen = _chosen(request.GET, project, filters)
            counts = export.count_project(project, chosen)
    except search.TooSlow:
        counts = {}
    context = {
        "project": project,
        "filters": filters,
        "query": "&".join(filter(None, [filters.query(), f"ids={ids}" if (ids := request.GET.get("ids")) else ""])),
        "ticked": _ticked(request.GET),
        "parts": export.PARTS,
        "part": _part(request.GET),
        "counts": counts,
        "shapes": FORMATS,
        "unfinished": SchemaMigration.unfinished(project),
    }
    return render(request, "labeling/datasets/export.html", context, status=422 if filters.errors else 200)


@require_safe
def project_export(request: SignedInRequest, slug: str, shape: str) -> HttpResponseBase:
    """What the project has now in one shape: of the documents that the filters leave, ``part`` of them."""
    project = project_for(request.user, slug, Action.READ)
    if shape not in FORMATS or request.GET.get("part", "gold") not in export.PARTS:
        raise Http404("There is no such export.")
    filters = _filters(request.GET, project)
    if filters.errors:  # never more than was asked for
        return _refused(" ".join(filters.errors))
    try:
        documents = _chosen(request.GET, project, filters)
        with search.within(FIND_MS):
            content = export.export_project(
                project,
                shape,
                documents=documents,
                part=_part(request.GET),
                blind=None if may(project.role, Action.REVIEW) else request.user.pk,
            )
    except search.TooSlow:
        return _refused("These filters take too long on documents as many as these. Take one of them away.")
    except Refused as refusal:
        return _refused(str(refusal))
    return _sent(content, FORMATS[shape], [project.slug, "selection" if documents is not None else "", shape])


def _ticked(parameters: QueryDict) -> list[int] | None:
    """The documents that were ticked in the list; None where all are meant.

    Raises:
        Http404: what is given are no ids.
    """
    given = parameters.get("ids", "")
    if not given:
        return None
    texts = given.split(",")
    if len(texts) > MOST_IDS or not all(text.isascii() and text.isdigit() and len(text) < 19 for text in texts):
        raise Http404("These are no documents.")
    return [int(text) for text in texts]


def _chosen(parameters: QueryDict, project: Project, filters: Filters) -> QuerySet[Document] | None:
    """What was ticked, or what the filters leave; None: all documents."""
    ticked = _ticked(parameters)
    if ticked is not None:
        return Document.objects.filter(project=project, pk__in=ticked)
    return search.matching(project, filters) if filters.active else None


def _refused(sentence: str) -> HttpResponse:
    return HttpResponse(sentence, status=422, content_type="text/plain; charset=utf-8")


def _filters(parameters: QueryDict, project: Project) -> Filters:
    return read_filters(parameters, project.schema_version.compiled)


def _part(parameters: QueryDict) -> str:
    part = parameters.get("part", "gold")
    return part if part in export.PARTS else "gold"


def _sent(content: Iterator[bytes], shape: Format, name: list[str]) -> StreamingHttpResponse:
    answer = StreamingHttpResponse(content, content_type=shape.content_type)
    answer["Content-Disposition"] = f'attachment; filename="{export.file_name(name, shape)}"'
    return answer
