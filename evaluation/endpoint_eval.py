"""An evaluation of a model elsewhere: its documents, one at a time, over HTTP."""

import threading
import time
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import replace
from typing import Any

from evaluation.answers import ANSWERED, WORDS, Outcome
from evaluation.asking import Broken, Heart, Trouble
from evaluation.chat import Address, Chat, Said
from evaluation.models import Endpoint, EvalOutput, EvalRun
from evaluation.services import endpoints, outputs, subjects
from labeling.models import Document
from slmstudio import artifacts
from slmstudio.contract.jsontext import dumps
from slmstudio.hashing import sha256_file


def evaluate(run: EvalRun, endpoint: Endpoint) -> None:
    """Asks, scores, stores and ends the run. Latency is what passes from question to answer, one document at a time.

    Held to the schema, the server is asked by ``response_format`` json_schema and by nothing less: one that does not
    know it ends the run.

    Raises:
        Refused: the key or the address cannot be used.
        Broken: asking on is of no use.
        OutputError: as ``outputs.finish``.
        SubjectError: as ``subjects.examples``.
    """
    held = run.mode == EvalRun.Mode.CONSTRAINED
    address = endpoints.address_of(endpoint)
    address = replace(address, structured="json_schema" if held else "free", logprobs=False, at_once=1)
    run.record(stage="asking")
    EvalOutput.objects.filter(eval_run=run).delete()
    asking = _Asking(run, address)
    facts: dict[str, Any] = {
        "device": "elsewhere",
        "model": endpoint.model,
        "max_new_tokens": endpoint.max_tokens,
        "price_in": endpoint.price_in,
        "price_out": endpoint.price_out,
        "examples": len(asking.examples),
    }
    started = time.perf_counter()
    whole = asking.all()
    seconds = time.perf_counter() - started
    facts |= {
        "seconds": round(seconds, 2),
        "docs_per_second": round(asking.store.stored / seconds, 4),
        "tokens_estimated": asking.estimated,
    }
    if not whole:
        run.cancelled(facts={**run.facts, **facts})
        return
    outputs.finish(run, sha256=sha256_file(artifacts.local_path(run.outputs_key)), facts=facts)


class _Asking:
    """One run over an endpoint. Only the thread of the job touches the database; another one asks."""

    def __init__(self, run: EvalRun, address: Address) -> None:
        compiled = run.dataset.schema_version.compiled
        self.examples = [
            {"text": one["text"], "answer": compiled.canonical(one["gold"])} for one in subjects.examples(run)
        ]
        self._shown = set(subjects.example_keys(run))
        self._run = run
        self._stop = threading.Event()
        self._chat = Chat(address, compiled, self._stop)
        self._trouble = Trouble(str(run.endpoint))
        self._beat = Heart(run)
        self._schema = compiled.schema
        self.store = outputs.Store(run)
        self.estimated = 0

    def all(self) -> bool:
        """Asks about every document; False where the run was cancelled. Raises Broken."""
        path = artifacts.local_path(self._run.outputs_key)
        path.parent.mkdir(parents=True, exist_ok=True)
        pool = ThreadPoolExecutor(1, thread_name_prefix="evaluation")
        try:
            with path.open("w", encoding="utf-8") as file:
                for key, row in self.store.rows.items():
                    said = self._ask(pool, key, row["text"])
                    if said is None:
                        return False
                    event = {"id": key, **_as_output(said)}
                    file.write(dumps(event) + "\n")
                    self.store.add(event)
                    self.estimated += said.estimated
                    self._trouble.note(said)
            return True
        finally:
            self.store.flush()
            self._stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            self._chat.close()

    def _ask(self, pool: ThreadPoolExecutor, key: str, text: str) -> Said | None:
        """What became of one document; None where the run was cancelled meanwhile."""
        if not self._beat():
            return None
        sent = Document.objects.filter(pk__in=[self.store.documents[key], *self._shown])
        held_out = set(sent.filter(holdout=True).values_list("pk", flat=True))
        if held_out & self._shown:
            raise Broken("A solved example was moved to the hold-out meanwhile, so nobody is shown it any more.")
        if held_out:
            return Said(Outcome.HELD_OUT)
        turns = endpoints.messages(self._run.dataset.instruction, self._schema, text, self.examples)
        future = pool.submit(self._chat.ask, turns)
        while not wait([future], timeout=1.0, return_when=FIRST_COMPLETED).done:
            if not self._beat():
                return None
        return future.result()


def _as_output(said: Said) -> dict[str, Any]:
    """What was said as a child of this machine would tell it: verbatim, or why there is nothing."""
    answered = said.outcome in ANSWERED
    ending = "length" if said.outcome == Outcome.CUT_OFF else "stop"
    detail = f"{WORDS[said.outcome]}{f': {said.detail}' if said.detail else ''}"
    return {
        "raw": said.content if answered else "",
        "finish_reason": ending if answered else "error",
        "error": "" if answered else detail,
        "latency_ms": round(said.seconds * 1000, 2),
        "prompt_tokens": said.tokens - said.tokens_out,
        "output_tokens": said.tokens_out,
    }
