"""The exports section of a run's page, and downloads."""

from typing import Any

from django.http import FileResponse, Http404, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from labeling.models import Project
from slmstudio.access import Action, object_for
from slmstudio.errors import Refused
from slmstudio.runs import controls
from slmstudio.web.requests import SignedInRequest, is_htmx
from slmstudio.workers.live_workers import no_worker_message
from training.exports import downloads, services
from training.models import TrainingRun


def exports_context(run: TrainingRun) -> dict[str, Any]:
    """The context of the section."""
    options, model = services.export_options(run), services.model_of(run)
    deleted = model is not None and model.weights_deleted_at is not None
    queues = {
        option.export.queue_name for option in options if option.export is not None and option.export.status == "queued"
    }
    return {
        "options": options,
        "no_exports": services.why_none(run),
        "exported": [option for option in options if option.is_ready],
        "export_model": None if deleted else model,
        "weights_deleted": deleted,
        "export_no_worker": {queue: no_worker_message(queue) for queue in queues},
    }


@require_safe
def exports(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """The section alone; with ``?kind=`` one option, which refreshes while its export is active."""
    project, run = object_for(request.user, slug, Action.READ, TrainingRun, number=number)
    if not is_htmx(request):
        return redirect(f"{run.get_absolute_url()}#exports")
    context = {"project": project, "run": run, **exports_context(run)}
    option = next((option for option in context["options"] if option.key == request.GET.get("kind")), None)
    if option is not None:
        return render(request, "training/exports/exports.html#option", {**context, "option": option})
    return render(request, "training/exports/exports.html", context)


@require_POST
def create_export(request: SignedInRequest, slug: str, number: int, kind: str) -> HttpResponse:
    """Queues an export."""
    project, run = object_for(request.user, slug, Action.RUN, TrainingRun, number=number)
    if not services.is_key(run, kind):
        raise Http404("Export not found.")
    problem = ""
    try:
        services.request_export(run=run, key=kind, user=request.user)
    except Refused as refusal:
        problem = refusal.message
    return _render_section(request, project, run, problem)


@require_POST
def cancel_export(request: SignedInRequest, slug: str, number: int, kind: str) -> HttpResponse:
    """Cancels an export; nothing happens where it has already ended."""
    project, run = object_for(request.user, slug, Action.RUN, TrainingRun, number=number)
    export = services.find(run, kind)
    if export is None:
        raise Http404("Export not found.")
    controls.cancel(run=export, user=request.user)
    return _render_section(request, project, run)


def _render_section(request: SignedInRequest, project: Project, run: TrainingRun, problem: str = "") -> HttpResponse:
    context = {"project": project, "run": run, "problem": problem, **exports_context(run)}
    if is_htmx(request):
        return render(request, "training/exports/exports.html", context, status=422 if problem else 200)
    if problem:
        return HttpResponse(problem, status=422, content_type="text/plain; charset=utf-8")
    return redirect(f"{run.get_absolute_url()}#exports")


@require_safe
def folder_zip(request: SignedInRequest, slug: str, number: int, name: str) -> HttpResponseBase:
    """A folder of the run as a streamed zip."""
    project, run = object_for(request.user, slug, Action.READ, TrainingRun, number=number)
    folder = _folder_or_404(run, name)
    if folder.missing:
        raise Http404(f"{folder.missing[0]} is missing on disk. Export it again, or restore a backup.")
    stem = f"{project.slug}-run-{run.number}-{name}"
    response = StreamingHttpResponse(downloads.zip_folder(folder, stem), content_type="application/zip")
    response["Content-Disposition"] = f'attachment; filename="{stem}.zip"'
    return response


@require_safe
def folder_file(request: SignedInRequest, slug: str, number: int, name: str, path: str) -> FileResponse:
    """One file of a folder of the run."""
    _, run = object_for(request.user, slug, Action.READ, TrainingRun, number=number)
    file = _folder_or_404(run, name).file(path)
    if file is None:
        raise Http404("File not found.")
    response = FileResponse(
        file.open("rb"), as_attachment=True, filename=file.name, content_type="application/octet-stream"
    )
    response.block_size = downloads.CHUNK_BYTES
    return response


def _folder_or_404(run: TrainingRun, name: str) -> downloads.Folder:
    folder = downloads.find_folder(run, name)
    if folder is None:
        raise Http404("Folder not found in this run.")
    return folder
