"""The page of a training run, with its files."""

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpResponse, HttpResponseBase, JsonResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST, require_safe
from django_htmx.http import HttpResponseClientRefresh

from slmstudio.access import Action, object_for
from slmstudio.hooks import Hook
from slmstudio.runs.models import Status
from slmstudio.runs.path_redaction import redact_paths
from slmstudio.storage.artifacts import local_path
from slmstudio.storage.hashing import sha256_text
from slmstudio.text.formatting import format_bytes
from slmstudio.web.forms import RefusalMessage
from slmstudio.web.requests import SignedInRequest, is_htmx, positive_int
from slmstudio.workers.live_workers import no_worker_message
from training.exports.downloads import Folder, zip_folder
from training.hyperparameters.dataset_defaults import default_hyperparameters
from training.hyperparameters.display import describe
from training.models import TrainingEvent, TrainingRun
from training.runs import queries, retention
from training.runs.curves import checkpoints, curve_points, spec_of
from training.runs.differences import differences_of
from training.runs.run_spec import hyperparameters_of, reproducible_spec_text
from training.runs.trackers import TRACKERS, tracker_files, tracker_folder, trackers_of

#: a run -> the context of a section of its page that another feature owns, such as its exports
run_sections: Hook[[TrainingRun], dict[str, Any]] = Hook()

_RUNS = queries.runs_for_page()


# -- one run --------------------------------------------------------------------------------------------------------


