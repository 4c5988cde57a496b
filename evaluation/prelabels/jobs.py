"""The background job of a run of pre-labels: a model of this studio in a child process, or an endpoint over HTTP."""

import logging
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from pathlib import Path
from typing import Any

from evaluation.inference import endpoints
from evaluation.inference.answers import Outcome, outcome_of
from evaluation.inference.circuit_breaker import Broken, Trouble
from evaluation.inference.openai_client import Chat, Said
from evaluation.models import Endpoint, PrelabelItem, PrelabelRun
from evaluation.prelabels import services
from evaluation.prelabels.services import Answer, AnswerWriter
from evaluation.runs.spec import EvalSpec
from labeling.datasets import queries as dataset_queries
from labeling.models import Split
from slmstudio.contract.json_text import dumps, loads
from slmstudio.database.retries import with_retries
from slmstudio.errors import Refused
from slmstudio.runs.heartbeat import Heartbeat
from slmstudio.runs.supervisor import supervise
from slmstudio.storage import artifacts
from slmstudio.storage.hashing import folder_hash
from slmstudio.workers.devices import ReservationCancelled, reserve_for_run
from training.models import ModelVersion
from training.spec import RunSpec
from training.strict_yaml import build

logger = logging.getLogger(__name__)
SPLIT = "prelabel"
CHUNK = 50


def run_prelabels(pk: int) -> None:
    """Asks a model about every document of a run and keeps what it says.

    Delivered twice, it works once (it claims the run). What was answered stays whatever happens, and is not asked about
    again: neither by the next worker, should this one be lost or told to stop, nor by a new run.
    """
    rows = PrelabelRun.objects.with_subject().select_related("project", "model_version__training_run__dataset")
    run = rows.filter(pk=pk).first()
    if run is None or not run.claim_attempt():
        return
    store = AnswerWriter(run)
    facts: dict[str, Any] = {}
    try:
        if run.model_version is not None:
            done = _by_child(run, run.model_version, store, facts)
        else:
            assert run.endpoint is not None  # the database sees to it
            done = _by_endpoint(run, run.endpoint, store, facts)
        store.flush()
        if done:
            services.finish(run, facts)
        else:
            services.stopped(run, facts)
    except (Broken, Refused) as error:
        store.flush()
        services.stop(run, str(error), facts)
    except Exception as error:
        logger.exception("pre-labels %s of project %s broke", run.number, run.project_id)
        services.stop(run, f"Something broke that should not ({type(error).__name__}: {error}).", facts)


# -- a model of this studio --------------------------------------------------------------------------------------------


def _by_child(run: PrelabelRun, version: ModelVersion, store: AnswerWriter, facts: dict[str, Any]) -> bool:
    """False where it was cancelled, or goes on with another worker."""
    run.record(stage="checking the files")
    spec = _write_spec(run, version)
    compiled = run.schema_version.compiled
    run.record(stage="loading the model")

    def on_event(event: dict[str, Any]) -> None:
        if event["event"] == "output":
            store.add(int(event["id"]), _answer(compiled, event))
        elif event["event"] in ("start", "done"):
            told = ("device", "precision", "threads", "docs_per_second", "peak_memory_bytes", "max_new_tokens")
            facts.update({name: event[name] for name in told if name in event})

    log = artifacts.local_path(f"{run.folder_key}/log.txt")
    argv = [sys.executable, "-m", "evaluation.ml.generate", str(spec)]
    try:
        with reserve_for_run(run) as devices:
            ending = supervise(run, argv, on_event=on_event, log=log, env=devices.env, keep=devices.locks)
    except ReservationCancelled:
        with_retries(run.release_attempt)
        return False
    if ending.interrupted:
        with_retries(store.flush)  # before the next one looks what is left
        with_retries(run.release_attempt)  # the worker was told to stop; the next one goes on
        return False
    if not ending.ok and not ending.cancelled:
        raise Broken(ending.error)
    return not ending.cancelled


def _answer(compiled: Any, event: dict[str, Any]) -> Answer:
    """A child's event as an answer."""
    seconds = float(event.get("latency_ms") or 0) / 1000
    tokens = int(event.get("prompt_tokens") or 0) + int(event.get("output_tokens") or 0)
    if event.get("finish_reason") == "error":
        reason = str(event.get("error") or "")
        long = reason.startswith("The prompt has ")
        return Answer(Outcome.TOO_LONG if long else Outcome.MODEL_ERROR, reason, seconds=seconds)
    raw = str(event.get("raw") or "")
    outcome, detail = outcome_of(compiled, raw, cut=event.get("finish_reason") == "length")
    sure = {path: least for path, (least, _) in (event.get("confidence") or {}).items()}
    return Answer(outcome, detail, raw, sure, seconds, tokens)


