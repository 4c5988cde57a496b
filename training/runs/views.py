"""The list of runs and the page of one: a service, a render."""

from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import FileResponse, Http404, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST, require_safe
from django_htmx.http import HttpResponseClientRefresh

from labeling.models import DatasetVersion
from slmstudio.access import Action, object_for, project_for
from slmstudio.errors import Refused
from slmstudio.runs.models import ACTIVE, Status
from slmstudio.runs.plain_paths import redact_paths
from slmstudio.storage.artifacts import local_path
from slmstudio.storage.hashing import sha256_text
from slmstudio.web.requests import SignedInRequest
from training.exports.views import exports_context
from training.http import is_htmx, whole
from training.models import TrainingEvent, TrainingRun
from training.runs import queries
from training.runs import services as service
from training.runs.curves import checkpoints, curve_points, spec_of
from training.runs.difference_queries import differences_of
from training.runs.presets import in_words
from training.runs.reproduction import spec_text
from training.runs.services import cancel, fitting_knobs, knobs_of
from training.runs.trackers import tracked, zipped

_RUNS = TrainingRun.objects.select_related("dataset__schema_version", "base_model", "created_by", "model_version")
_CURVED = TrainingRun.objects.select_related("dataset__schema_version")
_STATES = {"live": ACTIVE, "done": (Status.DONE,), "failed": (Status.FAILED, Status.CANCELLED)}


@require_safe
def runs(request: SignedInRequest, slug: str) -> HttpResponse:
    """The project's runs, newest first, with the queue; refreshed while one is live."""
    project = project_for(request.user, slug, Action.READ)
    found = TrainingRun.objects.of_project(project)
    state = request.GET.get("state", "")
    if state in _STATES:
        found = found.filter(status__in=_STATES[state])
    page = Paginator(found, 30).get_page(request.GET.get("page"))
    live = TrainingRun.objects.filter(project=project).live()
    context = {
        "project": project,
        "page": page,
        "state": state,
        "states": [("", "All"), ("live", "Live"), ("done", "Done"), ("failed", "Failed or cancelled")],
        "live": live.exists(),
        "nobody_works": queries.nobody_works("gpu") if live.exists() else "",
        "any": bool(page.object_list) or bool(state) or TrainingRun.objects.filter(project=project).exists(),
        "has_dataset": DatasetVersion.objects.filter(project=project).exists(),
    }
    return render(request, "training/runs/list.html#table" if is_htmx(request) else "training/runs/list.html", context)


# -- one run --------------------------------------------------------------------------------------------------------


