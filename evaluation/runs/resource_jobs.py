"""The job of a resource measurement: generates the outputs of an evaluation again and keeps only what that took."""

import logging
import time
from collections.abc import Iterator
from typing import Any

from evaluation.inference.backend import ModelUnavailable, Output
from evaluation.inference.circuit_breaker import EndpointError
from evaluation.models import EvalRun, ResourceMeasurement
from evaluation.runs import outputs, resources, run_documents
from evaluation.runs.tasks import evaluation_task
from labeling.models import Document, Split
from slmstudio.database.transactions import UNAVAILABLE, with_retries
from slmstudio.errors import Refused
from slmstudio.runs.supervisor import Event

logger = logging.getLogger(__name__)
#: seconds between two updates of the progress
PROGRESS_SECONDS = 1.0
#: parts of the events of a backend that are no facts
_NO_FACTS = ("event", "sha256")


def run_measurement(pk: int) -> None:
    """Measures again what a finished evaluation takes.

    Delivered twice, it works once (it claims the run). A lost one starts again, so that all latencies are of one
    attempt. The outputs are deleted when it ends.
    """
    rows = ResourceMeasurement.objects.select_related("project", "eval_run__dataset__schema_version")
    row = rows.filter(pk=pk).first()
    if row is None or not row.claim_attempt():
        return
    run = EvalRun.objects.with_model().select_related("project", "dataset__schema_version").get(pk=row.eval_run_id)
    try:
        _measure(row, run)
    except (ModelUnavailable, outputs.InvalidOutputs, Refused, EndpointError, FileNotFoundError) as error:
        message = str(error)
        with_retries(lambda: row.fail(message))
    except UNAVAILABLE:
        logger.exception("measurement %s lost the database", row.pk)
        raise  # the reaper finds it once the database is back
    except Exception as error:
        logger.exception("measurement %s failed", row.pk)
        message = f"Unexpected error ({type(error).__name__}: {error})."
        with_retries(lambda: row.fail(message))


def _measure(row: ResourceMeasurement, run: EvalRun) -> None:
    _check_endpoint(run)
    measured = _Measured(row, run)
    task = evaluation_task(
        run,
        job=row,
        folder_key=row.folder_key,
        documents=measured.documents,
        on_output=measured.on_output,
        on_event=measured.on_event,
        before_request=lambda: with_retries(lambda: _check_endpoint(run)),
    )
    try:
        ending = run.backend.answer(task)
    finally:
        task.outputs.unlink(missing_ok=True)
    if ending.cancelled:
        with_retries(row.cancelled)
    elif ending.interrupted:
        with_retries(row.release_attempt)
    elif not ending.ok:
        with_retries(lambda: row.fail(ending.error))
    else:
        facts = measured.facts()
        with_retries(lambda: resources.complete(row, requests=measured.requests, facts=facts))


def _check_endpoint(run: EvalRun) -> None:
    if obstacle := resources.send_obstacle(run):
        raise EndpointError(obstacle)


class _Measured:
    """The requests of a measurement."""

    def __init__(self, row: ResourceMeasurement, run: EvalRun) -> None:
        self._row = row
        self._run = run
        self._keys = run_documents.documents(run)
        #: by document: an event can be delivered twice after the database was away
        self._requests: dict[int, dict[str, Any]] = {}
        self._facts: dict[str, Any] = dict(run.backend.facts())
        self._recorded, self._began = 0.0, time.perf_counter()

    @property
    def requests(self) -> list[dict[str, Any]]:
        """What each document took."""
        return list(self._requests.values())

    def documents(self) -> Iterator[tuple[str, str]]:
        """(id, text) of the documents to send, without those that were moved to the hold-out."""
        texts = {str(row["id"]): str(row["text"]) for row in run_documents.rows(self._run)}
        for key, pk in self._keys.items():
            moved = Document.objects.filter(pk=pk, holdout=True)
            if key in texts and (self._run.split == Split.HOLDOUT or not with_retries(moved.exists)):
                yield key, texts[key]

    def on_event(self, event: Event) -> None:
        """As ``Task.on_event``."""
        if event["event"] == "ready":
            self._began = time.perf_counter()
            if "at_once" in event:
                self._facts["at_once"] = event["at_once"]
        elif event["event"] in ("start", "done"):
            self._facts.update({name: value for name, value in event.items() if name not in _NO_FACTS})

    def on_output(self, output: Output) -> None:
        """As ``Task.on_output``."""
        key = self._keys.get(str(output.event["id"]))
        if key is None:
            return
        self._requests[key] = resources.request_of(key, output.event)
        if time.monotonic() - self._recorded >= PROGRESS_SECONDS:
            self._recorded = time.monotonic()
            self._row.record(progress_done=len(self._requests), progress_total=len(self._keys), stage="measuring")

    def facts(self) -> dict[str, Any]:
        """Settings and throughput, timed here where the backend did not report its own."""
        seconds = time.perf_counter() - self._began
        own = {"seconds": round(seconds, 2), "docs_per_second": round(len(self._requests) / max(seconds, 1e-6), 4)}
        return {**own, **self._facts}
