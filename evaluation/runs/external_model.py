"""An evaluation of a model elsewhere: its documents over HTTP, one at a time or as many at once as the run says."""

import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from evaluation.gates.holdout import permits
from evaluation.inference import endpoints
from evaluation.inference.answers import ANSWERED, WORDS, Outcome
from evaluation.inference.circuit_breaker import Broken, Trouble
from evaluation.inference.openai_client import Address, Chat, Said
from evaluation.models import Endpoint, EvalOutput, EvalRun
from evaluation.runs import model_under_test, outputs, services
from labeling.models import Document, Split
from slmstudio.contract.json_text import JsonError, dumps, loads
from slmstudio.database.retries import with_retries
from slmstudio.runs.heartbeat import Heartbeat, keep_alive
from slmstudio.runs.supervisor import stop_on_signal, stop_requested
from slmstudio.storage import artifacts
from slmstudio.storage.hashing import sha256_file

#: what says more about the hour than about the document: whoever goes on with a failed run asks about it once more
_PASSING = {
    Outcome.UNREACHABLE,
    Outcome.BUSY,
    Outcome.TIMEOUT,
    Outcome.REFUSED,
    Outcome.WEB_PAGE,
    Outcome.NO_COMPLETION,
}


def evaluate(run: EvalRun, endpoint: Endpoint) -> bool:
    """Asks, scores, stores and ends the run. Latency is what passes from question to answer of one document, with all
    that was tried again and waited for in between.

    Held to the schema, the server is asked by ``response_format`` json_schema and by nothing less: one that does not
    know it ends the run. A run whose worker was lost goes on with the documents that were not answered yet, because an
    answer may cost money. Documents that were moved to the hold-out meanwhile are left out and counted. False where its
    worker was told to stop: the run is to be put back.

    Raises:
        Refused: the key or the address cannot be used.
        Broken: asking on is of no use.
        OutputError: as ``outputs.finish``.
        SubjectError: as ``subjects.examples``.
    """
    address = address_for(run, endpoint)
    with keep_alive(run):  # what was answered before is scored and stored again
        asking = _Asking(run, endpoint, address)
        asking.claim_attempt()
    whole = asking.all()
    facts = {**run.facts, **asking.figures()}
    if whole:
        with keep_alive(run):
            sha256 = sha256_file(artifacts.local_path(run.outputs_key))
            with_retries(lambda: outputs.finish(run, sha256=sha256, facts=facts, left_out=len(asking.held_out)))
    elif stop_requested():
        return False
    else:
        with_retries(lambda: run.cancelled(facts=facts))
    return True


def address_for(run: EvalRun, endpoint: Endpoint) -> Address:
    """How an evaluation asks its endpoint. Raises Refused as ``endpoints.address_of``."""
    held = run.mode == EvalRun.Mode.CONSTRAINED
    address = endpoints.address_of(endpoint)
    return replace(
        address, structured="json_schema" if held else "free", logprobs=False, at_once=min(run.at_once, address.at_once)
    )