def _write_spec(run: PrelabelRun, version: ModelVersion) -> Path:
    """Writes the documents and the spec of a child process; returns the spec's path. Raises Broken."""
    folder = artifacts.local_path(version.folder_key)
    if not folder.is_dir():
        raise Broken(f"The folder of {version} has gone ({version.folder_key}).")
    found = folder_hash(folder)
    if found != version.sha256:
        raise Broken(
            f"The files of {version} have changed: their hash is {found[:12]}, recorded is {version.sha256[:12]}."
        )
    documents = artifacts.local_path(f"{run.folder_key}/documents.jsonl")
    with documents.open("w", encoding="utf-8") as file:
        for row in _rows(run, version):
            file.write(dumps(row) + "\n")
    spec = build(
        EvalSpec,
        {
            "model": {"path": str(folder), "sha256": version.sha256},
            "contract": {
                "instruction": run.instruction,
                "schema": loads(run.schema_version.schema_text),
                "schema_sha256": run.schema_version.sha256,
            },
            "prompt": RunSpec.from_yaml(version.training_run.spec).prompt,
            "documents": {"path": str(documents), "split": SPLIT},
            "outputs": str(artifacts.local_path(f"{run.folder_key}/outputs.jsonl")),
            "confidence": True,
        },
    )
    key = f"{run.folder_key}/spec.yaml"
    artifacts.write_text(key, spec.to_yaml())
    run.record(spec=spec.to_yaml())
    return artifacts.local_path(key)


def _rows(run: PrelabelRun, version: ModelVersion) -> Iterator[dict[str, Any]]:
    """The documents that are asked about; and of the training documents the gold, which says how long answers are."""
    dataset = version.training_run.dataset
    if dataset.schema_version_id == run.schema_version_id:
        for number, row in enumerate(dataset_queries.rows(dataset, Split.TRAIN)):
            yield {"id": f"known-{number}", "split": str(Split.TRAIN), "text": "", "gold": row["gold"]}
    asked = False
    for items in _chunks(run):
        for pk, text in services.documents_of(items).items():
            asked = True
            yield {"id": str(pk), "split": SPLIT, "text": text, "gold": None}
    if not asked:
        raise Broken("None of the documents is left to ask about.")


def _chunks(run: PrelabelRun) -> Iterator[list[PrelabelItem]]:
    rows = services.waiting(run).iterator(chunk_size=CHUNK)
    while items := list(islice(rows, CHUNK)):
        yield items


# -- an endpoint -------------------------------------------------------------------------------------------------------


def _by_endpoint(run: PrelabelRun, endpoint: Endpoint, store: AnswerWriter, facts: dict[str, Any]) -> bool:
    """False where it was cancelled. Only this thread touches the database; the others ask."""
    address = endpoints.address_of(endpoint)
    compiled = run.schema_version.compiled
    stop = threading.Event()
    chat = Chat(address, compiled, stop)
    trouble = Trouble(endpoint.name)
    todo = _to_ask(run, store)
    pool = ThreadPoolExecutor(address.at_once, thread_name_prefix="prelabel")
    under_way: dict[Future[Said], int] = {}
    beat = Heartbeat(run)
    try:
        while True:
            within = run.token_budget is None or store.tokens < run.token_budget
            for pk, text in islice(todo, address.at_once - len(under_way) if within else 0):
                turns = endpoints.messages(run.instruction, compiled.schema, text, run.examples)
                under_way[pool.submit(chat.ask, turns)] = pk
            if not under_way:
                facts["budget_spent"] = not within
                return True
            done, _ = wait(under_way, timeout=1.0, return_when=FIRST_COMPLETED)
            for future in done:
                said = future.result()
                store.add(under_way.pop(future), _said(said))
                trouble.note(said)
            if not beat():
                return False
    finally:
        stop.set()
        pool.shutdown(wait=False, cancel_futures=True)
        chat.close()
        facts.update(chat.way, tokens=store.tokens)
        if chat.answered:
            with_retries(lambda: endpoints.remember(endpoint, chat.way))


def _to_ask(run: PrelabelRun, store: AnswerWriter) -> Iterator[tuple[int, str]]:
    """Id and text of each document, read as it is needed; what may not be asked about any more is noted."""
    for items in _chunks(run):
        texts = services.documents_of(items)
        for item in items:
            if item.document_id in texts:
                yield item.document_id, texts[item.document_id]
            elif item.document_id:
                store.add(item.document_id, Answer(Outcome.HELD_OUT, tries=0))


def _said(said: Said) -> Answer:
    return Answer(said.outcome, said.detail, said.text, said.confidence, said.seconds, said.tokens, said.tries)
