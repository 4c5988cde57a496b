"""Resource measurements of a finished evaluation: latency, tokens, memory and cost, measured again for gates."""

from typing import Any

from django.contrib.auth.models import User
from django.db import transaction

from evaluation.audit import services as audit_services
from evaluation.models import EvalOutput, EvalRun, ResourceMeasurement
from evaluation.runs import run_documents
from evaluation.runs.services import holdout_obstacle
from evaluation.runs.summary import latencies
from evaluation.stats import distribution
from labeling.models import Project
from slmstudio import quotas
from slmstudio.access import Action, require
from slmstudio.contract.json_text import dumps
from slmstudio.errors import Refused
from slmstudio.runs.models import Status
from slmstudio.storage.hashing import sha256_text

#: measurements that a page lists
MAX_SHOWN = 5


@transaction.atomic
def start_measurement(*, run: EvalRun, user: User) -> ResourceMeasurement:
    """Queues a measurement. Returns the running one where there is one.

    Raises:
        Refused: ``field`` is run; nothing is queued then.
    """
    require(run.project, user, Action.RUN)
    Project.objects.select_for_update(no_key=True).get(pk=run.project_id)
    live: ResourceMeasurement | None = ResourceMeasurement.objects.filter(eval_run=run).live().first()
    if live is not None:
        return live
    if run.status != Status.DONE:
        raise Refused(f"Evaluation {run.number} is not finished. Measure it when it is.", field="run")
    if run.benchmark_id is not None:
        raise Refused("Benchmarks have their own documents. Run the benchmark again instead.", field="run")
    obstacle = send_obstacle(run) or quotas.compute_problem(run.project)
    if obstacle:
        raise Refused(obstacle, field="run")
    made = ResourceMeasurement(
        project=run.project, eval_run=run, created_by=user, progress_total=run_documents.count(run)
    )
    made.full_clean()
    made.save()
    audit_services.record(
        project=run.project,
        user=user,
        action="measured again",
        about=f"evaluation {run.number}",
        details={"model": run.model_label, "documents": made.progress_total},
    )
    made.enqueue()
    return made


def send_obstacle(run: EvalRun) -> str:
    """Why the documents of an evaluation cannot be sent to its model again, as a sentence; "" if they can."""
    backend = run.backend
    if obstacle := backend.obstacle(run.facts):
        return obstacle
    return holdout_obstacle(run.endpoint, run.split) if backend.is_external else ""


def newest(run: EvalRun) -> ResourceMeasurement | None:
    """The newest finished measurement of an evaluation, which is the one that counts."""
    measurement: ResourceMeasurement | None = (
        ResourceMeasurement.objects.filter(eval_run=run).done().order_by("-pk").first()
    )
    return measurement


def measurement_number(measurement: ResourceMeasurement) -> int:
    """Its number among the finished measurements of its evaluation, from 1."""
    same: Any = ResourceMeasurement.objects.filter(eval_run=measurement.eval_run_id)
    return int(same.done().filter(pk__lte=measurement.pk).count())


def page(run: EvalRun) -> dict[str, Any]:
    """For the evaluation's page: ``rows``, newest first, and ``live``, the running one."""
    rows = list(
        ResourceMeasurement.objects.filter(eval_run=run).select_related("created_by").order_by("-pk")[:MAX_SHOWN]
    )
    for row in rows:
        row.eval_run = run
    return {"rows": rows, "live": next((row for row in rows if row.is_live), None)}


def complete(measurement: ResourceMeasurement, *, requests: list[dict[str, Any]], facts: dict[str, Any]) -> None:
    """Summarizes a measurement and marks it as done. Idempotent."""
    ordered = sorted(requests, key=lambda request: int(request["document"]))
    rows = as_outputs(ordered)
    measurement.finish(
        progress_done=len(rows),
        progress_total=len(rows),
        requests=ordered,
        latency=distribution(latencies(rows)),
        facts={**measurement.facts, **facts},
        sha256=requests_hash(ordered),
    )


def request_of(document: int, event: dict[str, Any]) -> dict[str, Any]:
    """What is stored of one output: what it took, not its text."""
    return {
        "document": document,
        "latency_ms": float(event.get("latency_ms") or 0),
        "prompt_tokens": int(event.get("prompt_tokens") or 0),
        "output_tokens": int(event.get("output_tokens") or 0),
        "finish_reason": str(event.get("finish_reason") or "stop"),
    }


def as_outputs(requests: list[dict[str, Any]], tags: dict[int, list[str]] | None = None) -> list[EvalOutput]:
    """Requests as unsaved outputs without text, as gates read them."""
    return [
        EvalOutput(
            document_id=int(request["document"]),
            tags=(tags or {}).get(int(request["document"]), []),
            latency_ms=float(request["latency_ms"]),
            prompt_tokens=int(request["prompt_tokens"]),
            output_tokens=int(request["output_tokens"]),
            finish_reason=str(request["finish_reason"]),
        )
        for request in requests
    ]


def requests_hash(requests: list[dict[str, Any]]) -> str:
    """SHA-256 of ``requests_text``."""
    return sha256_text(requests_text(requests))


def requests_text(requests: list[dict[str, Any]]) -> str:
    """What each request took as JSON, independent of how the database writes numbers: document, microseconds, tokens of
    prompt and output, finish reason."""
    return dumps(
        [
            [
                int(request["document"]),
                round(1000 * float(request["latency_ms"])),
                int(request["prompt_tokens"]),
                int(request["output_tokens"]),
                str(request["finish_reason"]),
            ]
            for request in requests
        ]
    )
