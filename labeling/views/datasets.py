"""Dataset versions: the list, freezing one, one of them, its export."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_safe

from labeling.forms import FreezeForm
from labeling.models import DatasetVersion, Project, Split
from labeling.services import datasets as service
from labeling.services.projects import pretty
from labeling.shapes import SHAPES
from slmstudio.access import Action, object_for, project_for

PER_PAGE = 5


@require_http_methods(["GET", "HEAD", "POST"])
def datasets(request: HttpRequest, slug: str) -> HttpResponse:
    """The versions of a project, and what a new one would take in."""
    project = project_for(request.user, slug, Action.CURATE if request.method == "POST" else Action.READ)
    form = FreezeForm(request.POST) if request.method == "POST" else FreezeForm()
    if request.method == "POST" and form.is_valid():
        frozen = _freeze(request, project, form)
        if frozen is not None:
            return redirect(frozen)
    context = {
        "project": project,
        "datasets": project.datasets.select_related("schema_version", "created_by").order_by("-number"),
        "form": form,
        "preview": service.preview(project=project),
    }
    return render(request, "labeling/datasets.html", context, status=422 if form.errors else 200)


def _freeze(request: HttpRequest, project: Project, form: FreezeForm) -> DatasetVersion | None:
    newest = project.datasets.order_by("-number").first()
    try:
        frozen = service.freeze(project=project, user=request.user, **form.knobs())
    except service.Refused as refusal:
        names = {"validation_share": "validation", "holdout_share": "holdout", "seed": "seed"}
        form.add_error(names.get(refusal.field), refusal.message)
        return None
    if newest is not None and frozen.pk == newest.pk:
        messages.info(request, f"Nothing has changed since {frozen}, so no new version was made.")
    else:
        messages.success(request, f"Frozen: {frozen} with {frozen.counts['documents']:,} documents.")
    return frozen


@require_safe
def dataset(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    """One version: counts, hashes, schema, and its examples as instruction, input and output."""
    project, shown = object_for(
        request.user,
        slug,
        Action.READ,
        DatasetVersion.objects.select_related("schema_version", "created_by"),
        number=number,
    )
    split = request.GET.get("split", "")
    split = split if split in Split.values else ""
    total = shown.counts["splits"][split] if split else shown.counts["documents"]
    pages = max(1, -(-total // PER_PAGE))
    here = _number(request.GET.get("page"), pages)
    missing, examples = "", []
    try:
        examples = _examples(shown, split, (here - 1) * PER_PAGE)
    except FileNotFoundError as error:
        missing = str(error)
    context = {
        "project": project,
        "dataset": shown,
        "split": split,
        "splits": [(value, label, shown.counts["splits"].get(value, 0)) for value, label in Split.choices],
        "examples": examples,
        "missing": missing,
        "page": here,
        "pages": pages,
        "shapes": SHAPES,
        "schema": pretty(shown.schema_version.schema_text),
        "tags": _tags(shown.counts),
        "odd_holdout": {
            origin: count
            for origin, count in shown.counts["holdout_origins"].items()
            if origin not in ("human", "imported")
        },
    }
    fragment = request.htmx and not request.htmx.history_restore_request  # type: ignore[attr-defined]
    return render(request, f"labeling/dataset.html{'#examples' if fragment else ''}", context)


def _number(text: str | None, most: int) -> int:
    try:
        return min(max(1, int(text or 1)), most)
    except ValueError:
        return 1


def _examples(shown: DatasetVersion, split: str, start: int) -> list[dict[str, Any]]:
    compiled = shown.schema_version.compiled
    rows = service.some_rows(shown, split=split or None, start=start, count=PER_PAGE)
    return [{**row, "output": compiled.canonical(row["gold"])} for row in rows]


def _tags(counts: dict[str, Any]) -> list[tuple[str, int, int]]:
    return [(tag, count, counts["holdout_tags"].get(tag, 0)) for tag, count in sorted(counts["tags"].items())]


@require_safe
def export(request: HttpRequest, slug: str, number: int, shape: str) -> HttpResponseBase:
    """The version as JSONL in one shape, streamed; ``?split=`` for one split alone."""
    project, shown = object_for(
        request.user, slug, Action.READ, DatasetVersion.objects.select_related("schema_version"), number=number
    )
    split = request.GET.get("split", "")
    if shape not in SHAPES or split not in ("", *Split.values):
        raise Http404("There is no such export.")
    try:
        service.file_path(shown)
    except FileNotFoundError as error:
        raise Http404(str(error)) from error
    lines = service.export(shown, shape, split or None)
    answer = StreamingHttpResponse(_pieces(lines), content_type="application/jsonl; charset=utf-8")
    name = "-".join(part for part in (project.slug, f"v{number}", split, shape) if part)
    answer["Content-Disposition"] = f'attachment; filename="{name}.jsonl"'
    return answer


def _pieces(lines: Iterator[str]) -> Iterator[bytes]:
    """A hundred lines at a time: one line a piece costs a system call each."""
    while piece := "".join(islice(lines, 100)):
        yield piece.encode()
