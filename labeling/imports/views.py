"""How documents come in: files or a pasted text, the columns of a table, and what came of it."""

import json
from collections.abc import Iterator
from typing import IO, Any

from django.contrib import messages
from django.http import FileResponse, Http404, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import content_disposition_header, urlencode
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from labeling.imports import services, uploads
from labeling.imports.formats import KINDS
from labeling.imports.formats import columns as column_roles
from labeling.imports.forms import ColumnsForm, ImportForm
from labeling.imports.uploads import MAX_UPLOAD
from labeling.models import ImportRun, IndexRun, Project
from slmstudio.access import Action, object_for, project_for
from slmstudio.errors import Refused
from slmstudio.storage import artifacts
from slmstudio.web.body_limits import AROUND_FILES, takes_files
from slmstudio.web.requests import SignedInRequest


def _is_htmx(request: SignedInRequest) -> bool:
    return bool(request.htmx) and not request.htmx.history_restore_request  # type: ignore[attr-defined]


def _go(request: SignedInRequest, address: str) -> HttpResponse:
    """To another page, also for a form that htmx sent."""
    if not _is_htmx(request):
        return redirect(address)
    return HttpResponse(status=204, headers={"HX-Redirect": address})


def _may_import(request: SignedInRequest, slug: str) -> None:
    project_for(request.user, slug, Action.CURATE)


@takes_files(MAX_UPLOAD + AROUND_FILES, "labeling.imports.upload_handlers.OneFileUploadHandler", check=_may_import)
@require_http_methods(["GET", "HEAD", "POST"])
def import_page(request: SignedInRequest, slug: str) -> HttpResponse:
    """Takes files or a pasted text and queues their import; a table's columns are asked for first."""
    project = project_for(request.user, slug, Action.CURATE)
    form = ImportForm(request.POST, request.FILES) if request.method == "POST" else ImportForm()
    if request.method == "POST" and form.is_valid():
        data = form.cleaned_data
        try:
            upload = uploads.keep(files=form.files_given(), paths=data["paths"], kind=data["kind"])
        except Refused as refusal:
            form.add_error("file" if form.given else "rows", str(refusal))
        else:
            if uploads.needs_mapping(upload):
                uploads.prepare(upload)
                ticket = uploads.ticket(upload, project, form.flags())
                return _go(request, f"{reverse('import_columns', args=[slug])}?{urlencode({'u': ticket})}")
            try:
                run = services.start_upload(
                    project=project, user=request.user, upload=upload, options=form.options(), **form.flags()
                )
            except Refused as refusal:
                artifacts.store().delete(upload.key)
                form.add_error("file" if form.given else "rows", str(refusal))
            else:
                return _go(request, reverse("import_run", args=[slug, run.pk]))
    context = {
        "project": project,
        "form": form,
        "version": project.schema_version,
        "runs": project.imports.select_related("created_by").order_by("-pk")[:10],
    }
    part = "#form" if _is_htmx(request) and request.method == "POST" else ""
    return render(request, f"labeling/imports/new.html{part}", context, status=422 if form.errors else 200)


@require_http_methods(["GET", "HEAD", "POST"])
def columns(request: SignedInRequest, slug: str) -> HttpResponse:
    """Which column of a table is what: shows the first rows and a guess, and what would become of them."""
    project = project_for(request.user, slug, Action.CURATE)
    given = request.POST if request.method == "POST" else request.GET
    try:
        upload, flags = uploads.by_ticket(given.get("u", ""), project)
    except Refused as refusal:
        messages.error(request, str(refusal))
        return _go(request, reverse("import", args=[slug]))
    form = ColumnsForm(given)
    context = _columns_context(project, upload, form)
    if request.method == "POST" and not context["error"]:
        try:
            run = services.start_upload(
                project=project, user=request.user, upload=upload, options=context["options"], **flags
            )
        except Refused as refusal:
            context["error"] = str(refusal)
        else:
            return _go(request, reverse("import_run", args=[slug, run.pk]))
    context |= {"project": project, "upload": upload, "flags": flags, "form": form, "ticket": given.get("u", "")}
    part = "#columns" if _is_htmx(request) else ""
    status = 422 if request.method == "POST" else 200
    return render(request, f"labeling/imports/columns.html{part}", context, status=status)


