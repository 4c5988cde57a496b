"""Evaluations over REST: start, wait, read, cancel."""

from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError
from django.http import HttpRequest
from ninja import Query, Router, Status

from evaluation.api.schemas import EvaluationIn, EvaluationOut, ModelOut, UnconfirmedOut
from evaluation.gates.holdout.price import evaluation_price
from evaluation.models import EvalRun
from evaluation.runs import services
from evaluation.runs.model_choices import model_choices
from labeling.api.access import Slug, caller, object_of, project_of
from labeling.api.operations import operation
from labeling.api.problems import Problem, field_problem
from labeling.api.schemas import Before, Items, Page, Text, page
from labeling.models import Project, Split
from slmstudio.errors import Refused

router = Router(tags=["evaluations"])
_KEY = "Idempotency-Key"
_MAX_KEY = 200


@router.get("", summary="List evaluations", operation_id="evaluations", **operation("read", Page[EvaluationOut]))
def evaluations(
    request: HttpRequest,
    slug: Slug,
    split: Text = Query("", description="only evaluations of this split"),  # type: ignore[type-arg]
    before: Before = None,
) -> Any:
    """The evaluations of the project, newest first, fifty per page."""
    rows = _rows(project_of(request))
    return page(rows.filter(split=split) if split else rows, before)


@router.get("/models", summary="List models", operation_id="evaluation_models", **operation("read", Items[ModelOut]))
def models(request: HttpRequest, slug: Slug) -> Any:
    """The models that can be evaluated, with the key that starts an evaluation of each."""
    groups = model_choices(project_of(request))
    items = [
        {"key": choice.key, "label": choice.label, "group": group}
        for group, choices in groups.items()
        for choice in choices
    ]
    return {"items": items}


@router.post(
    "",
    summary="Create an evaluation",
    operation_id="start_evaluation",
    **operation("evaluate", EvaluationOut, 400, status=202, also={200: EvaluationOut, 409: UnconfirmedOut}),
)
def start(request: HttpRequest, slug: Slug, body: EvaluationIn) -> Any:
    """Evaluates a model in the background: poll the evaluation by number until its ``status`` is done.

    An evaluation on the hold-out needs ``confirm_holdout``; without it the response is 409 with the price, and nothing
    is started. With the header `Idempotency-Key`, a request that is sent again gets the first evaluation (200).
    """
    project = project_of(request)
    key = request.headers.get(_KEY, "")
    if len(key) > _MAX_KEY or not key.isprintable():
        raise field_problem(_KEY, f"{_KEY} can have up to {_MAX_KEY} characters.")
    if (earlier := _with_key(project, key)) is not None:
        return Status(200, _same(earlier, body))
    try:
        run = _start(project, caller(request).user, body, key)
    except (IntegrityError, ValidationError):  # the same key in two requests
        earlier = _with_key(project, key)
        if earlier is None:
            raise
        return Status(200, _same(earlier, body))
    return Status(202, run)


def _start(project: Project, user: Any, body: EvaluationIn, key: str) -> EvalRun:
    groups = model_choices(project, keep=body.model).values()
    model = next((choice.model for group in groups for choice in group if choice.key == body.model), None)
    if model is None:
        raise Refused(
            f"Model {body.model} not found. GET evaluations/models lists the available models.", field="model"
        )
    datasets = project.datasets.select_related("schema_version").order_by("-number")
    dataset = (datasets if body.dataset is None else datasets.filter(number=body.dataset)).first()
    if dataset is None:
        raise Refused("Dataset version not found.", field="dataset")
    if body.split == Split.HOLDOUT and not body.confirm_holdout:
        price = evaluation_price(dataset, model)
        raise Problem(
            409,
            f"Confirm the price of an evaluation on the hold-out with confirm_holdout: {price.sentence}",
            more={
                "code": "holdout_not_confirmed",
                "price": {"number": price.number, "sentence": price.sentence},
            },
        )
    return services.start_evaluation(
        project=project, user=user, dataset=dataset, model=model, split=body.split, mode=body.mode,
        concurrency=body.concurrency, idempotency_key=key, confirm_holdout=body.confirm_holdout,
    )  # fmt: skip


def _with_key(project: Project, key: str) -> EvalRun | None:
    run: EvalRun | None = _rows(project).filter(idempotency_key=key).first() if key else None
    return run


def _same(run: EvalRun, body: EvaluationIn) -> EvalRun:
    """The evaluation that a key started, if the request is the same."""
    was = (run.backend.choice_key, run.dataset.number, run.split, run.mode)
    if was != (body.model, body.dataset or run.dataset.number, body.split, body.mode):
        raise Problem(
            409,
            f"The idempotency key was already used for evaluation {run.number} with different settings.",
            more={"code": "idempotency_key"},
        )
    return run


@router.get("/{int:number}", summary="Get an evaluation", operation_id="evaluation", **operation("read", EvaluationOut))
def evaluation(request: HttpRequest, slug: Slug, number: int) -> Any:
    """The state of an evaluation, and its figures once it is done."""
    return object_of(request, _rows(project_of(request)), number=number)


@router.post(
    "/{int:number}/cancel",
    summary="Cancel an evaluation",
    operation_id="cancel_evaluation",
    **operation("evaluate", EvaluationOut),
)
def cancel(request: HttpRequest, slug: Slug, number: int) -> Any:
    """Cancels a queued evaluation at once and asks a running one to stop. No effect on one that has ended."""
    run = object_of(request, _rows(project_of(request)), number=number)
    services.cancel(run=run, user=caller(request).user)
    return run


def _rows(project: Any) -> Any:
    rows = project.eval_runs.with_model().select_related("rescored_from")
    return rows.prefetch_related("gate_reports").defer("spec")
