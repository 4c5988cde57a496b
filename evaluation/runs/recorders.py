"""What a job of an evaluation keeps of its outputs: from one attempt on this machine, or over all attempts of an
endpoint, whose answers were paid for."""

import os
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from evaluation.endpoints import permits
from evaluation.inference.backend import Output
from evaluation.inference.circuit_breaker import EndpointError
from evaluation.inference.completion import ResponseStatus
from evaluation.models import Endpoint, EvalOutput, EvalRun
from evaluation.runs import run_documents, services, throughput
from evaluation.runs.outputs import OutputWriter
from labeling.models import Document, Split
from slmstudio.contract.json_text import JsonError, dumps, loads
from slmstudio.database.transactions import with_retries
from slmstudio.runs.heartbeat import keep_alive
from slmstudio.runs.supervisor import Event
from slmstudio.storage import artifacts
from slmstudio.workers.run_usage import SystemUsage

#: statuses that may be different an hour later: a resumed run sends these documents again
_TRANSIENT = {
    ResponseStatus.UNREACHABLE,
    ResponseStatus.BUSY,
    ResponseStatus.TIMEOUT,
    ResponseStatus.REFUSED,
    ResponseStatus.WEB_PAGE,
    ResponseStatus.NO_COMPLETION,
}


class Recorder(ABC):
    """Keeps the outputs of a run while its job works. Only the job's thread calls it."""

    #: ids of documents that were moved to the hold-out and not sent
    left_out: list[str]

    def __init__(self, run: EvalRun) -> None:
        self.run = run
        self.left_out = []

    @abstractmethod
    def on_event(self, event: Event) -> None:
        """As ``Task.on_event``."""

    @abstractmethod
    def on_output(self, output: Output) -> None:
        """As ``Task.on_output``."""

    def documents(self) -> Iterator[tuple[str, str]]:
        """(id, text) of the documents to send."""
        return iter(())

    def before_request(self) -> None:  # noqa: B027
        """Raises EndpointError where documents must not be sent any more."""

    @abstractmethod
    def flush(self) -> None:
        """Stores what is pending."""

    def abort(self) -> None:  # noqa: B027
        """The job failed: stores what is worth keeping."""

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """What generation took, for the run's facts."""

    @property
    def sha256(self) -> str:
        """The hash of the file of outputs as its writer reported it; "" where this process wrote it."""
        return ""


class AttemptRecorder(Recorder):
    """Outputs of one attempt of a child process, which writes the file itself."""

    def __init__(self, run: EvalRun) -> None:
        super().__init__(run)
        self._facts: dict[str, Any] = {}
        self._usage = SystemUsage(devices=())
        self._store: OutputWriter | None = None

    def on_event(self, event: Event) -> None:
        kind = event["event"]
        if kind == "ready":
            self.run.record(spec=event["spec"])
            # Outputs of an earlier attempt: a run's outputs are all of one attempt.
            EvalOutput.objects.filter(eval_run=self.run).delete()
            self._store = OutputWriter(self.run)
            if (expected := throughput.expected_rate(self.run)) is not None:
                self.run.record(facts={**self.run.facts, "expected_tokens_per_second": round(expected, 2)})
        elif kind in ("start", "done"):
            self._facts.update({name: value for name, value in event.items() if name != "event"})
        if kind == "start":
            self.run.record(
                progress_total=len(self.store.rows),
                stage=self.run.backend.stage,
                concurrency=int(event.get("at_once") or 1),
            )

    @property
    def store(self) -> OutputWriter:
        """The store of this attempt."""
        assert self._store is not None, "outputs before the ready event"
        return self._store

    def on_output(self, output: Output) -> None:
        self.store.add(output.event)
        if (usage := self._usage.read()) is not None:
            load = {name: usage[name] for name in ("others", "cores")}
            self.run.record(facts={**self.run.facts, "load": load})

    def flush(self) -> None:
        if self._store is not None:
            with_retries(self._store.flush)

    def facts(self) -> dict[str, Any]:
        return {name: value for name, value in self._facts.items() if name != "sha256"}

    @property
    def sha256(self) -> str:
        return str(self._facts.get("sha256", ""))


