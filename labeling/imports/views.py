"""The import pages: files or a pasted text, the columns of a table, progress and result."""

import json
from collections.abc import Iterator
from typing import IO, Any

from django.contrib import messages
from django.http import FileResponse, Http404, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.http import content_disposition_header, urlencode
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from django_htmx.http import retarget

from labeling.imports import reservations, services, uploads
from labeling.imports.formats.column_mapping import role_choices
from labeling.imports.formats.registry import FORMATS
from labeling.imports.forms import ColumnsForm, ImportForm
from labeling.imports.uploads import MAX_UPLOAD, review_table
from labeling.models import ImportRun, Project
from slmstudio import panels
from slmstudio.access import Action, object_for, project_for
from slmstudio.errors import Refused
from slmstudio.runs.models import Status
from slmstudio.storage import artifacts
from slmstudio.web.body_limits import AROUND_FILES, takes_files
from slmstudio.web.forms import RefusalMessage
from slmstudio.web.requests import SignedInRequest, is_htmx, page_or_fragment, redirect_to

#: imports on the page of a new one
MAX_RECENT = 10


def _may_import(request: SignedInRequest, slug: str) -> None:
    project_for(request.user, slug, Action.CURATE)


@takes_files(MAX_UPLOAD + AROUND_FILES, "labeling.imports.upload_handlers.OneFileUploadHandler", check=_may_import)
@require_http_methods(["GET", "HEAD", "POST"])
def import_page(request: SignedInRequest, slug: str) -> HttpResponse:
    """Stores files or a pasted text and queues their import; for a table, the page of its columns comes first."""
    project = project_for(request.user, slug, Action.CURATE)
    form = ImportForm(request.POST, request.FILES) if request.method == "POST" else ImportForm()
    if request.method == "POST" and form.is_valid():
        data = form.cleaned_data
        try:
            upload = uploads.store_upload(files=form.files_to_import(), paths=data["paths"], kind=data["kind"])
        except Refused as refusal:
            form.add_error("file" if form.uploaded else "rows", str(refusal))
        else:
            if upload.format.is_reviewed:
                signed = uploads.sign_upload(upload, project, form.flags())
                return redirect_to(request, f"{reverse('import_exchanges', args=[slug])}?{urlencode({'u': signed})}")
            if upload.format.is_table:
                signed = uploads.sign_upload(upload, project, form.flags())
                return redirect_to(request, f"{reverse('import_columns', args=[slug])}?{urlencode({'u': signed})}")
            try:
                if not data["without_labels"]:
                    uploads.check_labels(upload, form.chosen(), project.schema_version)
                run = services.start_upload(
                    project=project, user=request.user, upload=upload, options=form.chosen(), **form.flags()
                )
            except Refused as refusal:
                artifacts.store().delete(upload.key)
                form.add_error("file" if form.uploaded else "rows", str(refusal))
            else:
                return redirect_to(request, reverse("import_run", args=[slug, run.pk]))
    context = {
        "project": project,
        "form": form,
        "version": project.schema_version,
        "runs": project.imports.select_related("created_by").order_by("-pk")[:MAX_RECENT],
    }
    part = "#form" if is_htmx(request) and request.method == "POST" else ""
    return render(request, f"labeling/imports/new.html{part}", context, status=422 if form.errors else 200)


@require_http_methods(["GET", "HEAD", "POST"])
def columns(request: SignedInRequest, slug: str) -> HttpResponse:
    """The roles of the columns of a table: the first rows, guessed roles, and the rows that would be rejected."""
    project = project_for(request.user, slug, Action.CURATE)
    data = request.POST if request.method == "POST" else request.GET
    try:
        upload, flags = uploads.upload_from_signature(data.get("u", ""), project)
    except Refused as refusal:
        messages.error(request, str(refusal))
        return redirect_to(request, reverse("import", args=[slug]))
    form = ColumnsForm(data, formats=[upload.format])
    context = _columns_context(project, upload, form)
    if request.method == "POST" and not context["error"]:
        try:
            run = services.start_upload(
                project=project, user=request.user, upload=upload, options=context["options"], **flags
            )
        except Refused as refusal:
            context["error"] = str(refusal)
        else:
            return redirect_to(request, reverse("import_run", args=[slug, run.pk]))
    context |= {"project": project, "upload": upload, "flags": flags, "form": form, "signed": data.get("u", "")}
    status = 422 if request.method == "POST" else 200
    if is_htmx(request) and context.get("shown") == data.get("shown"):
        # The selects of the roles stay: another one may be open.
        return retarget(render(request, "labeling/imports/columns.html#preview", context), "#preview")
    return page_or_fragment(request, "labeling/imports/columns.html", "columns", context, status)