@require_safe
def run_page(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """A run: progress, curves, warnings, samples, log, spec, artifacts, lineage. Its parts refresh themselves."""
    project, run = object_for(request.user, slug, Action.READ, _RUNS, number=number)
    context: dict[str, Any] = {"project": project, "run": run}
    part = request.GET.get("part")
    if is_htmx(request) and part in _PART_CONTEXTS:
        seen = whole(request.GET.get("seen"))
        if part == "head" and not run.is_live:
            return HttpResponseClientRefresh()  # the whole page changes when a run ends
        context |= _PART_CONTEXTS[part](run, request)
        if part in ("samples", "log") and context["seen"] == seen and "step" not in request.GET:
            return HttpResponse(status=204)
        return render(request, f"training/runs/run.html#{part}", context)
    for name in ("side", "samples", "log", "against", "kept"):  # the side's holds the head's
        context |= _PART_CONTEXTS[name](run, request)
    return render(request, "training/runs/run.html", {**context, **_spec_context(run), **exports_context(run)})


def _head(run: TrainingRun, request: SignedInRequest) -> dict[str, Any]:
    last = run.events.filter(kind=TrainingEvent.Kind.METRICS).order_by("-step").first()
    return {
        "last": last.data if last else {},
        "seconds_left": queries.time_left(last) if last and run.status == Status.RUNNING else None,
        "ahead": queries.waiting_place(run) if run.status == Status.QUEUED else 0,
        "nobody_works": queries.nobody_works("gpu") if run.status == Status.QUEUED else "",
        "resumable": run.checkpoint_step > 0 and run.status in (Status.FAILED, Status.CANCELLED),
        "attempts": queries.attempts_in_words(run),
    }


def _side(run: TrainingRun, request: SignedInRequest) -> dict[str, Any]:
    validations = list(run.events.filter(kind=TrainingEvent.Kind.VALIDATION).order_by("step"))
    head = _head(run, request)
    return {
        **head,
        "slow": queries.slow(run, head["last"].get("tokens_per_second")),
        "validation": validations[-1].data if validations else {},
        "best": queries.best_look(run, validations),
        "warnings": list(run.events.filter(kind=TrainingEvent.Kind.WARNING).order_by("step")),
        "reality": queries.against_reality(run) if not run.is_live else [],
    }


def _kept(run: TrainingRun, request: SignedInRequest) -> dict[str, Any]:
    spec = spec_of(run)
    there, written = checkpoints(run)
    return {
        "checkpoints": there,
        "checkpoints_written": written,
        "trackers": tracked(run, spec.trackers) if spec else [],
        "run_folder": local_path(run.folder_key),
    }


def _against(run: TrainingRun, request: SignedInRequest) -> dict[str, Any]:
    others: Any = TrainingRun.objects.filter(project=run.project).exclude(pk=run.pk).order_by("-number")
    chosen: Any = None
    if number := whole(request.GET.get("against")):
        chosen = others.filter(number=number).select_related("dataset__schema_version", "base_model").first()
    return {
        "others": list(others.only("number", "name")[:50]),
        "other": chosen,
        "differences": differences_of([run, chosen]) if chosen is not None else [],
    }


def _samples(run: TrainingRun, request: SignedInRequest) -> dict[str, Any]:
    step = request.GET.get("step")
    found = queries.sampling(run, whole(step) if step else None)
    ids = {sample.id for sample in found.samples} if found else set()
    return {
        "sampling": found,
        "golds": queries.golds(run.dataset, ids) if ids else {},
        "seen": found.last if found else 0,
    }


def _log(run: TrainingRun, request: SignedInRequest) -> dict[str, Any]:
    text, size = queries.log_tail(run)
    return {"log": text, "seen": size, "log_size": size}


_PART_CONTEXTS = {
    "against": _against,
    "head": _head,
    "kept": _kept,
    "log": _log,
    "samples": _samples,
    "side": _side,
}


def _spec_context(run: TrainingRun) -> dict[str, Any]:
    spec = spec_of(run)
    knobs = knobs_of(spec) if spec else None
    method = knobs.method if knobs else "lora"
    usual = fitting_knobs(dataset=run.dataset, base_model=run.base_model, method=method)
    return {
        "lines": in_words(knobs, usual) if knobs else [],
        "early_stopping": bool(knobs and knobs.early_stopping),
        "spec_text": spec_text(run),
        "model": getattr(run, "model_version", None),
        "lineage": {
            "base_model": spec.base_model.sha256 if spec else "",
            "dataset": spec.dataset.sha256 if spec else "",
            "schema": spec.contract.schema_sha256 if spec else "",
            "spec": sha256_text(run.spec),
        },
        "eval_url": (
            f"{reverse('eval_new', args=[run.project.slug])}?model=run-{run.number}&dataset={run.dataset.number}"
        ),
    }


@require_GET
def curves(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Points of the curves with an event id above ``after``, as JSON."""
    _, run = object_for(request.user, slug, Action.READ, _CURVED, number=number)
    after = whole(request.GET.get("after"))
    told: dict[str, Any] = {"live": run.is_live, "status": run.status, "best": run.facts.get("best_step")}
    if not after:
        told["order"] = [field.pattern for field in run.dataset.schema_version.compiled.fields]
    return JsonResponse({**told, **curve_points(run, after)})


@require_POST
def cancel_run(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Stops a run; nothing happens where it has ended already."""
    _, run = object_for(request.user, slug, Action.RUN, TrainingRun, number=number)
    cancel(run)
    return HttpResponseClientRefresh() if is_htmx(request) else redirect(run.get_absolute_url())


@require_POST
def resume_run(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Takes a run that ended early up again, from its last checkpoint."""
    _, run = object_for(request.user, slug, Action.RUN, TrainingRun, number=number)
    try:
        service.resume(run=run, user=request.user)
    except Refused as refusal:
        messages.error(request, refusal.message)
    return HttpResponseClientRefresh() if is_htmx(request) else redirect(run.get_absolute_url())


@require_safe
def tracker_files(request: SignedInRequest, slug: str, number: int, name: str) -> FileResponse:
    """All that a run wrote for a tracker, as a zip."""
    project, run = object_for(request.user, slug, Action.READ, TrainingRun, number=number)
    one = next((one for one in tracked(run, (name,)) if one.bytes), None)
    if one is None:
        raise Http404("This run has written nothing for that tracker.")
    return FileResponse(zipped(one), as_attachment=True, filename=f"{project.slug}-run-{run.number}-{name}.zip")


@require_safe
def spec_file(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """The RunSpec as the file that reproduces the run; of one that is done, with the precision it was trained in."""
    project, run = object_for(request.user, slug, Action.READ, TrainingRun, number=number)
    response = HttpResponse(spec_text(run), content_type="application/yaml; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{project.slug}-run-{run.number}.yaml"'
    return response


@require_safe
def log_file(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """All that the run's process wrote beside its events, as plain text."""
    _, run = object_for(request.user, slug, Action.READ, TrainingRun, number=number)
    path = local_path(f"{run.folder_key}/log.txt")
    text = path.read_text(errors="replace") if path.is_file() else ""
    return HttpResponse(redact_paths(text), content_type="text/plain; charset=utf-8")
