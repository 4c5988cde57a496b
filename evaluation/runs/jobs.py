"""The background job of an evaluation."""

import logging
import time
import uuid

import django_rq

from evaluation.inference.backend import ModelUnavailable
from evaluation.inference.circuit_breaker import EndpointError
from evaluation.models import EvalRun
from evaluation.runs import outputs, rescoring
from evaluation.runs import services as run_services
from evaluation.runs.recorders import Recorder, recorder_of
from evaluation.runs.tasks import evaluation_task, resolve_model_version
from slmstudio.database.transactions import UNAVAILABLE, with_retries
from slmstudio.errors import Refused
from slmstudio.runs.application import application
from slmstudio.runs.heartbeat import keep_alive
from slmstudio.runs.models import Status
from slmstudio.runs.supervisor import ChildExit
from training.child_processes import ChildCancelled

logger = logging.getLogger(__name__)
REQUEUE_DELAY_SECONDS = 3.0


def run_evaluation(pk: int) -> None:
    """Evaluates a model: its backend generates the outputs, which are scored and stored as they come.

    Delivered twice, it works once (it claims the run). The reaper requeues a run whose worker was lost, at most twice;
    a stopping worker requeues it, which is no attempt. When the run has ended, its benchmark or pipeline
    is notified.
    """
    rows = EvalRun.objects.with_model().select_related("project", "dataset__schema_version", "benchmark")
    run = rows.filter(pk=pk).first()
    if run is None:
        return
    if run_services.waits_for_training(run):
        _requeue(run)
        return
    if not run.claim_attempt():
        return  # another worker has it, or it was cancelled while it was queued
    try:
        if run.rescored_from_id is not None:
            with keep_alive(run):  # the summary of many documents takes minutes
                rescoring.process(run)
        else:
            _generate(run)
    except ChildCancelled:
        with_retries(run.cancelled)
    except (ModelUnavailable, outputs.InvalidOutputs, Refused, EndpointError) as error:
        _fail(run, str(error))
    except UNAVAILABLE:
        logger.exception("evaluation %s of project %s lost the database", run.number, run.project_id)
        raise  # unreachable for half an hour; the reaper finds the run later
    except Exception as error:
        logger.exception("evaluation %s of project %s failed", run.number, run.project_id)
        _fail(run, f"Unexpected error ({type(error).__name__}: {error}). Stored outputs are kept.")
    with_retries(lambda: run_services.evaluation_ended.call(run))


def _fail(run: EvalRun, message: str) -> None:
    with_retries(lambda: run.fail(message))


def _generate(run: EvalRun) -> None:
    resolve_model_version(run)
    run.record(facts={**run.facts, "application": application()})
    recorder = recorder_of(run)
    task = evaluation_task(
        run,
        documents=recorder.documents,
        on_output=recorder.on_output,
        on_event=recorder.on_event,
        before_request=recorder.before_request,
    )
    try:
        ending = run.backend.answer(task)
    except Exception:
        recorder.abort()
        raise
    recorder.flush()
    with keep_alive(run):  # the summary of a hundred thousand documents takes minutes
        _end(run, ending, recorder)


def _end(run: EvalRun, ending: ChildExit, recorder: Recorder) -> None:
    facts = recorder.facts()
    kept = {**run.facts, **facts}
    if ending.cancelled:
        with_retries(lambda: run.cancelled(facts=kept))
    elif ending.interrupted:
        with_retries(run.release_attempt)  # the worker is stopping; another one starts the run again
    elif not ending.ok:
        with_retries(lambda: run.fail(ending.error, facts=kept))
    else:
        left_out = len(recorder.left_out)
        with_retries(lambda: outputs.complete(run, sha256=recorder.sha256, facts=facts, left_out=left_out))


def _requeue(run: EvalRun) -> None:
    """Moves to the end of the queue under a new job id: the training still runs on another worker."""
    time.sleep(REQUEUE_DELAY_SECONDS)
    job_id = uuid.uuid4()
    if EvalRun.objects.filter(pk=run.pk, status=Status.QUEUED, job_id=run.job_id).update(job_id=job_id):
        queue = django_rq.get_queue(run.queue_name)
        queue.enqueue(run.job_name, run.pk, job_id=str(job_id), result_ttl=86_400)
