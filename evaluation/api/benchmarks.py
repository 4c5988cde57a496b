"""Benchmarks over REST: start, wait, read, cancel."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from ninja import Query, Router

from evaluation.api.schemas import BenchmarkIn, BenchmarkOut, BenchmarksOut, ModelsOut
from evaluation.benchmarks import results, services
from evaluation.benchmarks.forms import candidate_choices
from evaluation.models import Benchmark, EvalRun
from labeling.api.access import Slug, caller, object_of, project_of
from labeling.api.operations import operation
from labeling.api.problems import refusal_problem
from labeling.api.wire import answer, at
from slmstudio.errors import Refused
from slmstudio.web.paging import page

router = Router(tags=["benchmarks"])
PER_PAGE = 20


@router.get("", summary="List benchmarks", operation_id="benchmarks", **operation("read", BenchmarksOut))
def benchmarks(
    request: HttpRequest,
    slug: Slug,
    before: int | None = Query(None, ge=1, lt=2**63),  # type: ignore[type-arg]
) -> HttpResponse:
    """The benchmarks of the project, newest first, twenty per page."""
    found = page(_rows().filter(project=project_of(request)), after=before, newest=True, size=PER_PAGE)
    return answer({"items": [_out(row) for row in found.rows], "next_before": found.after})


@router.get("/models", summary="List candidates", operation_id="benchmark_models", **operation("read", ModelsOut))
def models(request: HttpRequest, slug: Slug) -> HttpResponse:
    """The candidates of a benchmark, with the key that selects each."""
    groups = candidate_choices(project_of(request))
    items = [{"key": one.key, "label": one.name, "group": group} for group, found in groups.items() for one in found]
    return answer({"items": items})


@router.post(
    "",
    summary="Create a benchmark",
    operation_id="start_benchmark",
    **operation("evaluate", BenchmarkOut, 400, status=202),
)
def start(request: HttpRequest, slug: Slug, body: BenchmarkIn) -> HttpResponse:
    """Evaluates candidates on the same documents in the background: poll the benchmark by number until
    its ``status`` is done. The hold-out is not used.
    """
    project = project_of(request)
    known = {one.key: one.candidate for found in candidate_choices(project).values() for one in found}
    try:
        unknown = [key for key in body.models if key not in known]
        if unknown:
            raise Refused(
                f"Model {unknown[0]!r} not found. GET benchmarks/models lists the available models.", field="models"
            )
        made = services.start_benchmark(
            project=project, user=caller(request).user, candidates=[known[key] for key in body.models],
            modes=body.modes, documents=body.documents,
        )  # fmt: skip
    except Refused as refusal:
        raise refusal_problem(refusal, {}) from refusal
    return answer(_out(made), 202)


@router.get("/{int:number}", summary="Get a benchmark", operation_id="benchmark", **operation("read", BenchmarkOut))
def benchmark(request: HttpRequest, slug: Slug, number: int) -> HttpResponse:
    """The state of a benchmark; its recommendation once it is done, and the figures of each finished run."""
    return answer(_out(object_of(request, _rows(), number=number)))


@router.post(
    "/{int:number}/cancel",
    summary="Cancel a benchmark",
    operation_id="cancel_benchmark",
    **operation("evaluate", BenchmarkOut),
)
def cancel(request: HttpRequest, slug: Slug, number: int) -> HttpResponse:
    """Cancels a benchmark with its evaluations; existing results are kept. No effect on one that has ended."""
    row = object_of(request, _rows(), number=number)
    services.cancel(run=row, user=caller(request).user)
    row.refresh_from_db()
    return answer(_out(row))


def _rows() -> Any:
    return Benchmark.objects.select_related("project", "dataset__schema_version")


def _out(row: Benchmark) -> dict[str, Any]:
    runs = list(EvalRun.objects.filter(benchmark=row).with_model().order_by("number"))
    report = results.as_report(row, runs)
    return {
        "number": row.number,
        "dataset": row.dataset.number,
        "documents": len(row.documents),
        "status": str(row.status),
        "error": row.error,
        "recommendation": report["recommendation"] or None,
        "runs": report["runs"],
        "url": row.get_absolute_url(),
        "created_at": at(row.created_at),
        "finished_at": at(row.finished_at),
    }
