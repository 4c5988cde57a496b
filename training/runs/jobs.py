"""Jobs of training runs. Each loads its row by id, claims it, and supervises a child process."""

import json
import logging
import os
import sys
import time
from pathlib import Path

from django.conf import settings

from labeling.datasets.queries import file_path
from slmstudio.contract.schema.compiled import loads
from slmstudio.database.transactions import with_retries
from slmstudio.runs.application import application
from slmstudio.runs.heartbeat import keep_alive
from slmstudio.runs.reaper import reap_lost_runs
from slmstudio.runs.supervisor import CHECKPOINT_GRACE_SECONDS, ChildExit, cost_of, supervise
from slmstudio.stack.supervisor import EXIT_WITH_PARENT
from slmstudio.storage.artifacts import local_path, write_text
from slmstudio.storage.hashing import folder_hash, sha256_file
from slmstudio.workers.gpu_reservations import (
    NotEnoughGpus,
    ReservationCancelled,
    ReservedGpus,
    own_machine,
    reserve_for_run,
)
from training.base_models.preparation import prepare
from training.child_processes import ChildCancelled, ChildFailed, run_child, spec_file
from training.estimates.services import any_worker_fits, capability_problem
from training.hyperparameters.definitions import Hyperparameters
from training.job_failures import FailureHandler
from training.models import LengthReport, TrainingRun
from training.runs.event_recorder import EventRecorder, record_artifacts
from training.runs.run_spec import hyperparameters_of
from training.spec import ContractRef, DatasetRef, LengthsSpec, ModelRef, RunSpec

log = logging.getLogger(__name__)
TRAINER = "training.ml.train"
LAUNCHER = "accelerate.commands.accelerate_cli"
REQUEUE_SECONDS = 5.0
#: how long a run waits for a suitable worker, for example one that is being restarted
NO_WORKER_SECONDS = 600.0


def run_training(pk: int) -> None:
    """Trains a run by its spec, from the newest checkpoint where there is one.

    At most once at a time: a run that is already claimed or deleted is skipped. The queue does not retry; the run is
    requeued by a worker that is stopped, by the reaper when its worker is lost, and when its process was killed after
    it had progressed past the checkpoint it resumed from.
    """
    reap_lost_runs()
    run = TrainingRun.objects.select_related("dataset__schema_version", "project").filter(pk=pk).first()
    if run is None or not run.claim(attempts=run.attempts + 1):
        return
    with FailureHandler(run):
        _train(run)


def measure_lengths(pk: int) -> None:
    """Measures the tokens of every row of a dataset version; prepares a local base model first where needed.

    At most once per request; the same report can be requested again.
    """
    reap_lost_runs()
    report = LengthReport.objects.select_related("dataset__schema_version", "base_model").filter(pk=pk).first()
    if report is None or not report.claim():
        return
    with FailureHandler(report):
        _measure_lengths(report)


def _train(run: TrainingRun) -> None:
    spec, machine = RunSpec.from_yaml(run.spec), own_machine()
    problem = "" if spec.hybrid else capability_problem(run, hyperparameters_of(spec), machine)
    if problem:
        _requeue(run, problem, hyperparameters_of(spec))
        return
    run.send_heartbeat(stage="checking model and dataset")
    run.facts = {**run.facts, "machine": machine.kind, "application": application()}
    run.facts.pop("nobody_since", None)
    with keep_alive(run):  # hashes some gigabytes
        verify_inputs(spec)
    spec_key = f"{run.folder_key}/spec.yaml"
    write_text(spec_key, run.spec)
    try:
        with reserve_for_run(run, spec.devices) as devices:
            recorder = EventRecorder(run, [gpu.index for gpu in devices.gpus])
            resume = run.attempts > 1 or bool(run.checkpoint_step)
            ending = _run_child(run, trainer_command(spec, local_path(spec_key), resume=resume), devices, recorder)
    except ReservationCancelled:
        _release_run(run)
        return
    except NotEnoughGpus as error:
        _requeue(run, str(error), hyperparameters_of(spec))
        return
    run.facts = {**run.facts, "supervision": cost_of(ending, run.facts.get("supervision"))}
    with_retries(lambda: run.record(facts=run.facts))
    _conclude(run, ending, recorder)


