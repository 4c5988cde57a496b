"""Exports of a dataset version and of a project's current labels, as streamed files."""

from collections.abc import Iterator

from django.db.models import QuerySet
from django.http import Http404, HttpResponse, HttpResponseBase, QueryDict, StreamingHttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_safe

from labeling.datasets import export
from labeling.datasets.formats.base import Format
from labeling.datasets.formats.registry import FORMATS
from labeling.documents.bulk_edit import MAX_IDS
from labeling.documents.list import search
from labeling.documents.list.filters import Filters, read_filters
from labeling.models import Document, Project, SchemaMigration, Split
from slmstudio.access import Action, may, project_for
from slmstudio.database.transactions import StatementTimeout, statement_timeout
from slmstudio.errors import Refused
from slmstudio.web.requests import SignedInRequest

#: time limits in milliseconds: for the counts on the page, and for finding the documents to export
COUNT_MS = 1_500
FIND_MS = 30_000
#: what of a dataset version is exported: words, and its splits
DATASET_PARTS = {
    "training": ("Train and validation", (Split.TRAIN, Split.VALIDATION)),
    "holdout": ("hold-out", (Split.HOLDOUT,)),
    "all": ("All splits in one file", tuple(Split)),
}


@require_safe
def dataset_export_page(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """The files of a dataset version: one per split, or one with all splits in the formats that name them."""
    project = project_for(request.user, slug, Action.READ)
    shown = get_object_or_404(project.datasets.with_schema(), number=number)
    part = request.GET.get("part", "")
    part = part if part in DATASET_PARTS else next(iter(DATASET_PARTS))
    counts = shown.counts["splits"]
    context = {
        "project": project,
        "dataset": shown,
        "part": part,
        "parts": [
            (name, words, sum(counts[split] for split in splits)) for name, (words, splits) in DATASET_PARTS.items()
        ],
        "splits": [(split.value, split.label, counts[split]) for split in DATASET_PARTS[part][1] if counts[split]],
        "formats": {
            name: file_format for name, file_format in FORMATS.items() if part != "all" or not file_format.is_training
        },
    }
    return render(request, "labeling/datasets/dataset_export.html", context)


@require_safe
def dataset_export(request: SignedInRequest, slug: str, number: int, shape: str) -> HttpResponseBase:
    """A dataset version in one format (``shape``); ``?split=``: only one split."""
    project = project_for(request.user, slug, Action.READ)
    shown = get_object_or_404(project.datasets.with_schema(), number=number)
    split = request.GET.get("split", "")
    if shape not in FORMATS or split not in ("", *Split.values):
        raise Http404("Unknown export format or part.")
    try:
        content = export.export_dataset(shown, shape, split)
    except FileNotFoundError as error:
        raise Http404(str(error)) from error
    split = export.default_split(FORMATS[shape], split)
    return _sent(content, FORMATS[shape], [project.slug, f"v{number}", split, shape])


@require_safe
def export_page(request: SignedInRequest, slug: str) -> HttpResponse:
    """The export page, for the documents that match the list's filters."""
    project = project_for(request.user, slug, Action.READ)
    filters = _filters(request.GET, project)
    try:
        with statement_timeout(COUNT_MS):
            chosen = _chosen(request.GET, project, filters)
            counts = export.count_project(project, chosen)
    except StatementTimeout:
        counts = {}
    context = {
        "project": project,
        "filters": filters,
        "query": "&".join(filter(None, [filters.query(), f"ids={ids}" if (ids := request.GET.get("ids")) else ""])),
        "selected": _selected(request.GET),
        "parts": export.PARTS,
        "part": _part(request.GET),
        "counts": counts,
        "formats": FORMATS,
        "unfinished": SchemaMigration.unfinished(project),
    }
    return render(request, "labeling/datasets/export.html", context, status=422 if filters.errors else 200)


@require_safe
def project_export(request: SignedInRequest, slug: str, shape: str) -> HttpResponseBase:
    """Current labels in one format (``shape``): ``part`` of the documents that match the filters."""
    project = project_for(request.user, slug, Action.READ)
    if shape not in FORMATS or request.GET.get("part", "gold") not in export.PARTS:
        raise Http404("Unknown export format or part.")
    filters = _filters(request.GET, project)
    if filters.errors:  # never more than requested
        return _refused(" ".join(filters.errors))
    try:
        documents = _chosen(request.GET, project, filters)
        with statement_timeout(FIND_MS):
            content = export.export_project(
                project,
                shape,
                documents=documents,
                part=_part(request.GET),
                is_holdout=filters.is_holdout,
                blind=None if may(project.role, Action.REVIEW) else request.user.pk,
            )
    except StatementTimeout:
        return _refused("The search timed out. Remove a filter.")
    except Refused as refusal:
        return _refused(str(refusal))
    return _sent(content, FORMATS[shape], [project.slug, "selection" if documents is not None else "", shape])


def _selected(parameters: QueryDict) -> list[int] | None:
    """The documents selected in the list; None for all.

    Raises:
        Http404: invalid ids.
    """
    ids = parameters.get("ids", "")
    if not ids:
        return None
    texts = ids.split(",")
    if len(texts) > MAX_IDS or not all(text.isascii() and text.isdigit() and len(text) < 19 for text in texts):
        raise Http404("Invalid document ids.")
    return [int(text) for text in texts]


def _chosen(parameters: QueryDict, project: Project, filters: Filters) -> QuerySet[Document] | None:
    """The selected documents, or those that match the filters; None: all documents."""
    selected = _selected(parameters)
    if selected is not None:
        return project.documents.filter(pk__in=selected)
    return search.matching_documents(project, filters) if filters.active else None


def _refused(message: str) -> HttpResponse:
    return HttpResponse(message, status=422, content_type="text/plain; charset=utf-8")


def _filters(parameters: QueryDict, project: Project) -> Filters:
    return read_filters(parameters, project.schema_version.compiled)


def _part(parameters: QueryDict) -> str:
    part = parameters.get("part", "gold")
    return part if part in export.PARTS else "gold"


def _sent(content: Iterator[bytes], file_format: Format, name: list[str]) -> StreamingHttpResponse:
    answer = StreamingHttpResponse(content, content_type=file_format.content_type)
    answer["Content-Disposition"] = f'attachment; filename="{export.file_name(name, file_format)}"'
    return answer