class ResumedRecorder(Recorder):
    """Outputs over all attempts of a run. Answers of earlier attempts are kept; the others are requested.

    Every attempt starts a file of its own with the kept answers and then replaces the old one with it, because an
    earlier attempt may still run without knowing that it was replaced.
    """

    def __init__(self, run: EvalRun) -> None:
        super().__init__(run)
        assert run.endpoint is not None
        self._endpoint = run.endpoint
        self._path = artifacts.local_path(run.outputs_key)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._store = OutputWriter(run)
        self._example_keys: set[int] = set()
        self._known: dict[str, dict[str, Any]] = {}
        self._file: TextIO | None = None
        self._at_once = 1
        self._answered = self._estimated = self._reasoning_tokens = 0
        #: documents by concurrency: an attempt can run with less than an earlier one
        self._by_concurrency = Counter[int]()
        #: seconds spent by earlier attempts, and the start of this one
        self._spent, self._began = 0.0, time.perf_counter()

    def on_event(self, event: Event) -> None:
        if event["event"] == "ready":
            with keep_alive(self.run):  # kept answers are scored and stored again
                self._begin(concurrency=int(event["at_once"]), examples=int(event["examples"]))

    def _begin(self, *, concurrency: int, examples: int) -> None:
        """Raises EndpointError before anything is changed, as ``_earlier_answers``."""
        run = self.run
        self._at_once = concurrency
        self._example_keys = set(run_documents.few_shot_keys(run))
        now = {**run.backend.facts(), "examples": examples}
        earlier = self._earlier_answers(now)
        self._spent = max((float(event.get("elapsed") or 0) for event in earlier), default=0.0)
        again = _TRANSIENT if run.facts.get("go_on") else set()
        known = {str(event["id"]): event for event in earlier if event.get("outcome") not in again}
        self._known = {key: event for key, event in known.items() if key in self._store.rows}
        fresh = self._path.with_name(f"{self._path.name}.{run.job_id}")
        with fresh.open("w", encoding="utf-8") as file:
            file.writelines(dumps(event) + "\n" for event in self._known.values())
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)
        # The concurrency of a run is the highest it ever had.
        highest = max([concurrency, *(int(event["at_once"]) for event in self._known.values())])
        kept = {name: value for name, value in run.facts.items() if name != "go_on"}
        facts = {**kept, **now, "at_once": highest}
        with_retries(lambda: run.record(stage=run.backend.stage, concurrency=highest, facts=facts))
        with_retries(lambda: EvalOutput.objects.filter(eval_run=run).delete())
        for event in self._known.values():
            self._count(event)
        with_retries(self._store.flush)
        self._file = self._path.open("a", encoding="utf-8")
        self._began = time.perf_counter()

    def _earlier_answers(self, now: dict[str, Any]) -> list[dict[str, Any]]:
        """The outputs of earlier attempts, each with its concurrency; none from another model.

        Raises:
            EndpointError: the run is resumed and the endpoint has changed: its answers were paid for.
        """
        earlier = _complete_lines(self._path)
        conflict = services.resume_conflict(self.run, now)
        answered = any(event.get("finish_reason") != "error" for event in earlier)
        if conflict and self.run.facts.get("go_on") and answered:
            raise EndpointError(conflict)
        before = int(self.run.facts.get("at_once") or self.run.concurrency)
        return [] if conflict else [{"at_once": before, **event} for event in earlier]

    def documents(self) -> Iterator[tuple[str, str]]:
        for key, row in self._store.rows.items():
            if key not in self._known and self._may_send(key):
                yield key, row["text"]

    def _may_send(self, key: str) -> bool:
        """False for a document that was moved to the hold-out after the freeze; it is counted as left out."""
        if self.run.split == Split.HOLDOUT:
            return True
        moved = Document.objects.filter(pk=self._store.documents[key], holdout=True)
        if not with_retries(moved.exists):
            return True
        self.left_out.append(key)
        return False

    def before_request(self) -> None:
        endpoint = self._endpoint
        if with_retries(lambda: Document.objects.filter(pk__in=self._example_keys, holdout=True).exists()):
            raise EndpointError("A few-shot example was moved to the hold-out during the run, so it cannot be sent.")
        if with_retries(lambda: Endpoint.objects.filter(pk=endpoint.pk, retired_at__isnull=False).exists()):
            raise EndpointError(f"The endpoint {endpoint} was removed, so no more documents are sent.")
        if self.run.split == Split.HOLDOUT and with_retries(lambda: permits.permit_for(endpoint)) is None:
            raise EndpointError(f"The permission to send hold-out documents to {endpoint} was withdrawn.")

    def on_output(self, output: Output) -> None:
        assert self._file is not None, "outputs before the ready event"
        event = {**output.event, "elapsed": round(self._elapsed(), 2), "at_once": self._at_once}
        self._file.write(dumps(event) + "\n")
        self._file.flush()
        self._count(event)

    def _count(self, event: dict[str, Any]) -> None:
        self._answered += 1
        self._estimated += bool(event.get("estimated"))
        self._reasoning_tokens += int(event.get("reasoning_tokens") or 0)
        self._by_concurrency[int(event["at_once"])] += 1
        with_retries(lambda: self._store.add(event))

    def flush(self) -> None:
        if self._file is not None:
            self._file.close()
        with_retries(self._store.flush)

    def abort(self) -> None:
        if self._file is not None:
            self.flush()

    def _elapsed(self) -> float:
        return self._spent + time.perf_counter() - self._began

    def facts(self) -> dict[str, Any]:
        """Time and tokens over all attempts, and what was left out."""
        seconds = self._elapsed()
        facts: dict[str, Any] = {
            "seconds": round(seconds, 2),
            "docs_per_second": round(self._answered / max(seconds, 1e-6), 4),
            "tokens_estimated": self._estimated,
            "reasoning_tokens": self._reasoning_tokens,
        }
        if len(self._by_concurrency) > 1:  # latencies are mixed, and the page says so
            facts["asked_at_once"] = sorted(([n, count] for n, count in self._by_concurrency.items()), reverse=True)
        return {**facts, "not_asked": len(self.left_out)} if self.left_out else facts


def recorder_of(run: EvalRun) -> Recorder:
    """The recorder that fits the run's backend."""
    return ResumedRecorder(run) if run.backend.resumes else AttemptRecorder(run)


def _complete_lines(path: Path) -> list[dict[str, Any]]:
    """The complete lines of a file of outputs; the last one may be truncated."""
    if not path.is_file():
        return []
    events = []
    # An output may contain other line ends (U+0085, U+2028), which JSON does not escape.
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            event = loads(line, max_characters=None)
        except JsonError:
            continue
        if isinstance(event, dict) and "id" in event and "raw" in event:
            events.append(event)
    return events
