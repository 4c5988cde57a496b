"""Pages of the training side: a form, a service, a render."""

from dataclasses import replace
from typing import Any

from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST, require_safe
from django_htmx.http import HttpResponseClientRedirect, HttpResponseClientRefresh, replace_url

from labeling.models import DatasetVersion
from slmstudio.access import Action, object_for, project_for
from slmstudio.artifacts import local_path
from slmstudio.hashing import sha256_text
from slmstudio.runs import LIVE, Status
from training.forms import ChoiceForm, NewRunForm, initial_of
from training.models import BaseModel, LengthReport, TrainingEvent, TrainingRun
from training.presets import METHODS, Knobs, in_words, preset
from training.services import reading
from training.services.runs import Refused, cancel, fitting_knobs, knobs_of, measure_lengths, start_training, train_rows
from training.spec import RunSpec
from training.strict import SpecError

_RUNS = TrainingRun.objects.select_related("dataset__schema_version", "base_model", "created_by", "model_version")
_STATES = {"live": LIVE, "done": (Status.DONE,), "failed": (Status.FAILED, Status.CANCELLED)}


def _htmx(request: HttpRequest) -> bool:
    """Whether htmx asks for a fragment. Going back in the history asks for the whole page."""
    htmx: Any = request.htmx  # type: ignore[attr-defined]
    return bool(htmx) and not htmx.history_restore_request


@require_safe
def runs(request: HttpRequest, slug: str) -> HttpResponse:
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
        "nobody_works": reading.nobody_works("gpu") if live.exists() else "",
        "any": bool(page.object_list) or bool(state) or TrainingRun.objects.filter(project=project).exists(),
        "has_dataset": DatasetVersion.objects.filter(project=project).exists(),
    }
    return render(request, "training/runs.html#table" if _htmx(request) else "training/runs.html", context)


# -- a new run ------------------------------------------------------------------------------------------------------


def new_run(request: HttpRequest, slug: str) -> HttpResponse:
    """The form of a new run; starts it."""
    project = project_for(request.user, slug, Action.RUN)
    if request.method == "POST":
        form = NewRunForm(request.POST, project=project)
        if form.is_valid():
            try:
                run = start_training(
                    project=project,
                    user=request.user,
                    dataset=form.cleaned_data["dataset"],
                    base_model=form.cleaned_data["base_model"],
                    knobs=form.knobs,
                    name=form.cleaned_data["name"],
                )
            except Refused as refusal:
                form.refuse(refusal.errors)
            else:
                address = run.get_absolute_url()
                return HttpResponseClientRedirect(address) if _htmx(request) else redirect(address)
        return _draw_form(request, project, form, status=422)
    return _draw_form(request, project, _fresh_form(request, project))


def _fresh_form(request: HttpRequest, project: Any) -> NewRunForm:
    """A form filled from the run to duplicate, from the address, and from the preset for what is chosen.

    A knob that still has the value of the preset it was shown with follows when the choice, and so the preset, changes.
    """
    asked = request.GET
    source: Any = TrainingRun.objects.filter(project=project, number=_whole(asked.get("from"))).first()
    datasets = DatasetVersion.objects.filter(project=project).order_by("-number")
    dataset = datasets.filter(number=_whole(asked.get("dataset"))).first()
    base_model = BaseModel.objects.filter(slug=_slug(asked.get("base_model"))).first()
    if source is not None:
        dataset, base_model = dataset or source.dataset, base_model or source.base_model
    dataset = dataset or datasets.first()
    base_model = base_model or BaseModel.objects.exclude(sha256="").order_by("-parameters").first()
    base_model = base_model or BaseModel.objects.order_by("-parameters").first()
    method = asked.get("method", "")
    if method not in METHODS:
        method = "lora"
    knobs = fitting_knobs(dataset=dataset, base_model=base_model, method=method) if dataset else Knobs()
    initial: dict[str, Any] = {"name": "", **initial_of(knobs)}
    if source is not None and not _htmx(request):
        spec = _spec_of(source)
        initial |= {"name": source.name, **initial_of(knobs_of(spec) if spec else knobs)}
    shown = _preset_shown(asked.get("was", ""))
    for name in initial if shown else ():
        if name in asked and asked[name] != str(shown.get(name)) and name != "method":
            initial[name] = asked[name]
    if shown and "name" in asked:
        initial["activation_checkpointing"] = "activation_checkpointing" in asked
    choice = {"dataset": dataset.number if dataset else None, "base_model": base_model.slug if base_model else None}
    return NewRunForm(project=project, initial={**initial, **choice})