def _run_child(run: TrainingRun, argv: list[str], devices: ReservedGpus, recorder: EventRecorder) -> ChildExit:
    with_retries(lambda: run.send_heartbeat(stage="loading the model"))
    try:
        return supervise(
            run,
            argv,
            on_event=recorder,
            log=log_path(run),
            env={**devices.env, "SLM_RUN_URL": settings.STUDIO_URL.rstrip("/") + run.get_absolute_url()},
            keep=devices.locks,
            grace=CHECKPOINT_GRACE_SECONDS,
            on_stop=recorder.on_stop,
            on_idle=recorder.on_idle,
            launcher=LAUNCHER in argv,
            also=("WANDB_*",) if "wandb" in RunSpec.from_yaml(run.spec).trackers else (),
        )
    finally:
        with_retries(recorder.flush)


def trainer_command(spec: RunSpec, path: Path, *, resume: bool = False) -> list[str]:
    """The child's command line; with several GPUs, through accelerate's launcher, which starts one process for each."""
    module = ["-m", TRAINER, str(path), *(["--resume"] if resume else [])]
    if spec.devices == 1:
        return [sys.executable, *module]
    # The launcher does not end with its parent on its own.
    launcher_prefix = [sys.executable, str(EXIT_WITH_PARENT), str(os.getpid())]
    return [
        *launcher_prefix,
        *(sys.executable, "-m", LAUNCHER, "launch", "--multi_gpu", "--num_machines", "1", "--mixed_precision", "no"),
        *("--num_processes", str(spec.devices), "--main_process_port", "0", "--dynamo_backend", "no"),
        *module,
    ]


def _conclude(run: TrainingRun, ending: ChildExit, recorder: EventRecorder) -> None:
    """Turns the end of the child process into the run's next state."""
    if ending.cancelled:
        raise ChildCancelled
    if ending.interrupted:
        _release_run(run)
        return
    if (
        ending.died
        and run.checkpoint_step > recorder.resumed_from
        and run.attempts_since_restart < run.attempts_allowed
    ):
        stage = f"process killed; resuming from step {run.checkpoint_step}"
        with_retries(lambda: run.return_to_queue(stage=stage))
        return
    if not ending.ok:
        raise ChildFailed(_with_resume_hint(run, ending.error, _error_kind(ending)))
    if ending.last.get("done", {}).get("stopped"):
        raise ChildCancelled  # the process itself received a signal
    with_retries(lambda: record_artifacts(run, recorder.artifacts))


def _release_run(run: TrainingRun) -> None:
    """Requeues a run whose worker is being stopped, or cancels it on request. The attempt does not count as failed."""
    facts = {**run.facts, "forgiven": int(run.facts.get("forgiven") or 0) + 1}
    with_retries(lambda: run.return_to_queue(facts=facts, stage="worker stopped; waiting for another worker"))


def _error_kind(ending: ChildExit) -> str:
    """The kind of the error that ended the child; "" where it had none."""
    killed = "memory" if "ran out of memory" in ending.error else ""
    return str(ending.last.get("error", {}).get("kind") or killed)


def _with_resume_hint(run: TrainingRun, sentence: str, kind: str = "") -> str:
    """The message, with what is kept and whether a resume helps: it keeps the run's settings.

    Each contains "kept" and "resumed", so that the page adds neither.
    """
    if not run.checkpoint_step:
        return sentence
    kept = f"{sentence} Its checkpoint at step {run.checkpoint_step} is kept"
    if kind == "diverged":
        return (
            f"{kept}, but a resumed run keeps its learning rate and will probably diverge again. Duplicate the run "
            "with a lower learning rate."
        )
    if kind == "memory":
        return f"{kept}. The run can be resumed when more memory is free. To use smaller settings, duplicate the run."
    return f"{kept}, and the run can be resumed from it."


