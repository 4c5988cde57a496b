"""The job of a resource measurement: the documents are asked about once more, and only what that took is kept."""

import logging
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from itertools import islice
from typing import Any

from evaluation.inference import endpoints
from evaluation.inference.circuit_breaker import Broken, Trouble
from evaluation.inference.openai_client import Chat, Said
from evaluation.models import Endpoint, EvalRun, ResourceMeasurement
from evaluation.runs import model_under_test, outputs, resources, run_documents, services
from evaluation.runs.external_model import address_for, as_output
from evaluation.runs.jobs import GENERATE, GENERATE_LLAMA
from labeling.models import Document, Split
from slmstudio.database.retries import UNAVAILABLE, with_retries
from slmstudio.errors import Refused
from slmstudio.runs.heartbeat import Heartbeat, keep_alive
from slmstudio.runs.supervisor import stop_on_signal, stop_requested, supervise
from slmstudio.storage import artifacts
from slmstudio.workers.devices import ReservationCancelled, reserve_for_run

logger = logging.getLogger(__name__)
#: seconds between two notes of the progress
NOTE_SECONDS = 1.0

Requests = list[dict[str, Any]]


def run_measurement(pk: int) -> None:
    """Measures again what a finished evaluation takes.

    Delivered twice, it works once (it claims the run). One whose worker was lost begins anew, so that all latencies are
    of one attempt; the answers are deleted as soon as it ends, however it ends.
    """
    rows = ResourceMeasurement.objects.select_related("project", "eval_run__dataset__schema_version")
    row = rows.filter(pk=pk).first()
    if row is None or not row.claim_attempt():
        return
    run = EvalRun.objects.with_subject().select_related("project", "dataset__schema_version").get(pk=row.eval_run_id)
    try:
        if run.endpoint is not None:
            _elsewhere(row, run, run.endpoint)
        else:
            _here(row, run)
    except (model_under_test.SubjectError, outputs.OutputError, Refused, Broken, FileNotFoundError) as error:
        sentence = str(error)
        with_retries(lambda: row.fail(sentence))
    except UNAVAILABLE:
        logger.exception("measurement %s lost the database", row.pk)
        raise  # the sweep finds it once the database is back
    except Exception as error:
        logger.exception("measurement %s broke", row.pk)
        words = f"Something broke that should not ({type(error).__name__}: {error})."
        with_retries(lambda: row.fail(words))


def _here(row: ResourceMeasurement, run: EvalRun) -> None:
    """By the same child process as the evaluation."""
    row.record(stage="checking the files")
    with keep_alive(row):
        model_under_test.check_files(run)
        documents = run_documents.documents(run)
    answers = artifacts.local_path(f"{row.folder_key}/outputs.jsonl")
    spec = replace(model_under_test.spec_of(run), outputs=str(answers))
    artifacts.write_text(f"{row.folder_key}/spec.yaml", spec.to_yaml())
    row.record(stage="loading the model")
    requests: Requests = []
    facts: dict[str, Any] = {}
    noted = 0.0

    def on_event(event: dict[str, Any]) -> None:
        nonlocal noted
        kind = event["event"]
        if kind == "output" and str(event["id"]) in documents:
            requests.append(resources.request_of(documents[str(event["id"])], event))
            if time.monotonic() - noted >= NOTE_SECONDS:
                noted = time.monotonic()
                row.record(progress_done=len(requests), progress_total=len(documents), stage="measuring")
        elif kind in ("start", "done"):
            facts.update({name: value for name, value in event.items() if name not in ("event", "sha256")})

    module = GENERATE if run.export is None else GENERATE_LLAMA
    argv = [sys.executable, "-m", module, str(artifacts.local_path(f"{row.folder_key}/spec.yaml"))]
    log = artifacts.local_path(f"{row.folder_key}/log.txt")
    try:
        with reserve_for_run(row) as devices:
            ending = supervise(row, argv, on_event=on_event, log=log, env=devices.env, keep=devices.locks)
    except ReservationCancelled:
        with_retries(row.release_attempt)
        return
    finally:
        answers.unlink(missing_ok=True)
    if ending.cancelled:
        with_retries(row.cancelled)
    elif ending.interrupted:
        with_retries(row.release_attempt)
    elif not ending.ok:
        with_retries(lambda: row.fail(ending.error))
    else:
        with_retries(lambda: resources.finish(row, requests=_once_each(requests), facts=facts))


def _once_each(requests: Requests) -> Requests:
    """The last word about each document: an event may be handled twice after the database was away."""
    return list({one["document"]: one for one in requests}.values())


def _elsewhere(row: ResourceMeasurement, run: EvalRun, endpoint: Endpoint) -> None:
    """Over HTTP, as many at once as in the evaluation."""
    obstacle = resources.not_sendable(run)
    if obstacle:
        raise Broken(obstacle)
    address = address_for(run, endpoint)
    compiled = run.dataset.schema_version.compiled
    examples = [
        {"text": one["text"], "answer": compiled.canonical(one["gold"])} for one in model_under_test.examples(run)
    ]
    texts = {str(one["id"]): str(one["text"]) for one in run_documents.rows(run)}
    documents = {key: pk for key, pk in run_documents.documents(run).items() if key in texts}
    stop = threading.Event()
    chat, trouble, beat = Chat(address, compiled, stop), Trouble(str(endpoint)), Heartbeat(row)

    def ask(key: str) -> Said:
        return chat.ask(endpoints.messages(run.dataset.instruction, compiled.schema, texts[key], examples))

    def sendable() -> Iterator[str]:
        for key, pk in documents.items():
            moved = Document.objects.filter(pk=pk, holdout=True)
            if run.split == Split.HOLDOUT or not with_retries(moved.exists):
                yield key

    requests: Requests = []
    under_way: dict[Future[Said], str] = {}
    todo, began, whole = sendable(), time.perf_counter(), False
    pool = ThreadPoolExecutor(address.at_once, thread_name_prefix="measurement")
    with stop_on_signal():
        try:
            while True:
                for key in islice(todo, address.at_once - len(under_way)):
                    obstacle = with_retries(lambda: resources.not_sendable(run))
                    if obstacle:
                        raise Broken(obstacle)
                    under_way[pool.submit(ask, key)] = key
                if not under_way:
                    whole = True
                    break
                done, _ = wait(under_way, timeout=1.0, return_when=FIRST_COMPLETED)
                for future in done:
                    said = future.result()
                    requests.append(resources.request_of(documents[under_way.pop(future)], as_output(said)))
                    trouble.note(said)
                row.record(progress_done=len(requests), progress_total=len(documents), stage="asking")
                if stop_requested() or not beat():
                    break
        finally:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            chat.close()
            if chat.answered:
                with_retries(lambda: endpoints.remember(endpoint, chat.way))
    seconds = time.perf_counter() - began
    if not whole:
        with_retries(row.release_attempt if stop_requested() else row.cancelled)
        return
    facts = {
        "device": "elsewhere",
        **services.facts_of(endpoint),
        "price_in": endpoint.price_in,
        "price_out": endpoint.price_out,
        "at_once": address.at_once,
        "seconds": round(seconds, 2),
        "docs_per_second": round(len(requests) / max(seconds, 1e-6), 4),
    }
    with_retries(lambda: resources.finish(row, requests=requests, facts=facts))