def _columns_context(project: Project, upload: uploads.Upload, form: ColumnsForm) -> dict[str, Any]:
    """The preview, a choice for every column, and a trial of the first rows; ``error`` is why it cannot be."""
    compiled = project.schema_version.compiled
    layout = form.layout()
    context: dict[str, Any] = {"error": "", "options": layout, "kind": KINDS[upload.kind], "columns": [], "rows": []}
    try:
        shown = uploads.preview(upload, layout)
    except Refused as refusal:
        return {**context, "error": str(refusal)}
    known = column_roles.choices(compiled)
    mapping = form.mapping(shown.names, column_roles.guess(shown.names, compiled), known)
    options = {**layout, "columns": mapping}
    if shown.layout is not None:
        options |= {"delimiter": shown.layout.delimiter, "encoding": shown.layout.encoding}
        form.recognized(shown.layout)
    context |= {
        "columns": [{"number": n, "name": name, "role": mapping[name]} for n, name in enumerate(shown.names)],
        "choices": known,
        "rows": shown.rows,
        "options": options,
        "layout": shown.layout,
        "error": column_roles.problem(mapping, shown.names, compiled),
    }
    if not context["error"]:
        try:
            context["trial"] = uploads.trial(upload, project, options)
        except Refused as refusal:
            context["error"] = str(refusal)
    return context


@require_safe
def import_run(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """An import while it runs, and what came of it."""
    project, run = object_for(request.user, slug, Action.READ, ImportRun.objects.select_related("created_by"), pk=pk)
    indexing = IndexRun.objects.filter(project=project, created_at__gte=run.created_at).order_by("pk").first()
    context = {
        "project": project,
        "run": run,
        "kind": KINDS.get(run.kind, run.kind),
        "rows": run.imported + run.duplicates + run.rejected,
        "indexing": indexing,
        "live": run.is_live or (indexing is not None and indexing.is_live),
        "can_again": run.status in ("failed", "cancelled") and artifacts.store().exists(run.upload_key),
        "in_files": any("file" in row for row in run.rejects),
    }
    return render(request, f"labeling/imports/run.html{'#progress' if _is_htmx(request) else ''}", context)


@require_POST
def cancel(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """Asks an import to stop; what was imported stays."""
    _, run = object_for(request.user, slug, Action.CURATE, ImportRun.objects.all(), pk=pk)
    if not run.cancel():
        messages.info(request, "The import had ended already.")
    return redirect("import_run", slug, pk)


@require_POST
def again(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """Queues an import that failed or was cancelled once more; what is there already is passed over."""
    _, run = object_for(request.user, slug, Action.CURATE, ImportRun.objects.select_related("project"), pk=pk)
    try:
        new = services.again(run=run, user=request.user)
    except Refused as refusal:
        messages.error(request, str(refusal))
        return redirect("import_run", slug, pk)
    if new is None:
        messages.info(request, "The import cannot be started again: it did not fail, or its file is gone.")
    return redirect("import_run", slug, pk if new is None else new.pk)


def _rejects(request: SignedInRequest, slug: str, pk: int) -> tuple[IO[bytes], str]:
    """The file of an import's rejected rows, and its name without an ending."""
    _, run = object_for(request.user, slug, Action.READ, ImportRun.objects.all(), pk=pk)
    if not run.rejects_key or not artifacts.store().exists(run.rejects_key):
        raise Http404("No row was rejected, or the file is gone.")
    return artifacts.store().open(run.rejects_key), f"{run.file_name.rpartition('.')[0] or run.file_name}-rejected"


@require_safe
def rejected_rows(request: SignedInRequest, slug: str, pk: int) -> HttpResponseBase:
    """The rejected rows with their reasons and their original lines, as JSONL."""
    file, name = _rejects(request, slug, pk)
    return FileResponse(file, as_attachment=True, filename=f"{name}.jsonl", content_type="application/jsonl")


@require_safe
def rejected_words(request: SignedInRequest, slug: str, pk: int) -> HttpResponseBase:
    """The rejected rows with their reasons, one a line, to be read."""
    file, name = _rejects(request, slug, pk)
    answer = StreamingHttpResponse(_in_words(file), content_type="text/plain; charset=utf-8")
    answer["Content-Disposition"] = (
        content_disposition_header(as_attachment=True, filename=f"{name}.txt") or "attachment"
    )
    return answer


def _in_words(file: IO[bytes]) -> Iterator[str]:
    with file:
        for line in file:
            row = json.loads(line)
            place = f"{row['file']}, row {row['row']}" if row.get("file") else f"row {row['row']}"
            name = f" ({row['id']})" if row["id"] else ""
            yield f"{place}{name}: {row['reason']}\n"