def _preset_shown(was: str) -> dict[str, Any]:
    """What the form showed before: ``rows:method:sequence length``; nothing where it was not shown yet."""
    rows, _, rest = was.partition(":")
    method, _, limit = rest.partition(":")
    if not (rows.isdecimal() and method in METHODS and limit.isdecimal()):
        return {}
    return initial_of(replace(preset(int(rows), method), max_length=int(limit)))


def _whole(text: str | None) -> int:
    return int(text) if text and text.isdecimal() and len(text) < 10 else 0


def _slug(value: Any) -> str:
    """A slug as far as a database can hold it."""
    return str(value or "").replace("\0", "")


def _draw_form(request: HttpRequest, project: Any, form: NewRunForm, status: int = 200) -> HttpResponse:
    dataset, base_model = _chosen(form, project)
    context: dict[str, Any] = {
        "project": project,
        "form": form,
        "dataset": dataset,
        "base_model": base_model,
        "no_dataset": not DatasetVersion.objects.filter(project=project).exists(),
        "no_model": not BaseModel.objects.exists(),
    }
    if dataset is not None and base_model is not None:
        method = form["method"].value()
        usual = fitting_knobs(dataset=dataset, base_model=base_model, method=method if method in METHODS else "lora")
        context |= {
            "was": f"{train_rows(dataset)}:{usual.method}:{usual.max_length}",
            "usual": initial_of(usual),
            **_lengths_context(dataset, base_model),
        }
    template = "training/new.html#form" if _htmx(request) else "training/new.html"
    response = render(request, template, context, status=status)
    if _htmx(request) and request.method == "GET" and dataset is not None and base_model is not None:
        address = f"{request.path}?dataset={dataset.number}&base_model={base_model.slug}"
        return replace_url(response, address + ("&method=full" if form["method"].value() == "full" else ""))
    return response


def _chosen(form: NewRunForm, project: Any) -> tuple[DatasetVersion | None, BaseModel | None]:
    """The dataset and base model a form names, valid or not."""
    number, slug = form["dataset"].value(), form["base_model"].value()
    dataset = DatasetVersion.objects.filter(project=project, number=_whole(str(number))).first()
    return dataset, BaseModel.objects.filter(slug=_slug(slug)).first()


def _lengths_context(dataset: DatasetVersion, base_model: BaseModel) -> dict[str, Any]:
    report = LengthReport.objects.select_related("base_model").filter(dataset=dataset, base_model=base_model).first()
    known = report is not None and report.current
    wanted = report is None or (not known and report.status in (Status.DONE, Status.CANCELLED))
    return {
        "report": report,
        "lengths": reading.lengths_of(report) if report is not None and known else None,
        "lengths_wanted": wanted and train_rows(dataset) > 0,
        "lengths_nobody": reading.nobody_works("default") if report is not None and report.is_live else "",
        "can_start": known,
    }


def lengths(request: HttpRequest, slug: str) -> HttpResponse:
    """The length report of a dataset and a base model: GET shows it, POST asks for it to be measured."""
    project = project_for(request.user, slug, Action.RUN)
    form = ChoiceForm(request.POST if request.method == "POST" else request.GET, project=project)
    context: dict[str, Any] = {"project": project, "swap_start": True, "problem": ""}
    if not form.is_valid():
        context["problem"] = " ".join(str(message) for messages in form.errors.values() for message in messages)
        return render(request, "training/new.html#lengths", context, status=422)
    dataset, base_model = form.cleaned_data["dataset"], form.cleaned_data["base_model"]
    if request.method == "POST":
        try:
            measure_lengths(dataset=dataset, base_model=base_model, user=request.user)
        except Refused as refusal:
            context["problem"] = refusal.message
            return render(request, "training/new.html#lengths", context, status=422)
    context |= {"dataset": dataset, "base_model": base_model, **_lengths_context(dataset, base_model)}
    return render(request, "training/new.html#lengths", context)


# -- one run --------------------------------------------------------------------------------------------------------