class _Asking:
    """One run over an endpoint. Only the thread of the job touches the database; the others ask."""

    def __init__(self, run: EvalRun, endpoint: Endpoint, address: Address) -> None:
        compiled = run.dataset.schema_version.compiled
        self.examples = [
            {"text": one["text"], "answer": compiled.canonical(one["gold"])} for one in model_under_test.examples(run)
        ]
        self.held_out: list[str] = []
        self._answered = self._estimated = self._thought = 0
        #: documents by how many were asked about together: an attempt may have to do with fewer than the one before
        self._together = Counter[int]()
        #: seconds that were spent on asking: by the attempts before, and since when by this one
        self._spent, self._began = 0.0, time.perf_counter()
        self._shown = set(model_under_test.example_keys(run))
        self._run = run
        self._endpoint = endpoint
        self._address = address
        self._stop = threading.Event()
        self._chat = Chat(address, compiled, self._stop)
        self._trouble = Trouble(str(endpoint))
        self._beat = Heartbeat(run)
        self._schema = compiled.schema
        self._path = artifacts.local_path(run.outputs_key)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._known: dict[str, dict[str, Any]] = {}
        self.store = outputs.OutputWriter(run)

    def claim_attempt(self) -> None:
        """Begins a file of this attempt, with what an earlier one had been told, and makes the stored rows those of it.

        The file is another one than that of an attempt which does not know yet that it was given up, and it is whole
        before it takes the place of the old one. Raises Broken before anything is touched, as ``_told_before``.
        """
        run = self._run
        told = self._told_before()
        self._spent = max((float(event.get("elapsed") or 0) for event in told), default=0.0)
        anew = _PASSING if run.facts.get("go_on") else set()
        known = {str(event["id"]): event for event in told if event.get("outcome") not in anew}
        self._known = {key: event for key, event in known.items() if key in self.store.rows}
        fresh = self._path.with_name(f"{self._path.name}.{run.job_id}")
        with fresh.open("w", encoding="utf-8") as file:
            file.writelines(dumps(event) + "\n" for event in self._known.values())
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)
        # A run is said to have asked about as many at once as it ever did.
        most = max([self._address.at_once, *(int(event["at_once"]) for event in self._known.values())])
        kept = {name: value for name, value in run.facts.items() if name != "go_on"}
        facts = {**kept, **self._facts(), "at_once": most}
        with_retries(lambda: run.record(stage="asking", at_once=most, facts=facts))
        with_retries(lambda: EvalOutput.objects.filter(eval_run=run).delete())
        for event in self._known.values():
            self._count(event)
        with_retries(self.store.flush)
        self._began = time.perf_counter()

    def figures(self) -> dict[str, Any]:
        """What asking took, over all attempts, and what was left out."""
        seconds = self._elapsed()
        found: dict[str, Any] = {
            "seconds": round(seconds, 2),
            "docs_per_second": round(self._answered / max(seconds, 1e-6), 4),
            "tokens_estimated": self._estimated,
            "reasoning_tokens": self._thought,
        }
        if len(self._together) > 1:  # so its latencies are of more than one kind, which its page says
            found["asked_at_once"] = sorted(([n, documents] for n, documents in self._together.items()), reverse=True)
        return {**found, "not_asked": len(self.held_out)} if self.held_out else found

    def _elapsed(self) -> float:
        return self._spent + time.perf_counter() - self._began

    def _facts(self) -> dict[str, Any]:
        """How it is asked, and at which prices."""
        return {
            "device": "elsewhere",
            **services.facts_of(self._endpoint),
            "price_in": self._endpoint.price_in,
            "price_out": self._endpoint.price_out,
            "examples": len(self.examples),
        }

    def _told_before(self) -> list[dict[str, Any]]:
        """What earlier attempts had been told, each with how many were asked at once; nothing of another model.

        Raises Broken where somebody wants to go on, and the endpoint has become another since: what it answered before
        was paid for.
        """
        told = _lines(self._path)
        other = services.asked_otherwise(self._run, self._facts())
        if other and self._run.facts.get("go_on") and any(event.get("finish_reason") != "error" for event in told):
            raise Broken(other)
        before = int(self._run.facts.get("at_once") or self._run.at_once)
        return [] if other else [{"at_once": before, **event} for event in told]

    def all(self) -> bool:
        """Asks about every document; False where the run was cancelled or is to stop. Raises Broken."""
        under_way: dict[Future[Said], str] = {}
        with self._pool() as pool, self._path.open("a", encoding="utf-8") as file:
            try:
                todo = (key for key in self.store.rows if key not in self._known and self._is_sent(key))
                while True:
                    for key in islice(todo, self._address.at_once - len(under_way)):
                        self._look()
                        under_way[pool.submit(self._ask, key)] = key
                    if not under_way:
                        return True
                    done, _ = wait(under_way, timeout=1.0, return_when=FIRST_COMPLETED)
                    for future in done:
                        said = future.result()
                        self._keep(file, {"id": under_way.pop(future), **as_output(said)})
                        self._trouble.note(said)
                    if stop_requested() or not self._beat():
                        return False
            finally:
                with_retries(self.store.flush)

    @contextmanager
    def _pool(self) -> Iterator[ThreadPoolExecutor]:
        """Threads that ask. At the end they are told to stop, and nobody waits for what is under way."""
        pool = ThreadPoolExecutor(self._address.at_once, thread_name_prefix="evaluation")
        with stop_on_signal():
            try:
                yield pool
            finally:
                self._stop.set()
                pool.shutdown(wait=False, cancel_futures=True)
                self._chat.close()
                if self._chat.answered:
                    with_retries(lambda: endpoints.remember(self._endpoint, self._chat.way))

    def _keep(self, file: Any, event: dict[str, Any]) -> None:
        event = {**event, "elapsed": round(self._elapsed(), 2), "at_once": self._address.at_once}
        file.write(dumps(event) + "\n")
        file.flush()
        self._count(event)

    def _count(self, event: dict[str, Any]) -> None:
        self._answered += 1
        self._estimated += bool(event.get("estimated"))
        self._thought += int(event.get("reasoning_tokens") or 0)
        self._together[int(event["at_once"])] += 1
        with_retries(lambda: self.store.add(event))

    def _ask(self, key: str) -> Said:
        text = self.store.rows[key]["text"]
        return self._chat.ask(endpoints.messages(self._run.dataset.instruction, self._schema, text, self.examples))

    def _look(self) -> None:
        """Raises Broken where what is about to be sent may not be sent any more."""
        held_out = with_retries(lambda: Document.objects.filter(pk__in=self._shown, holdout=True).exists())
        if held_out:
            raise Broken("A solved example was moved to the hold-out meanwhile, so nobody is shown it any more.")
        if with_retries(lambda: Endpoint.objects.filter(pk=self._endpoint.pk, retired_at__isnull=False).exists()):
            raise Broken(f"The endpoint {self._endpoint} was removed, so nothing more is sent there.")
        if self._run.split == Split.HOLDOUT and with_retries(lambda: permits.of(self._endpoint)) is None:
            raise Broken(f"Hold-out documents may not be sent to {self._endpoint} any more: the permit was withdrawn.")

    def _is_sent(self, key: str) -> bool:
        """False for a document that was moved to the hold-out after the split was drawn; it is noted as left out."""
        if self._run.split == Split.HOLDOUT:
            return True
        moved = Document.objects.filter(pk=self.store.documents[key], holdout=True)
        if not with_retries(moved.exists):
            return True
        self.held_out.append(key)
        return False


def _lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a file of outputs; the last one may have been cut off."""
    if not path.is_file():
        return []
    found = []
    # An answer may hold other ends of lines (U+0085, U+2028), which JSON leaves as they are.
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            event = loads(line, max_characters=None)
        except JsonError:
            continue
        if isinstance(event, dict) and "id" in event and "raw" in event:
            found.append(event)
    return found


def as_output(said: Said) -> dict[str, Any]:
    """What was said as a child of this machine would tell it: verbatim, or why there is nothing."""
    answered = said.outcome in ANSWERED
    ending = "length" if said.outcome == Outcome.CUT_OFF else "stop"
    detail = f"{WORDS[said.outcome]}{f': {said.detail}' if said.detail else ''}"
    return {
        "raw": outputs.kept(said.content) if answered else "",
        "finish_reason": ending if answered else "error",
        "error": "" if answered else outputs.kept(detail),
        "latency_ms": round(said.seconds * 1000, 2),
        "prompt_tokens": said.tokens - said.tokens_out,
        "output_tokens": said.tokens_out,
        "reasoning_tokens": said.tokens_thought,
        "outcome": str(said.outcome),
        "estimated": said.estimated,
    }
