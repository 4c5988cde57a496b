"""Benchmarks over REST: start, wait, read, cancel."""

from typing import Any

from django.http import HttpRequest
from ninja import Router, Status

from evaluation.api.schemas import BenchmarkIn, BenchmarkOut, ModelOut
from evaluation.benchmarks import services
from evaluation.benchmarks.forms import candidate_choices
from labeling.api.access import Slug, caller, object_of, project_of
from labeling.api.operations import operation
from labeling.api.schemas import Before, Items, Page, page
from slmstudio.errors import Refused

router = Router(tags=["benchmarks"])


@router.get("", summary="List benchmarks", operation_id="benchmarks", **operation("read", Page[BenchmarkOut]))
def benchmarks(request: HttpRequest, slug: Slug, before: Before = None) -> Any:
    """The benchmarks of the project, newest first, twenty per page."""
    return page(_rows(request), before, size=20)


@router.get("/models", summary="List candidates", operation_id="benchmark_models", **operation("read", Items[ModelOut]))
def models(request: HttpRequest, slug: Slug) -> Any:
    """The candidates of a benchmark, with the key that selects each."""
    groups = candidate_choices(project_of(request))
    items = [
        {"key": choice.key, "label": choice.name, "group": group}
        for group, choices in groups.items()
        for choice in choices
    ]
    return {"items": items}


@router.post(
    "",
    summary="Create a benchmark",
    operation_id="start_benchmark",
    **operation("evaluate", BenchmarkOut, 400, status=202),
)
def start(request: HttpRequest, slug: Slug, body: BenchmarkIn) -> Any:
    """Evaluates candidates on the same documents in the background: poll the benchmark by number until
    its ``status`` is done. The hold-out is not used.
    """
    project = project_of(request)
    known = {choice.key: choice.candidate for choices in candidate_choices(project).values() for choice in choices}
    if unknown := [key for key in body.models if key not in known]:
        raise Refused(
            f"Model {unknown[0]!r} not found. GET benchmarks/models lists the available models.", field="models"
        )
    benchmark = services.start_benchmark(
        project=project, user=caller(request).user, candidates=[known[key] for key in body.models],
        modes=body.modes, documents=body.documents,
    )  # fmt: skip
    return Status(202, benchmark)


@router.get("/{int:number}", summary="Get a benchmark", operation_id="benchmark", **operation("read", BenchmarkOut))
def benchmark(request: HttpRequest, slug: Slug, number: int) -> Any:
    """The state of a benchmark; its recommendation once it is done, and the figures of each finished run."""
    return object_of(request, _rows(request), number=number)


@router.post(
    "/{int:number}/cancel",
    summary="Cancel a benchmark",
    operation_id="cancel_benchmark",
    **operation("evaluate", BenchmarkOut),
)
def cancel(request: HttpRequest, slug: Slug, number: int) -> Any:
    """Cancels a benchmark with its evaluations; existing results are kept. No effect on one that has ended."""
    row = object_of(request, _rows(request), number=number)
    services.cancel(run=row, user=caller(request).user)
    row.refresh_from_db()
    return row


def _rows(request: HttpRequest) -> Any:
    return project_of(request).benchmarks.select_related("dataset__schema_version")
