"""What of a run can be taken along: the section of its page, making exports, and downloads."""

from typing import Any

from django.http import FileResponse, Http404, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from slmstudio.access import Action, object_for
from slmstudio.errors import Refused
from slmstudio.web.requests import SignedInRequest
from training.exports import downloads, services
from training.exports.axolotl_validation import fact
from training.http import is_htmx
from training.models import TrainingRun
from training.runs import queries as run_queries

_RUNS = TrainingRun.objects.select_related("dataset", "base_model")


def exports_context(run: TrainingRun) -> dict[str, Any]:
    """What the section shows."""
    offers = services.offers(run)
    waiting = {one.export.queue_name for one in offers if one.export is not None and one.export.status == "queued"}
    return {
        "offers": offers,
        "exported": [offer for offer in offers if offer.ready],
        "export_model": services.model_of(run),
        "export_nobody": {queue: run_queries.nobody_works(queue) for queue in waiting},
        "axolotl_fact": fact(),
    }


@require_safe
def exports(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """The section by itself; with ``?kind=`` one offer of it, which asks for itself while it is being made."""
    project, run = object_for(request.user, slug, Action.READ, _RUNS, number=number)
    if not is_htmx(request):
        return redirect(f"{run.get_absolute_url()}#take-along")
    context = {"project": project, "run": run, **exports_context(run)}
    one = next((offer for offer in context["offers"] if offer.kind == request.GET.get("kind")), None)
    if one is not None:
        return render(request, "training/exports/exports.html#offer", {**context, "offer": one})
    return render(request, "training/exports/exports.html", context)


@require_POST
def export_make(request: SignedInRequest, slug: str, number: int, kind: str) -> HttpResponse:
    """Queues an export."""
    project, run = object_for(request.user, slug, Action.RUN, _RUNS, number=number)
    if kind not in services.KINDS:
        raise Http404("There is no such export.")
    problem = ""
    try:
        services.request(run=run, kind=kind, user=request.user)
    except Refused as refusal:
        problem = refusal.message
    return _section(request, project, run, problem)


@require_POST
def export_cancel(request: SignedInRequest, slug: str, number: int, kind: str) -> HttpResponse:
    """Stops an export; nothing happens where it has ended already."""
    project, run = object_for(request.user, slug, Action.RUN, _RUNS, number=number)
    export = services.find(run, kind)
    if export is None:
        raise Http404("There is no such export.")
    export.cancel()
    return _section(request, project, run)


def _section(request: SignedInRequest, project: Any, run: TrainingRun, problem: str = "") -> HttpResponse:
    context = {"project": project, "run": run, "problem": problem, **exports_context(run)}
    if is_htmx(request):
        return render(request, "training/exports/exports.html", context, status=422 if problem else 200)
    if problem:
        return HttpResponse(problem, status=422, content_type="text/plain; charset=utf-8")
    return redirect(f"{run.get_absolute_url()}#take-along")


@require_safe
def folder_zip(request: SignedInRequest, slug: str, number: int, name: str) -> HttpResponseBase:
    """A folder of the run as a zip, sent while it is made."""
    project, run = object_for(request.user, slug, Action.READ, TrainingRun, number=number)
    found = _found(run, name)
    if found.missing:
        raise Http404(f"{found.missing[0]} is gone from the disk. Make it again, or look into a backup.")
    stem = f"{project.slug}-run-{run.number}-{name}"
    answer = StreamingHttpResponse(downloads.zipped(found, stem), content_type="application/zip")
    answer["Content-Disposition"] = f'attachment; filename="{stem}.zip"'
    return answer


@require_safe
def folder_file(request: SignedInRequest, slug: str, number: int, name: str, path: str) -> FileResponse:
    """One file of a folder of the run."""
    _, run = object_for(request.user, slug, Action.READ, TrainingRun, number=number)
    file = _found(run, name).file(path)
    if file is None:
        raise Http404("There is no such file.")
    answer = FileResponse(
        file.open("rb"), as_attachment=True, filename=file.name, content_type="application/octet-stream"
    )
    answer.block_size = downloads.PIECE
    return answer


def _found(run: TrainingRun, name: str) -> downloads.Folder:
    found = downloads.folder(run, name)
    if found is None:
        raise Http404("The run has no such folder.")
    return found