@require_safe
def run_page(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """A run: progress, curves, warnings, samples, log, spec, artifacts, lineage. Its parts refresh separately."""
    project, run = object_for(request.user, slug, Action.READ, _RUNS, number=number)
    context: dict[str, Any] = {"project": project, "run": run}
    part = request.GET.get("part")
    if is_htmx(request) and part in _PART_CONTEXTS:
        seen = positive_int(request.GET.get("seen"))
        if part == "head" and not run.is_live:
            return HttpResponseClientRefresh()  # the whole page changes when a run ends
        context |= _PART_CONTEXTS[part](run, request)
        if part in ("samples", "log") and context["seen"] == seen and "step" not in request.GET:
            return HttpResponse(status=204)
        return render(request, f"training/runs/run.html#{part}", context)
    for name in ("side", "samples", "log", "against", "kept"):  # "side" includes "head"
        context |= _PART_CONTEXTS[name](run, request)
    for section in run_sections.call(run):
        context |= section
    return render(request, "training/runs/run.html", {**context, **_spec_context(run)})


def _head(run: TrainingRun, request: SignedInRequest) -> dict[str, Any]:
    last = run.events.filter(kind=TrainingEvent.Kind.METRICS).order_by("-step").first()
    return {
        "last": last.data if last else {},
        "seconds_left": queries.time_left(last) if last and run.status == Status.RUNNING else None,
        "no_worker": no_worker_message("gpu") if run.status == Status.QUEUED else "",
        "resumable": run.checkpoint_step > 0 and run.status in (Status.FAILED, Status.CANCELLED),
        "attempts": queries.attempt_description(run),
    }


def _sidebar(run: TrainingRun, request: SignedInRequest) -> dict[str, Any]:
    spec = spec_of(run)
    metric = spec.best_metric if spec is not None else "validation_loss"
    validation = run.events.filter(kind=TrainingEvent.Kind.VALIDATION).order_by("-step").first()
    head = _head(run, request)
    return {
        **head,
        "slow": queries.slow_message(run, head["last"].get("tokens_per_second")),
        "validation": validation.data if validation else {},
        "best": queries.best_evaluation(run, metric),
        "best_metric": metric,
        "warnings": list(run.events.filter(kind=TrainingEvent.Kind.WARNING).order_by("step")),
        "estimate_lines": queries.estimate_lines(run),
    }


def _checkpoints_and_trackers(run: TrainingRun, request: SignedInRequest) -> dict[str, Any]:
    spec = spec_of(run)
    stored, written = checkpoints(run)
    return {
        "checkpoints": stored,
        "checkpoints_written": written,
        "trackers": trackers_of(run, spec.trackers) if spec else [],
        "run_folder": local_path(run.folder_key),
    }


def _comparison(run: TrainingRun, request: SignedInRequest) -> dict[str, Any]:
    number = positive_int(request.GET.get("against"))
    other = next(iter(queries.runs_to_compare(run.project, {number} - {run.number})), None)
    return {
        "others": queries.other_runs(run.project, [run.number]),
        "other": other,
        "differences": differences_of([run, other]) if other is not None else [],
    }


def _samples(run: TrainingRun, request: SignedInRequest) -> dict[str, Any]:
    step = request.GET.get("step")
    sampling = queries.sampling(run, positive_int(step) if step else None)
    ids = {sample["id"] for sample in sampling["samples"]} if sampling else set()
    return {
        "sampling": sampling,
        "golds": queries.gold_labels(run.dataset, ids) if ids else {},
        "seen": sampling["last"] if sampling else 0,
    }


def _log(run: TrainingRun, request: SignedInRequest) -> dict[str, Any]:
    text, size = queries.log_tail(run)
    return {"log": text, "seen": size, "log_size": size}


_PART_CONTEXTS = {
    "against": _comparison,
    "head": _head,
    "kept": _checkpoints_and_trackers,
    "log": _log,
    "samples": _samples,
    "side": _sidebar,
}


def _spec_context(run: TrainingRun) -> dict[str, Any]:
    spec, kept = spec_of(run), queries.kept_weights(run)
    hyperparameters = hyperparameters_of(spec) if spec else None
    method = hyperparameters.method if hyperparameters else "lora"
    defaults = default_hyperparameters(dataset=run.dataset, base_model=run.base_model, method=method)
    return {
        "lines": describe(hyperparameters, defaults) if hyperparameters else [],
        "early_stopping": bool(
            hyperparameters and hyperparameters.early_stopping and hyperparameters.best_metric == "validation_loss"
        ),
        "heads": queries.head_rows(run, hyperparameters.without_heads if hyperparameters else ()),
        "spec_text": reproducible_spec_text(run),
        "model": kept[0][0] if kept else None,
        "kept_weights": kept,
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
    _, run = object_for(request.user, slug, Action.READ, _RUNS, number=number)
    after = positive_int(request.GET.get("after"))
    state: dict[str, Any] = {"live": run.is_live, "status": run.status, "best": run.facts.get("best_step")}
    if not after:
        state["order"] = [field.pattern for field in run.dataset.schema_version.compiled.fields]
    return JsonResponse({**state, **curve_points(run, after)})


@require_POST
def delete_weights(request: SignedInRequest, slug: str, number: int, version: int) -> HttpResponse:
    """Deletes the weights of a model version of a run, unless something needs them."""
    _, run = object_for(request.user, slug, Action.RUN, _RUNS, number=number)
    model = get_object_or_404(run.model_versions, number=version)
    with RefusalMessage(request):
        size = retention.delete_weights(version=model, user=request.user)
        messages.success(request, f"The weights of {model} were deleted ({format_bytes(size)}).")
    return HttpResponseClientRefresh() if is_htmx(request) else redirect(run.get_absolute_url())


@require_safe
def tracker_zip(request: SignedInRequest, slug: str, number: int, name: str) -> HttpResponseBase:
    """The files of a tracker as a streamed zip."""
    project, run = object_for(request.user, slug, Action.READ, TrainingRun, number=number)
    folder = tracker_folder(run, name)
    names = tracker_files(folder) if name in TRACKERS else []
    if not names:
        raise Http404("This run has no files from that tracker.")
    response = StreamingHttpResponse(zip_folder(Folder(folder, tuple(names)), name), content_type="application/zip")
    response["Content-Disposition"] = f'attachment; filename="{project.slug}-run-{run.number}-{name}.zip"'
    return response


@require_safe
def spec_file(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """The RunSpec that reproduces the run; for one that is done, with the precision that was used."""
    project, run = object_for(request.user, slug, Action.READ, TrainingRun, number=number)
    response = HttpResponse(reproducible_spec_text(run), content_type="application/yaml; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{project.slug}-run-{run.number}.yaml"'
    return response


@require_safe
def log_file(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """The log of the run's process as plain text."""
    _, run = object_for(request.user, slug, Action.READ, TrainingRun, number=number)
    path = local_path(f"{run.folder_key}/log.txt")
    text = path.read_text(errors="replace") if path.is_file() else ""
    return HttpResponse(redact_paths(text), content_type="text/plain; charset=utf-8")
