"""An evaluation of a model elsewhere: its documents over HTTP, one at a time or as many at once as the run says."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from evaluation.answers import ANSWERED, WORDS, Outcome
from evaluation.asking import Broken, Heart, Trouble
from evaluation.chat import Address, Chat, Said
from evaluation.models import Endpoint, EvalOutput, EvalRun
from evaluation.services import endpoints, holdout_permits, outputs, subjects
from labeling.models import Document, Split
from slmstudio import artifacts
from slmstudio.contract.jsontext import JsonError, dumps, loads
from slmstudio.hashing import sha256_file
from slmstudio.supervisor import patiently, stop_asked, told_to_stop


def evaluate(run: EvalRun, endpoint: Endpoint) -> bool:
    """Asks, scores, stores and ends the run. Latency is what passes from question to answer of one document.

    Held to the schema, the server is asked by ``response_format`` json_schema and by nothing less: one that does not
    know it ends the run. A run whose worker was lost goes on with the documents that were not answered yet, because an
    answer may cost money. False where its worker was told to stop: the run is to be put back.

    Raises:
        Refused: the key or the address cannot be used.
        Broken: asking on is of no use.
        OutputError: as ``outputs.finish``.
        SubjectError: as ``subjects.examples``.
    """
    held = run.mode == EvalRun.Mode.CONSTRAINED
    address = endpoints.address_of(endpoint)
    address = replace(
        address, structured="json_schema" if held else "free", logprobs=False, at_once=min(run.at_once, address.at_once)
    )
    asking = _Asking(run, endpoint, address)
    started = time.perf_counter()
    whole = asking.all()
    seconds = time.perf_counter() - started
    facts = {
        **run.facts,
        "seconds": round(seconds, 2),
        "docs_per_second": round(asking.asked / seconds, 4),
        "tokens_estimated": asking.estimated,
    }
    if whole:
        outputs.finish(run, sha256=sha256_file(artifacts.local_path(run.outputs_key)), facts=facts)
    elif stop_asked():
        return False
    else:
        patiently(lambda: run.cancelled(facts=facts))
    return True


class _Asking:
    """One run over an endpoint. Only the thread of the job touches the database; the others ask."""

    def __init__(self, run: EvalRun, endpoint: Endpoint, address: Address) -> None:
        compiled = run.dataset.schema_version.compiled
        self.examples = [
            {"text": one["text"], "answer": compiled.canonical(one["gold"])} for one in subjects.examples(run)
        ]
        self.asked = self.estimated = 0
        self._shown = set(subjects.example_keys(run))
        self._run = run
        self._endpoint = endpoint
        self._address = address
        self._stop = threading.Event()
        self._chat = Chat(address, compiled, self._stop)
        self._trouble = Trouble(str(endpoint))
        self._beat = Heart(run)
        self._schema = compiled.schema
        self._path = artifacts.local_path(run.outputs_key)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        known = self._answered_before()
        patiently(lambda: run.record(stage="asking", facts={**run.facts, **self._facts()}))
        if not known:
            patiently(lambda: EvalOutput.objects.filter(eval_run=run).delete())
        self.store = outputs.Store(run)
        self._known = {str(event["id"]): event for event in known if str(event["id"]) in self.store.rows}

    def _facts(self) -> dict[str, Any]:
        """How it is asked, which is what answers of an earlier attempt have to agree with."""
        return {
            "device": "elsewhere",
            "model": self._endpoint.model,
            "url": self._endpoint.url,
            "max_new_tokens": self._endpoint.max_tokens,
            "price_in": self._endpoint.price_in,
            "price_out": self._endpoint.price_out,
            "examples": len(self.examples),
            "at_once": self._address.at_once,
        }

    def _answered_before(self) -> list[dict[str, Any]]:
        """What an attempt that was cut off had been told, where it asked the same model in the same way."""
        same = all(self._run.facts.get(name) == value for name, value in self._facts().items())
        return _lines(self._path) if same else []

    def all(self) -> bool:
        """Asks about every document; False where the run was cancelled or is to stop. Raises Broken."""
        under_way: dict[Future[Said], str] = {}
        with self._pool() as pool, self._path.open("w", encoding="utf-8") as file:
            try:
                for event in self._known.values():
                    self._keep(file, event)
                todo = (key for key in self.store.rows if key not in self._known)
                while True:
                    for key in islice(todo, self._address.at_once - len(under_way)):
                        self._look(key)
                        under_way[pool.submit(self._ask, key, self._is_sent(key))] = key
                    if not under_way:
                        return True
                    done, _ = wait(under_way, timeout=1.0, return_when=FIRST_COMPLETED)
                    for future in done:
                        said = future.result()
                        self._keep(file, {"id": under_way.pop(future), **_as_output(said)})
                        self.asked, self.estimated = self.asked + 1, self.estimated + said.estimated
                        self._trouble.note(said)
                    if stop_asked() or not self._beat():
                        return False
            finally:
                patiently(self.store.flush)

    @contextmanager
    def _pool(self) -> Iterator[ThreadPoolExecutor]:
        """Threads that ask. At the end they are told to stop, and nobody waits for what is under way."""
        pool = ThreadPoolExecutor(self._address.at_once, thread_name_prefix="evaluation")
        with told_to_stop():
            try:
                yield pool
            finally:
                self._stop.set()
                pool.shutdown(wait=False, cancel_futures=True)
                self._chat.close()

    def _keep(self, file: Any, event: dict[str, Any]) -> None:
        file.write(dumps(event) + "\n")
        file.flush()
        patiently(lambda: self.store.add(event))

    def _ask(self, key: str, sent: bool) -> Said:
        if not sent:
            return Said(Outcome.HELD_OUT)
        text = self.store.rows[key]["text"]
        return self._chat.ask(endpoints.messages(self._run.dataset.instruction, self._schema, text, self.examples))

    def _look(self, key: str) -> None:
        """Raises Broken where what is about to be sent may not be sent any more."""
        held_out = patiently(lambda: Document.objects.filter(pk__in=self._shown, holdout=True).exists())
        if held_out:
            raise Broken("A solved example was moved to the hold-out meanwhile, so nobody is shown it any more.")
        if self._run.split == Split.HOLDOUT and patiently(lambda: holdout_permits.of(self._endpoint)) is None:
            raise Broken(f"Hold-out documents may not be sent to {self._endpoint} any more: the permit was withdrawn.")

    def _is_sent(self, key: str) -> bool:
        """False for a document that was moved to the hold-out after the split was drawn."""
        if self._run.split == Split.HOLDOUT:
            return True
        return not patiently(lambda: Document.objects.filter(pk=self.store.documents[key], holdout=True).exists())


def _lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a file of outputs; the last one may have been cut off."""
    if not path.is_file():
        return []
    found = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            event = loads(line)
        except JsonError:
            continue
        if isinstance(event, dict) and "id" in event and "raw" in event:
            found.append(event)
    return found


def _as_output(said: Said) -> dict[str, Any]:
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
    }
