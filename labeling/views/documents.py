"""Documents: the list, one of them, and how they come in."""

from typing import Any

from django.contrib import messages
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from labeling.diffs import changes
from labeling.forms import DocumentFilter, ImportForm
from labeling.formtree import form_for
from labeling.models import AnnotationRevision, Document, DocumentState, Gold, ImportRun
from labeling.paging import MOST_COUNTED, MOST_SEARCHED, count, page
from labeling.services.importing import Refused, start_import
from labeling.tags import FAILURE_TAGS
from slmstudio import artifacts, panels
from slmstudio.access import Action, object_for, project_for


@require_safe
def documents(request: HttpRequest, slug: str) -> HttpResponse:
    """The list. What it is filtered by lives in the address; pages go by key and counts stop."""
    project = project_for(request.user, slug, Action.READ)
    form = DocumentFilter(request.GET)
    chosen = form.chosen()
    filters = {name: chosen[name] or "" for name in ("q", "state", "tag", "holdout")}
    rows = Document.objects.filter(project=project).chosen(**filters)
    shown = page(rows.for_list(), after=chosen["after"], before=chosen["before"], newest=chosen["order"] == "newest")
    context = {
        "project": project,
        "form": form,
        "filters": filters,
        "filtered": any(filters.values()),
        "order": chosen["order"] or "",
        "page": shown,
        "count": count(rows, MOST_SEARCHED if filters["q"] else MOST_COUNTED),
        "states": DocumentState,
        "tags": FAILURE_TAGS,
    }
    # A click on a heading or the browser's back button asks for the whole page.
    fragment = request.htmx and not request.htmx.history_restore_request  # type: ignore[attr-defined]
    return render(request, f"labeling/documents.html{'#list' if fragment else ''}", context)


@require_safe
def document(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    """A document: its text, its gold, who changed what when, and what other parts of the studio know about it."""
    project, shown = object_for(request.user, slug, Action.READ, Document.objects.all(), pk=pk)
    gold = (
        Gold.objects.newest_of(project)
        .filter(document=shown)
        .select_related("revision", "schema_version", "approved_by")
        .first()
    )
    version = gold.schema_version if gold else project.schema_version
    drawn = panels.draw("document", shown, request.user)
    context: dict[str, Any] = {
        "project": project,
        "document": shown,
        "gold": gold,
        "gold_form": form_for(version.compiled, gold.revision.value, read_only=True) if gold else None,
        "history": _history(shown),
        "items": shown.dataset_items.select_related("dataset").order_by("-dataset__number"),
        "tags": [(tag, FAILURE_TAGS.get(tag)) for tag in shown.tags],
        "panels": [
            render_to_string(
                content.template, {**content.context, "project": project, "document": shown}, request=request
            )
            for content in drawn
            if content.template
        ],
    }
    return render(request, "labeling/document.html", context)


def _history(shown: Document) -> list[dict[str, Any]]:
    """The newest fifty saves of anybody, each with the fields it changed against the one before it."""
    revisions = list(
        AnnotationRevision.objects.filter(annotation__document=shown)
        .select_related("user", "annotation__schema_version")
        .order_by("-pk")[:51]
    )
    rows = []
    for place, revision in enumerate(revisions[:50]):
        earlier = revisions[place + 1].value if place + 1 < len(revisions) else {}
        compiled = revision.annotation.schema_version.compiled
        rows.append({"revision": revision, "changes": changes(earlier, compiled.ordered(revision.value))})
    return rows


@require_http_methods(["GET", "HEAD", "POST"])
def import_page(request: HttpRequest, slug: str) -> HttpResponse:
    """Takes a JSONL file or pasted rows and queues their import."""
    project = project_for(request.user, slug, Action.CURATE)
    form = ImportForm(request.POST, request.FILES) if request.method == "POST" else ImportForm()
    if request.method == "POST" and form.is_valid():
        data = form.cleaned_data
        try:
            run = start_import(
                project=project,
                user=request.user,
                upload=form.upload(),
                as_holdout=data["as_holdout"],
                synthetic=data["synthetic"],
            )
        except Refused as refusal:
            form.add_error("file", str(refusal))
        else:
            return redirect("import_run", slug, run.pk)
    context = {
        "project": project,
        "form": form,
        "version": project.schema_version,
        "runs": project.imports.select_related("created_by").order_by("-pk")[:10],
    }
    return render(request, "labeling/import.html", context, status=422 if form.errors else 200)


@require_safe
def import_run(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    """An import while it runs, and what came of it."""
    project, run = object_for(request.user, slug, Action.READ, ImportRun.objects.select_related("created_by"), pk=pk)
    context = {"project": project, "run": run, "rows": run.imported + run.duplicates + run.rejected}
    fragment = "#progress" if request.htmx else ""  # type: ignore[attr-defined]
    return render(request, f"labeling/import_run.html{fragment}", context)


@require_POST
def cancel_import(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    """Asks an import to stop; what was imported stays."""
    _, run = object_for(request.user, slug, Action.CURATE, ImportRun.objects.all(), pk=pk)
    if not run.cancel():
        messages.info(request, "The import had ended already.")
    return redirect("import_run", slug, pk)


@require_safe
def rejected_rows(request: HttpRequest, slug: str, pk: int) -> HttpResponseBase:
    """The rejected rows with their reasons and their original lines, as JSONL."""
    _, run = object_for(request.user, slug, Action.READ, ImportRun.objects.all(), pk=pk)
    if not run.rejects_key or not artifacts.store().exists(run.rejects_key):
        raise Http404("No row was rejected, or the file is gone.")
    name = f"{run.file_name.rpartition('.')[0] or run.file_name}-rejected.jsonl"
    return FileResponse(
        artifacts.store().open(run.rejects_key), as_attachment=True, filename=name, content_type="application/jsonl"
    )
