"""Background jobs of the evaluation side."""

import logging
import sys
import time
import uuid
from typing import Any

import django_rq

from evaluation.inference.circuit_breaker import Broken
from evaluation.models import EvalOutput, EvalRun
from evaluation.runs import external_model, model_under_test, outputs, rescoring, throughput
from evaluation.runs import services as run_services
from slmstudio.database.retries import UNAVAILABLE, with_retries
from slmstudio.errors import Refused
from slmstudio.runs.foreign_load import OtherProcessLoad
from slmstudio.runs.heartbeat import keep_alive
from slmstudio.runs.models import Status
from slmstudio.runs.supervisor import ChildExit, supervise
from slmstudio.storage import artifacts
from slmstudio.workers.devices import ReservationCancelled, reserve_for_run
from training.base_models import services as base_model_services
from training.runs.child_processes import ChildCancelled

logger = logging.getLogger(__name__)
GENERATE, GENERATE_LLAMA = "evaluation.ml.generate", "evaluation.ml.generate_llama"
STEP_BACK_SECONDS = 3.0


def run_evaluation(pk: int) -> None:
    """Evaluates a model: verifies its files, lets a child process generate, scores and stores what it says; or asks an
    endpoint about each document.

    Delivered twice, it works once (it claims the run). A run whose worker was lost is queued again by the sweep, twice
    at most; one whose worker was told to stop goes back to the queue, which is no attempt. When the run has ended,
    however, the loop it may belong to is told.
    """
    rows = EvalRun.objects.with_subject().select_related("project", "dataset__schema_version", "benchmark")
    run = rows.filter(pk=pk).first()
    if run is None:
        return
    if run_services.wait_for_training(run):
        _step_back(run)
        return
    if not run.claim_attempt():
        return  # somebody else has it, or it was cancelled while it waited
    try:
        if run.rescored_from_id is not None:
            with keep_alive(run):  # many documents take minutes to be summed up
                rescoring.process(run)
        elif run.endpoint is not None:
            if not external_model.evaluate(run, run.endpoint):
                with_retries(run.release_attempt)
        else:
            _evaluate(run)
    except ChildCancelled:
        with_retries(run.cancelled)
    except (model_under_test.SubjectError, outputs.OutputError, Refused, Broken) as error:
        _fail(run, str(error))
    except UNAVAILABLE:
        logger.exception("evaluation %s of project %s lost the database", run.number, run.project_id)
        raise  # it has been away for half an hour; the sweep finds the run once it is back
    except Exception as error:
        logger.exception("evaluation %s of project %s broke", run.number, run.project_id)
        _fail(
            run, f"Something broke that should not ({type(error).__name__}: {error}). What was stored so far is kept."
        )
    with_retries(lambda: run_services.tell_loop(run))


def _fail(run: EvalRun, sentence: str) -> None:
    with_retries(lambda: run.fail(sentence))


def _evaluate(run: EvalRun) -> None:
    model_under_test.resolve(run)
    if run.base_model is not None and not run.base_model.ready:
        run.record(stage="preparing the model")
        # Asked for by its id, a model may be many gigabytes: somebody fetches it on purpose, on its page.
        base_model_services.prepare(base_model=run.base_model, run=run, fetch=False)
    run.record(stage="checking the files")
    with keep_alive(run):  # some gigabytes are hashed
        model_under_test.check_files(run)
    spec = model_under_test.write_spec(run)
    run.record(stage="loading the model")
    # What an attempt that was cut off had stored: a run's outputs are all of one attempt.
    EvalOutput.objects.filter(eval_run=run).delete()
    store = outputs.OutputWriter(run)
    facts: dict[str, Any] = {}
    load = OtherProcessLoad()
    if (expected := throughput.expected_rate(run)) is not None:
        run.record(facts={**run.facts, "expected_tokens_per_second": round(expected, 2)})

    def on_event(event: dict[str, Any]) -> None:
        kind = event["event"]
        if kind == "output":
            store.add(event)
            if (read := load.read()) is not None:
                run.record(facts={**run.facts, "load": read})
        elif kind == "start":
            facts.update(_without_kind(event))
            run.record(progress_total=len(store.rows), stage="generating", at_once=int(event.get("at_once") or 1))
        elif kind == "done":
            facts.update(_without_kind(event))

    log = artifacts.local_path(f"{run.folder_key}/log.txt")
    argv = [sys.executable, "-m", GENERATE if run.export is None else GENERATE_LLAMA, str(spec)]
    try:
        with reserve_for_run(run) as devices:
            ending = supervise(run, argv, on_event=on_event, log=log, env=devices.env, keep=devices.locks)
    except ReservationCancelled:
        with_retries(run.release_attempt)
        return
    with_retries(store.flush)
    with keep_alive(run):  # a hundred thousand documents take minutes to be summed up
        _end(run, ending, facts)


def _end(run: EvalRun, ending: ChildExit, facts: dict[str, Any]) -> None:
    kept = {**run.facts, **facts}
    if ending.cancelled:
        with_retries(lambda: run.cancelled(facts=kept))
    elif ending.interrupted:
        with_retries(run.release_attempt)  # the worker was told to stop; the next one starts it again
    elif not ending.ok:
        with_retries(lambda: run.fail(ending.error, facts=kept))
    else:
        sha256 = str(facts.pop("sha256", ""))
        with_retries(lambda: outputs.finish(run, sha256=sha256, facts=facts))


def _without_kind(event: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in event.items() if key != "event"}


def _step_back(run: EvalRun) -> None:
    """Goes to the end of the queue again under a new job id: the training is still at work on another worker."""
    time.sleep(STEP_BACK_SECONDS)
    job_id = uuid.uuid4()
    if EvalRun.objects.filter(pk=run.pk, status=Status.QUEUED, job_id=run.job_id).update(job_id=job_id):
        queue = django_rq.get_queue(run.queue_name)
        queue.enqueue(run.job_name, run.pk, job_id=str(job_id), result_ttl=86_400)