@require_safe
def run_page(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    """A run: progress, curves, warnings, samples, log, spec, artifacts, lineage. Its parts refresh themselves."""
    project, run = object_for(request.user, slug, Action.READ, _RUNS, number=number)
    context: dict[str, Any] = {"project": project, "run": run}
    part = request.GET.get("part")
    if _htmx(request) and part in _PART_CONTEXTS:
        seen = _whole(request.GET.get("seen"))
        if part == "head" and not run.is_live:
            return HttpResponseClientRefresh()  # the whole page changes when a run ends
        context |= _PART_CONTEXTS[part](run, request)
        if part in ("samples", "log") and context["seen"] == seen and "step" not in request.GET:
            return HttpResponse(status=204)
        return render(request, f"training/run.html#{part}", context)
    for name in ("side", "samples", "log"):  # the side's holds the head's
        context |= _PART_CONTEXTS[name](run, request)
    return render(request, "training/run.html", {**context, **_spec_context(run)})


def _head(run: TrainingRun, request: HttpRequest) -> dict[str, Any]:
    last = run.events.filter(kind=TrainingEvent.Kind.METRICS).order_by("-step").first()
    return {
        "last": last.data if last else {},
        "seconds_left": last.data.get("seconds_left") if last and run.status == Status.RUNNING else None,
        "ahead": reading.waiting_place(run) if run.status == Status.QUEUED else 0,
        "nobody_works": reading.nobody_works("gpu") if run.status == Status.QUEUED else "",
    }


def _side(run: TrainingRun, request: HttpRequest) -> dict[str, Any]:
    validation = run.events.filter(kind=TrainingEvent.Kind.VALIDATION).order_by("-step").first()
    return {
        **_head(run, request),
        "validation": validation.data if validation else {},
        "warnings": list(run.events.filter(kind=TrainingEvent.Kind.WARNING).order_by("step")),
    }


def _samples(run: TrainingRun, request: HttpRequest) -> dict[str, Any]:
    step = request.GET.get("step")
    found = reading.sampling(run, _whole(step) if step else None)
    ids = {sample.id for sample in found.samples} if found else set()
    return {
        "sampling": found,
        "golds": reading.golds(run.dataset, ids) if ids else {},
        "seen": found.last if found else 0,
    }


def _log(run: TrainingRun, request: HttpRequest) -> dict[str, Any]:
    text, size = reading.log_tail(run)
    return {"log": text, "seen": size, "log_size": size}


_PART_CONTEXTS = {"head": _head, "log": _log, "samples": _samples, "side": _side}


def _spec_of(run: TrainingRun) -> RunSpec | None:
    """The spec of a run; None where it is of a form that this version does not know."""
    try:
        return RunSpec.from_yaml(run.spec)
    except SpecError:
        return None


def _spec_context(run: TrainingRun) -> dict[str, Any]:
    spec = _spec_of(run)
    knobs = knobs_of(spec) if spec else None
    method = knobs.method if knobs else "lora"
    usual = fitting_knobs(dataset=run.dataset, base_model=run.base_model, method=method)
    return {
        "lines": in_words(knobs, usual) if knobs else [],
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
def curves(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    """Points of the curves with an event id above ``after``, as JSON."""
    _, run = object_for(request.user, slug, Action.READ, TrainingRun, number=number)
    points = reading.curve_points(run, _whole(request.GET.get("after")))
    return JsonResponse({"live": run.is_live, "status": run.status, **points})


@require_POST
def cancel_run(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    """Stops a run; nothing happens where it has ended already."""
    _, run = object_for(request.user, slug, Action.RUN, TrainingRun, number=number)
    cancel(run)
    return HttpResponseClientRefresh() if _htmx(request) else redirect(run.get_absolute_url())


@require_safe
def spec_file(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    """The RunSpec as the file that reproduces the run."""
    project, run = object_for(request.user, slug, Action.READ, TrainingRun, number=number)
    response = HttpResponse(run.spec, content_type="application/yaml; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{project.slug}-run-{run.number}.yaml"'
    return response


@require_safe
def log_file(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    """All that the run's process wrote beside its events, as plain text."""
    _, run = object_for(request.user, slug, Action.READ, TrainingRun, number=number)
    path = local_path(f"{run.folder_key}/log.txt")
    text = path.read_text(errors="replace") if path.is_file() else ""
    return HttpResponse(text, content_type="text/plain; charset=utf-8")