def _requeue(run: TrainingRun, problem: str, hyperparameters: Hyperparameters) -> None:
    """Puts a run at the end of the queue for a suitable worker, after a pause. It does not count as an attempt.

    Raises:
        ChildFailed: there has been no suitable worker for ``NO_WORKER_SECONDS``.
    """
    facts = {name: value for name, value in run.facts.items() if name != "nobody_since"}
    if not any_worker_fits(run, hyperparameters):
        since = float(run.facts.get("nobody_since") or time.time())
        if time.time() - since >= NO_WORKER_SECONDS:
            with_retries(lambda: run.record(facts=facts))
            raise ChildFailed(_with_resume_hint(run, f"{problem} No suitable worker became available."))
        facts["nobody_since"] = since
    time.sleep(REQUEUE_SECONDS)
    attempts, stage = run.attempts - 1, "waiting for a suitable worker"
    if hyperparameters.devices > 1:
        stage = f"waiting for a worker with {hyperparameters.devices} GPUs"
    with_retries(lambda: run.return_to_queue(first=False, attempts=attempts, facts=facts, stage=stage))


def verify_inputs(spec: RunSpec) -> None:
    """Verifies the hashes of base model and dataset. Raises ChildFailed where they have changed."""
    base, data = Path(spec.base_model.path), Path(spec.dataset.path)
    if not base.is_dir():
        log.error("folder of base model %s missing: %s", spec.base_model.slug, base)
        raise ChildFailed(f"The folder of base model {spec.base_model.slug} is missing. Prepare it again.")
    if folder_hash(base) != spec.base_model.sha256:
        raise ChildFailed(
            f"The files of base model {spec.base_model.slug} have changed since this run was started. Prepare it again "
            "and start a new run."
        )
    if not data.is_file():
        log.error("dataset file missing: %s", data)
        raise ChildFailed("The dataset file is missing. Freeze a new version.")
    if sha256_file(data) != spec.dataset.sha256:
        raise ChildFailed("The dataset file has changed since it was frozen. Freeze a new version.")
    silver = spec.silver
    if silver is not None and (not Path(silver.path).is_file() or sha256_file(silver.path) != silver.sha256):
        raise ChildFailed("The file of silver labels is missing or has changed. Freeze a new version.")


def log_path(run: TrainingRun) -> Path:
    """Path of the log of the child process."""
    return local_path(f"{run.folder_key}/log.txt")


def _measure_lengths(report: LengthReport) -> None:
    base_model, dataset = report.base_model, report.dataset
    if not base_model.is_prepared:
        report.send_heartbeat(stage="preparing the base model")
    # Verifies the folder's hash where it is already prepared. A download is a separate request: it may take hours.
    with keep_alive(report):
        base_model = prepare(base_model=base_model, run=report, download=False)
    report.send_heartbeat(stage="measuring token lengths")
    schema = dataset.schema_version
    output = local_path(f"lengths/{report.pk}.jsonl")
    spec = spec_file(
        LengthsSpec(
            base_model=ModelRef(path=base_model.folder, sha256=base_model.sha256, slug=base_model.slug),
            dataset=DatasetRef(path=str(file_path(dataset)), sha256=dataset.sha256),
            contract=ContractRef(
                instruction=dataset.instruction,
                schema=loads(schema.schema_text),
                schema_sha256=schema.sha256,
            ),
            output=str(output),
            prompt=base_model.prompt,
        ).to_yaml()
    )
    try:
        child_log = local_path(f"lengths/{report.pk}.log")
        run_child("training.ml.lengths", spec, child_log, run=report)
        child_log.unlink(missing_ok=True)
        rows = [json.loads(line) for line in output.read_text().splitlines()]
    finally:
        spec.unlink(missing_ok=True)
        output.unlink(missing_ok=True)
    samples = {row["split"]: {"id": row["id"], **row["seen"]} for row in rows if "seen" in row}
    write_text(report.sample_key, json.dumps(samples, ensure_ascii=False))
    lengths = [[row["id"], row["split"], row["prompt"], row["completion"]] for row in rows]
    report.lengths = lengths
    longest = max((tokens for _, tokens in report.totals()), default=0)
    report.finish(lengths=lengths, longest=longest, model_sha256=base_model.sha256, progress_done=len(lengths))