def _columns_context(project: Project, upload: uploads.Upload, form: ColumnsForm) -> dict[str, Any]:
    """The first rows, a role for every column, and a preview of the import; ``error`` is why it cannot start."""
    try:
        review = review_table(upload, form.chosen(), project.schema_version, form.roles())
    except Refused as refusal:
        return {"error": str(refusal), "columns": [], "rows": []}
    for name, value in review.table.detected.items():
        form.show_detected(name, form.options[name].label_of(value))
    names = enumerate(review.table.names)
    return {
        "error": review.error,
        "columns": [{"number": n, "name": name, "role": review.roles[name]} for n, name in names],
        "choices": list(role_choices(project.schema_version.compiled).items()),
        "rows": review.table.rows,
        "shown": review.fingerprint,
        "options": review.options,
        "preview": review.preview,
    }


@require_safe
def import_run(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """The progress and result of an import."""
    project = project_for(request.user, slug, Action.READ)
    run = get_object_or_404(project.imports.select_related("created_by"), pk=pk)
    indexing = services.index_run_of(run)
    context = {
        "project": project,
        "run": run,
        "format": FORMATS[run.kind].title if run.kind in FORMATS else run.kind,
        "rows": run.imported + run.duplicates + run.rejected,
        "indexing": indexing,
        "live": run.is_live or (indexing is not None and indexing.is_live),
        "can_restart": run.status in ("failed", "cancelled") and artifacts.store().exists(run.upload_key),
        "in_files": any("file" in row for row in run.rejects),
        "reserved": 0 if run.is_live or run.as_holdout else reservations.reserved(run),
        "steps": panels.next_steps_for(project, request.user, 1) if run.status == Status.DONE else [],
        "misfits": services.most_labels_misfit(run),
        "unit": FORMATS[run.kind].unit if run.kind in FORMATS else "row",
    }
    return render(request, f"labeling/imports/run.html{'#progress' if is_htmx(request) else ''}", context)


@require_POST
def restart(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """Queues a failed or cancelled import again. Documents that exist are skipped."""
    _, run = object_for(request.user, slug, Action.CURATE, ImportRun, pk=pk)
    with RefusalMessage(request):
        new = services.restart(run=run, user=request.user)
        if new is None:
            messages.info(request, "The import cannot be restarted: it did not fail, or its file was deleted.")
        return redirect("import_run", slug, pk if new is None else new.pk)
    return redirect("import_run", slug, pk)


def _rejects(request: SignedInRequest, slug: str, pk: int) -> tuple[IO[bytes], str]:
    """The file of an import's rejected rows, and its name without an extension."""
    _, run = object_for(request.user, slug, Action.READ, ImportRun, pk=pk)
    if not run.rejects_key or not artifacts.store().exists(run.rejects_key):
        raise Http404("No row was rejected, or the file was deleted.")
    return artifacts.store().open(run.rejects_key), f"{run.file_name.rpartition('.')[0] or run.file_name}-rejected"


@require_safe
def rejected_rows(request: SignedInRequest, slug: str, pk: int) -> HttpResponseBase:
    """The rejected rows with their reasons and original lines, as JSONL."""
    file, name = _rejects(request, slug, pk)
    return FileResponse(file, as_attachment=True, filename=f"{name}.jsonl", content_type="application/jsonl")


@require_safe
def rejected_text(request: SignedInRequest, slug: str, pk: int) -> HttpResponseBase:
    """The rejected rows with their reasons, one per line, as text."""
    file, name = _rejects(request, slug, pk)
    response = StreamingHttpResponse(_reject_lines(file), content_type="text/plain; charset=utf-8")
    response["Content-Disposition"] = (
        content_disposition_header(as_attachment=True, filename=f"{name}.txt") or "attachment"
    )
    return response


def _reject_lines(file: IO[bytes]) -> Iterator[str]:
    with file:
        for line in file:
            row = json.loads(line)
            place = f"{row['file']}, row {row['row']}" if row.get("file") else f"row {row['row']}"
            name = f" ({row['id']})" if row["id"] else ""
            yield f"{place}{name}: {row['reason']}\n"
