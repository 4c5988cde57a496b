"""Starting a run: the form, the lengths and the estimate beside it, and a spec that was written elsewhere."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe
from django_htmx.http import HttpResponseClientRedirect, replace_url

from labeling.models import DatasetVersion
from slmstudio.access import Action, project_for
from slmstudio.errors import Refused
from slmstudio.runs.models import Status
from slmstudio.web.body_limits import takes_files
from slmstudio.web.requests import SignedInRequest
from training.base_models.downloads import pull
from training.estimates.advice import all_weights_advice
from training.estimates.services import estimate_for
from training.http import is_htmx, slug_in, whole
from training.models import BaseModel, LengthReport, ModelPull, TrainingRun
from training.runs import queries, spec_import
from training.runs.curves import spec_of
from training.runs.forms import FIELD_OF, ChoiceForm, NewRunForm, initial_of
from training.runs.presets import METHODS, Knobs, preset, task_of
from training.runs.reproduction import as_it_ran
from training.runs.services import (
    early_stopping_problem,
    fitting_knobs,
    knobs_of,
    measure_lengths,
    start_training,
    train_rows,
)

#: what the folded knobs do, where their name does not say it
_HINTS = {
    "lora_alpha": "Twice the rank is usual.",
    "at_once": "The rest of a batch is accumulated. Fewer takes less memory.",
    "too_long": "Documents are never cut.",
    "early_stopping": "Ends after so many looks without a lower validation loss and keeps the best. Empty is off.",
    "devices": "They share each step.",
}


def new_run(request: SignedInRequest, slug: str) -> HttpResponse:
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
                return HttpResponseClientRedirect(address) if is_htmx(request) else redirect(address)
        return _draw_form(request, project, form, status=422)
    return _draw_form(request, project, _fresh_form(request, project))


def _fresh_form(request: SignedInRequest, project: Any) -> NewRunForm:
    """A form filled from the run to duplicate, from the address, and from the preset for what is chosen.

    A knob that still has the value of the preset it was shown with follows when the choice, and so the preset, changes.
    """
    asked = request.GET
    source: Any = TrainingRun.objects.filter(project=project, number=whole(asked.get("from"))).first()
    datasets = DatasetVersion.objects.filter(project=project).order_by("-number").select_related("schema_version")
    dataset = datasets.filter(number=whole(asked.get("dataset"))).first()
    base_model = BaseModel.objects.filter(slug=slug_in(asked.get("base_model"))).first()
    if source is not None:
        dataset, base_model = dataset or source.dataset, base_model or source.base_model
    dataset = dataset or datasets.first()
    usual = BaseModel.objects.order_by("-instruction_tuned", "-parameters")
    base_model = base_model or usual.exclude(sha256="").first()
    # what has to be downloaded first is nobody's default where something is here
    base_model = base_model or usual.exclude(source=BaseModel.Source.HUB).first() or usual.first()
    method = asked.get("method", "")
    if method not in METHODS:
        method = "lora"
    knobs = fitting_knobs(dataset=dataset, base_model=base_model, method=method) if dataset else Knobs()
    initial: dict[str, Any] = {"name": "", **initial_of(knobs)}
    if source is not None and not is_htmx(request):
        spec = spec_of(source)
        initial |= {"name": source.name, **initial_of(knobs_of(as_it_ran(source, spec)) if spec else knobs)}
    initial |= _touched(request, initial)
    choice = {"dataset": dataset.number if dataset else None, "base_model": base_model.slug if base_model else None}
    return NewRunForm(project=project, initial={**initial, **choice})


def _touched(request: SignedInRequest, initial: dict[str, Any]) -> dict[str, Any]:
    """What the address says of the knobs and does not only say because the preset shown before had it."""
    asked, shown = request.GET, _preset_shown(request.GET.get("was", ""))
    if not shown:
        return {}
    touched: dict[str, Any] = {
        name: asked[name]
        for name in initial
        if name in asked and name not in ("method", "trackers") and asked[name] != str(shown.get(name))
    }
    if "name" in asked:  # an unticked box is not sent at all
        touched["activation_checkpointing"] = "activation_checkpointing" in asked
        touched["trackers"] = asked.getlist("trackers")
    return touched


def _preset_shown(was: str) -> dict[str, Any]:
    """What the form showed before: ``rows:method:sequence length:task``; nothing where it was not shown yet."""
    rows, method, limit, task = [*was.split(":"), "", "", "", ""][:4]
    if not (rows.isdecimal() and method in METHODS and limit.isdecimal() and len(limit) < 10 and len(rows) < 10):
        return {}
    known: Any = task if task in ("extraction", "classification", "redaction") else "extraction"
    return initial_of(replace(preset(int(rows), method, known), max_length=int(limit)))


def _was(dataset: DatasetVersion, usual: Knobs) -> str:
    task = task_of(dataset.schema_version.compiled.fields)
    return f"{train_rows(dataset)}:{usual.method}:{usual.max_length}:{task}"


def _draw_form(
    request: SignedInRequest, project: Any, form: NewRunForm, status: int = 200, spec_problems: Sequence[str] = ()
) -> HttpResponse:
    dataset, base_model = _chosen(form, project)
    context: dict[str, Any] = {
        "project": project,
        "form": form,
        "dataset": dataset,
        "base_model": base_model,
        "no_dataset": not DatasetVersion.objects.filter(project=project).exists(),
        "no_model": not BaseModel.objects.exists(),
        "spec_problems": spec_problems,
        "hints": _HINTS,
    }
    if dataset is not None and base_model is not None:
        method = form["method"].value()
        usual = fitting_knobs(dataset=dataset, base_model=base_model, method=method if method in METHODS else "lora")
        context |= {
            "was": _was(dataset, usual),
            "usual": initial_of(usual),
            "task": task_of(dataset.schema_version.compiled.fields),
            **_lengths_context(dataset, base_model),
        }
    template = "training/runs/new.html#form" if is_htmx(request) else "training/runs/new.html"
    response = render(request, template, context, status=status)
    if is_htmx(request) and request.method == "GET" and dataset is not None and base_model is not None:
        address = f"{request.path}?dataset={dataset.number}&base_model={base_model.slug}"
        method = form["method"].value()
        return replace_url(response, address + (f"&method={method}" if method in ("full", "qlora") else ""))
    return response


def _chosen(form: NewRunForm, project: Any) -> tuple[DatasetVersion | None, BaseModel | None]:
    """The dataset and base model a form names, valid or not."""
    number, slug = form["dataset"].value(), form["base_model"].value()
    datasets = DatasetVersion.objects.filter(project=project, number=whole(str(number)))
    return datasets.select_related("schema_version").first(), BaseModel.objects.filter(slug=slug_in(slug)).first()


def _lengths_context(dataset: DatasetVersion, base_model: BaseModel) -> dict[str, Any]:
    report = LengthReport.objects.select_related("base_model").filter(dataset=dataset, base_model=base_model).first()
    known = report is not None and report.current
    wanted = report is None or (not known and report.status in (Status.DONE, Status.CANCELLED))
    fetching = train_rows(dataset) > 0 and not base_model.here
    found = ModelPull.objects.filter(base_model=base_model).first() if fetching else None
    return {
        "to_fetch": fetching,
        "fetch_size": base_model.size_bytes or 2 * base_model.parameters,
        "pull": found,
        "pull_nobody": queries.nobody_works(found.queue_name) if found is not None and found.is_live else "",
        "report": report,
        "lengths": queries.lengths_of(report) if report is not None and known else None,
        "lengths_wanted": wanted and train_rows(dataset) > 0 and not fetching,
        "lengths_nobody": queries.nobody_works("default") if report is not None and report.is_live else "",
        "can_start": known and not fetching,
    }


def lengths(request: SignedInRequest, slug: str) -> HttpResponse:
    """The length report of a dataset and a base model: GET shows it, POST asks for it to be measured.

    ``?fetch=``: POST has the base model fetched first, or with ``stop`` no more; that is never done unasked.
    """
    project = project_for(request.user, slug, Action.RUN)
    form = ChoiceForm(request.POST if request.method == "POST" else request.GET, project=project)
    context: dict[str, Any] = {"project": project, "swap_start": True, "problem": ""}
    if not form.is_valid():
        context["problem"] = " ".join(str(message) for messages in form.errors.values() for message in messages)
        return render(request, "training/runs/new.html#lengths", context, status=422)
    dataset, base_model = form.cleaned_data["dataset"], form.cleaned_data["base_model"]
    if request.method == "POST":
        try:
            _ask(request, dataset, base_model)
        except Refused as refusal:
            context["problem"] = refusal.message
            return render(request, "training/runs/new.html#lengths", context, status=422)
    context |= {"dataset": dataset, "base_model": base_model, **_lengths_context(dataset, base_model)}
    return render(request, "training/runs/new.html#lengths", context)


def _ask(request: SignedInRequest, dataset: DatasetVersion, base_model: BaseModel) -> None:
    match request.GET.get("fetch"):
        case None:
            measure_lengths(dataset=dataset, base_model=base_model, user=request.user)
        case "stop":
            if (found := ModelPull.objects.filter(base_model=base_model).first()) is not None:
                found.cancel()
        case _ if not base_model.here:
            pull(base_model=base_model, user=request.user)


# -- what it will cost ----------------------------------------------------------------------------------------------


@require_safe
def estimate(request: SignedInRequest, slug: str) -> HttpResponse:
    """What a run with these knobs would cost in memory, time and disk, and beside each knob why it cannot be."""
    project = project_for(request.user, slug, Action.RUN)
    form = NewRunForm(request.GET, project=project)
    context: dict[str, Any] = {"project": project, "form": form, "slots": form.shown}
    if not form.is_valid():
        # What is wrong is said beside its knob at once, and not only when the run is to be started.
        wrong = {name: messages[0] for name, messages in form.errors.items() if request.GET.get(name)}
        context["said"] = {name: {"words": words} for name, words in wrong.items()}
        return render(request, "training/runs/estimate.html", context)
    dataset, base_model = form.cleaned_data["dataset"], form.cleaned_data["base_model"]
    order: dict[str, Any] = {"dataset": dataset, "base_model": base_model, "knobs": form.knobs}
    found = estimate_for(**order)
    context["estimate"] = found
    said: dict[str, Any] = {}
    if found is not None:
        context["parts"] = _parts(found)
        said = {
            FIELD_OF.get(knob, knob): {"words": words, "value": found.turn.get(knob)}
            for knob, words in found.refusals.items()
        }
    if why := early_stopping_problem(**order):
        said["early_stopping"] = {"words": why}
    context["said"] = said
    if found is not None and found.fits and (better := all_weights_advice(**order)):
        context["advice"] = {"method": {"words": better, "value": "full", "label": "full fine-tuning"}}
    return render(request, "training/runs/estimate.html", context)


def _parts(found: Any) -> list[dict[str, Any]]:
    """The parts of the memory with their share of the bar, which is as long as the limit or the sum, what is more."""
    whole_bar = max(found.memory_bytes, found.memory_limit or 0) or 1
    return [
        {"title": part.title, "bytes": part.bytes, "width": round(100 * part.bytes / whole_bar, 2), "tone": index % 6}
        for index, part in enumerate(found.parts)
        if part.bytes
    ]


# -- a spec written elsewhere ---------------------------------------------------------------------------------------


@takes_files(2**20, "django.core.files.uploadhandler.MemoryFileUploadHandler")
@require_POST
def from_spec(request: SignedInRequest, slug: str) -> HttpResponse:
    """Fills the form from a RunSpec in YAML. Starts nothing: the person still does."""
    project = project_for(request.user, slug, Action.RUN)
    file = request.FILES.get("spec")
    try:
        proposal = spec_import.read_spec(project=project, text=_text_of(file))
    except Refused as refusal:
        problems = list(refusal.errors.values())
        return _draw_form(request, project, _fresh_form(request, project), status=422, spec_problems=problems)
    values = initial_of(proposal.knobs)
    trackers, checkpointing = values.pop("trackers"), values.pop("activation_checkpointing")
    values |= {"dataset": proposal.dataset.number, "base_model": proposal.base_model.slug, "name": ""}
    if checkpointing:
        values["activation_checkpointing"] = "on"
    usual = fitting_knobs(dataset=proposal.dataset, base_model=proposal.base_model, method=proposal.knobs.method)
    values["was"] = _was(proposal.dataset, usual)
    address = urlencode([*values.items(), *(("trackers", one) for one in trackers)])
    messages.info(request, "The form is filled in from the file. Nothing has been started yet.")
    return redirect(f"{reverse('training_new', args=[project.slug])}?{address}")


def _text_of(file: UploadedFile | Any) -> str:
    if file is None:
        raise Refused("Choose a YAML file first.", field="spec")
    if (file.size or 0) > spec_import.MOST:
        raise Refused(f"The file has more than {spec_import.MOST:,} bytes; a RunSpec has a few thousand.", field="spec")
    try:
        return bytes(file.read()).decode()
    except UnicodeDecodeError as error:
        raise Refused("The file is not UTF-8 text.", field="spec") from error
