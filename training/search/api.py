"""Hyperparameter searches over REST: start, wait, read, stop."""

from dataclasses import replace
from typing import Annotated, Any

from django.http import HttpRequest, HttpResponse
from ninja import Router
from pydantic import Field

from labeling.api.access import Slug, caller, object_of, project_of
from labeling.api.operations import operation
from labeling.api.problems import refusal_problem
from labeling.api.schemas.base import In, Number, Out, Text, Whole
from labeling.api.wire import answer
from slmstudio.errors import Refused
from training.models import Search, Trial
from training.runs.queries import newest_dataset
from training.search import services
from training.search.spec import SearchSpec
from training.strict_yaml import SpecError, build

router = Router(tags=["training"])


class SpaceIn(In):
    """The values that are tried; those of LoRA where a name is missing."""

    learning_rate: list[Number] | None = Field(None, description="lowest and highest, on a logarithmic scale")
    epochs: list[Whole] | None = Field(None, description="lowest and highest")
    lora_r: list[Whole] | None = Field(None, description="LoRA ranks")
    method: list[Text] | None = Field(None, description="lora, qlora, full")
    batch: list[Whole] | None = Field(None, description="documents per optimizer step")


class SearchIn(In):
    """A search. Numbers have the limits of the form."""

    base_model: Annotated[Text, Field(max_length=200, description="slug of a prepared base model")]
    hours: Annotated[Number, Field(description="training time of all trials together, times their GPUs")]
    dataset: Whole | None = Field(None, description="number of the dataset version; null: the newest")
    name: Annotated[Text, Field(max_length=120)] = ""
    trials: Whole | None = None
    parallel: Whole | None = None
    documents: Whole | None = Field(None, description="validation documents scored at each evaluation")
    seconds: Whole | None = Field(None, description="time limit of the scoring of an evaluation")
    seed: Whole | None = None
    keep: Whole | None = Field(None, description="number of best complete trials that keep their models; null: one")
    space: SpaceIn | None = Field(None, description="null: the recommended method and ranges around its preset")


class TrialOut(Out):
    """A trial. ``run``: the number of its training run; ``value``: field accuracy on validation documents."""

    number: int
    state: str = Field(description="running, complete, pruned, failed or cancelled")
    parameters: dict[str, Any]
    value: float | None
    values: list[float] = Field(description="field accuracy at each evaluation")
    run: int | None
    error: str


class SearchOut(Out):
    """A search with its trials. ``best``: the number of the best complete trial."""

    number: int
    name: str
    dataset: int
    base_model: str
    status: str = Field(description="running, done, failed or cancelled")
    outcome: str = Field(description="why it ended")
    error: str
    hours: float
    hours_used: float
    best: int | None
    trials: list[TrialOut]
    page: str


class SearchesOut(Out):
    """Searches without their trials' values."""

    items: list[SearchOut]


@router.get("", summary="List searches", operation_id="searches", **operation("read", SearchesOut))
def searches(request: HttpRequest, slug: Slug) -> HttpResponse:
    """The fifty newest hyperparameter searches of the project."""
    found = list(Search.objects.of_project(project_of(request)).prefetch_related("trials__run")[:50])
    return answer({"items": [_out(search) for search in found]})


@router.post(
    "", summary="Create a search", operation_id="start_search", **operation("train", SearchOut, 400, status=202)
)
def start(request: HttpRequest, slug: Slug, body: SearchIn) -> HttpResponse:
    """Searches hyperparameters in the background: poll it by number until its ``status`` is not running."""
    project = project_of(request)
    values = body.model_dump(exclude_none=True)
    name = values.pop("name")
    if "dataset" not in values and (newest := newest_dataset(project)) is not None:
        values["dataset"] = newest.number
    try:
        try:
            spec = build(SearchSpec, values)
            if body.space is None:
                spec = replace(spec, space=services.default_space(*services.inputs_of(project, spec)))
        except SpecError as error:
            raise Refused(str(error), field=error.field) from error
        search = services.start_search(project=project, user=caller(request).user, spec=spec, name=name)
    except Refused as refusal:
        raise refusal_problem(refusal, {}) from refusal
    return answer(_out(search), 202)


@router.get("/{int:number}", summary="Get a search", operation_id="search", **operation("read", SearchOut))
def read(request: HttpRequest, slug: Slug, number: int) -> HttpResponse:
    """A search with its trials."""
    return answer(_out(object_of(request, _rows(), number=number)))


@router.post(
    "/{int:number}/stop", summary="Cancel a search", operation_id="stop_search", **operation("train", SearchOut, 400)
)
def stop(request: HttpRequest, slug: Slug, number: int) -> HttpResponse:
    """Stops a search: its live runs are cancelled, the best trial so far is kept. Idempotent."""
    search = object_of(request, _rows(), number=number)
    services.stop(search=search, user=caller(request).user)
    return answer(_out(_rows().get(pk=search.pk)))


def _rows() -> Any:
    return Search.objects.select_related("project", "dataset", "base_model").prefetch_related("trials__run")


def _out(search: Search) -> dict[str, Any]:
    trials = sorted(search.trials.all(), key=lambda trial: trial.number)
    best = services.best_trial(trials)
    return {
        "number": search.number,
        "name": search.name,
        "dataset": search.dataset.number,
        "base_model": search.base_model.slug,
        "status": search.status,
        "outcome": search.outcome,
        "error": search.error,
        "hours": services.spec_of(search).hours,
        "hours_used": round(services.used_hours(search, trials), 4),
        "best": best.number if best is not None else None,
        "trials": [_trial(trial) for trial in trials],
        "page": search.get_absolute_url(),
    }


def _trial(trial: Trial) -> dict[str, Any]:
    return {
        "number": trial.number,
        "state": trial.state,
        "parameters": trial.parameters,
        "value": trial.value,
        "values": trial.values,
        "run": trial.run.number if trial.run is not None else None,
        "error": trial.error,
    }
