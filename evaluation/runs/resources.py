"""Measuring again what a finished evaluation's model takes: started, found, and kept for gates to judge."""

from typing import Any

from django.contrib.auth.models import User
from django.db import transaction

from evaluation.audit import services as audit_services
from evaluation.comparison.paired import spread
from evaluation.gates.holdout import permits
from evaluation.gates.policy.definition import METRICS, GatePolicy
from evaluation.models import EvalOutput, EvalRun, ResourceMeasurement
from evaluation.runs import run_documents, services
from evaluation.runs.outputs import latencies
from labeling.models import Project, Split
from slmstudio import quotas
from slmstudio.contract.json_text import dumps
from slmstudio.errors import Refused
from slmstudio.runs.models import Status
from slmstudio.storage.hashing import sha256_text

#: measurements that a page lists
SHOWN = 5


@transaction.atomic
def measure_again(*, run: EvalRun, user: User) -> ResourceMeasurement:
    """Queues a measurement of what a finished evaluation takes. Asked twice, the one at work is given back.

    Raises:
        Refused: ``field`` is run; nothing is queued then.
    """
    Project.objects.select_for_update(no_key=True).get(pk=run.project_id)
    live: ResourceMeasurement | None = ResourceMeasurement.objects.filter(eval_run=run).live().first()
    if live is not None:
        return live
    if run.status != Status.DONE:
        raise Refused(f"Evaluation {run.number} is not done, so there is nothing to measure again.", field="run")
    if run.benchmark_id is not None:
        raise Refused("A benchmark has documents of its own and is run again instead: it takes minutes.", field="run")
    obstacle = not_sendable(run) or quotas.compute_problem(run.project)
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
        details={"model": run.subject, "documents": made.progress_total},
    )
    made.enqueue()
    return made


def not_sendable(run: EvalRun) -> str:
    """Why the documents of an evaluation may not be sent to its endpoint now, as a sentence; "" where they may be."""
    endpoint = run.endpoint
    if endpoint is None:
        return ""
    endpoint.refresh_from_db()
    if endpoint.retired_at is not None:
        return f"The endpoint {endpoint} was removed, so nothing more is sent there."
    if others := services.differences(run, services.facts_of(endpoint)):
        return f"The endpoint {endpoint} has another {others} than when it answered. Evaluate it again."
    if run.split == Split.HOLDOUT and permits.of(endpoint) is None:
        return f"Hold-out documents may not be sent to {endpoint}: the owner has to permit that on its page."
    return ""


def newest(run: EvalRun) -> ResourceMeasurement | None:
    """The last finished measurement of an evaluation: the newest one counts, whatever it says."""
    found: ResourceMeasurement | None = ResourceMeasurement.objects.filter(eval_run=run).done().order_by("-pk").first()
    return found


def number_of(measurement: ResourceMeasurement) -> int:
    """Which of the finished measurements of its evaluation this one is, counted from 1."""
    same: Any = ResourceMeasurement.objects.filter(eval_run=measurement.eval_run_id)
    return int(same.done().filter(pk__lte=measurement.pk).count())


def page(run: EvalRun) -> dict[str, Any]:
    """For the evaluation's page: ``rows``, the newest first, and ``live``, the one at work."""
    rows = list(ResourceMeasurement.objects.filter(eval_run=run).select_related("created_by").order_by("-pk")[:SHOWN])
    for row in rows:
        row.eval_run = run
    return {"rows": rows, "live": next((row for row in rows if row.is_live), None)}


def judged_by(policy: GatePolicy) -> bool:
    """Whether a gate of a policy is about what a run takes."""
    return any(not METRICS[gate.metric].spends for gate in policy)


def finish(measurement: ResourceMeasurement, *, requests: list[dict[str, Any]], facts: dict[str, Any]) -> None:
    """Sums a measurement up and ends it well. Done twice it gives the same."""
    ordered = sorted(requests, key=lambda one: int(one["document"]))
    rows = as_outputs(ordered)
    measurement.finish(
        progress_done=len(rows),
        progress_total=len(rows),
        requests=ordered,
        latency=spread(latencies(rows)),
        facts={**measurement.facts, **facts},
        sha256=requests_hash(ordered),
    )


def request_of(document: int, event: dict[str, Any]) -> dict[str, Any]:
    """What is kept of one answer: what it took, and nothing that it said."""
    return {
        "document": document,
        "latency_ms": float(event.get("latency_ms") or 0),
        "prompt_tokens": int(event.get("prompt_tokens") or 0),
        "output_tokens": int(event.get("output_tokens") or 0),
        "finish_reason": str(event.get("finish_reason") or "stop"),
    }


def as_outputs(requests: list[dict[str, Any]], tags: dict[int, list[str]] | None = None) -> list[EvalOutput]:
    """Requests as unsaved outputs without a text, which is how gates read what a run takes."""
    return [
        EvalOutput(
            document_id=int(one["document"]),
            tags=(tags or {}).get(int(one["document"]), []),
            latency_ms=float(one["latency_ms"]),
            prompt_tokens=int(one["prompt_tokens"]),
            output_tokens=int(one["output_tokens"]),
            finish_reason=str(one["finish_reason"]),
        )
        for one in requests
    ]


def requests_hash(requests: list[dict[str, Any]]) -> str:
    """SHA-256 over what each request took; a number is the same however the database writes it."""
    return sha256_text(
        dumps(
            [
                [
                    int(one["document"]),
                    round(1000 * float(one["latency_ms"])),
                    int(one["prompt_tokens"]),
                    int(one["output_tokens"]),
                    str(one["finish_reason"]),
                ]
                for one in requests
            ]
        )
    )
