"""Jobs of the training side. Each loads its row by id, claims it, supervises a child process, and reports."""

import errno
import json
import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

from labeling.datasets.queries import file_path
from slmstudio.contract.schema.compiled import loads
from slmstudio.database.retries import RETRY_SECONDS, UNAVAILABLE, with_retries
from slmstudio.errors import Refused
from slmstudio.runs.heartbeat import keep_alive
from slmstudio.runs.models import BackgroundRun
from slmstudio.runs.reaper import reap_lost_runs
from slmstudio.runs.supervisor import CHECKPOINT_GRACE_SECONDS, ChildExit, cost_of, supervise
from slmstudio.stack.programs import TIED
from slmstudio.storage.artifacts import local_path, write_text
from slmstudio.storage.hashing import folder_hash, sha256_file
from slmstudio.workers.devices import NotEnoughGpus, ReservationCancelled, ReservedGpus, own_machine, reserve_for_run
from training.base_models.services import prepare
from training.estimates.machine_fit import somebody_fits, unfit
from training.models import LengthReport, TrainingRun
from training.runs.child_processes import ChildCancelled, ChildFailed, run_child, spec_file
from training.runs.event_recorder import Recorder, record_artifacts
from training.runs.presets import Knobs
from training.runs.services import knobs_of
from training.spec import ContractRef, DatasetRef, LengthsSpec, ModelRef, RunSpec

log = logging.getLogger(__name__)
TRAINER = "training.ml.train"
LAUNCHER = "accelerate.commands.accelerate_cli"
STEP_BACK_SECONDS = 5.0
#: how long a run waits for a worker that is able to do it, such as one that is being restarted
NOBODY_SECONDS = 600.0


def run_training(pk: int) -> None:
    """Fine-tunes as the run's spec says, from the newest checkpoint where there is one.

    At most once at a time: a run that is claimed already, or gone, is left alone. The queue never tries again; the run
    does: its worker told to stop puts it back, the sweep queues the run of a lost worker again, and a child that was
    killed after it had got further than the attempt before is started once more.
    """
    reap_lost_runs()
    run: Any = TrainingRun.objects.select_related("dataset__schema_version", "project").filter(pk=pk).first()
    if run is None or not run.claim(attempts=run.attempts + 1):
        return
    with Explained(run):
        _train(run)


def measure_lengths(pk: int) -> None:
    """Counts the tokens of every row of a dataset version; prepares a base model of this machine first, once.

    At most once per request; the same report can be asked for again.
    """
    reap_lost_runs()
    report = LengthReport.objects.select_related("dataset__schema_version", "base_model").filter(pk=pk).first()
    if report is None or not report.claim():
        return
    with Explained(report):
        _measure(report)


class Explained:
    """Whatever stops a job becomes the run's last state: a sentence, or cancelled. Bugs are raised again as well."""

    def __init__(self, run: BackgroundRun) -> None:
        self.run = run

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> bool:
        if error is None:
            return False
        if isinstance(error, ChildCancelled):
            with_retries(self.run.cancelled)
            return True
        if isinstance(error, (ChildFailed, Refused)):
            self._fail(str(error))
            return True
        log.error("run %s of %s stopped", self.run.pk, type(self.run).__name__, exc_info=error)
        # Where the database has been away for half an hour already, the sweep will do it.
        self._fail(explain(error), seconds=0.0 if isinstance(error, UNAVAILABLE) else RETRY_SECONDS)
        return False

    def _fail(self, sentence: str, seconds: float = RETRY_SECONDS) -> None:
        with_retries(lambda: self.run.fail(sentence), seconds)


def explain(error: BaseException) -> str:
    """A sentence for an error nobody foresaw. Its own text is for the log: it may name hosts, users and paths, and the
    page of a run is read by all members of its project.
    """
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "The disk is full. Free some space and start the run again."
    if isinstance(error, (KeyboardInterrupt, SystemExit)):
        return "Its worker was stopped while it ran. Start it again."
    return f"It was stopped by an error of the studio itself ({type(error).__name__}). The worker's log has more."


def _train(run: TrainingRun) -> None:
    spec, machine = RunSpec.from_yaml(run.spec), own_machine()
    if why := unfit(run, knobs_of(spec), machine):
        _step_back(run, why, knobs_of(spec))
        return
    run.send_heartbeat(stage="checking model and dataset")
    run.facts = {**run.facts, "machine": machine.kind}
    run.facts.pop("nobody_since", None)
    with keep_alive(run):  # some gigabytes are hashed
        _verify(spec)
    spec_key = f"{run.folder_key}/spec.yaml"
    write_text(spec_key, run.spec)
    try:
        with reserve_for_run(run, spec.devices) as devices:
            recorder = Recorder(run)
            ending = _run_child(run, _command(spec, local_path(spec_key), run), devices, recorder)
    except ReservationCancelled:
        _leave(run)
        return
    except NotEnoughGpus as error:
        _step_back(run, str(error), knobs_of(spec))
        return
    run.facts = {**run.facts, "supervision": cost_of(ending, run.facts.get("supervision"))}
    with_retries(lambda: run.record(facts=run.facts))
    _end(run, ending, recorder)


def _run_child(run: TrainingRun, argv: list[str], devices: ReservedGpus, recorder: Recorder) -> ChildExit:
    with_retries(lambda: run.send_heartbeat(stage="loading the model"))
    try:
        return supervise(
            run,
            argv,
            on_event=recorder,
            log=log_path(run),
            env=devices.env,
            keep=devices.locks,
            grace=CHECKPOINT_GRACE_SECONDS,
            on_stop=recorder.stopping,
            on_idle=recorder.idle,
            launcher=LAUNCHER in argv,
            also=("WANDB_*",) if "wandb" in RunSpec.from_yaml(run.spec).trackers else (),
        )
    finally:
        with_retries(recorder.flush)


def _command(spec: RunSpec, path: Path, run: TrainingRun) -> list[str]:
    """The child's command line; for several cards behind accelerate's launcher, which starts one process for each."""
    resume = ["--resume"] if run.attempts > 1 or run.checkpoint_step else []
    module = ["-m", TRAINER, str(path), *resume]
    if spec.devices == 1:
        return [sys.executable, *module]
    tied = [sys.executable, str(TIED), str(os.getpid())]  # the launcher does not end with its parent by itself
    return [
        *tied,
        *(sys.executable, "-m", LAUNCHER, "launch", "--multi_gpu", "--num_machines", "1", "--mixed_precision", "no"),
        *("--num_processes", str(spec.devices), "--main_process_port", "0", "--dynamo_backend", "no"),
        *module,
    ]


def _end(run: TrainingRun, ending: ChildExit, recorder: Recorder) -> None:
    """Turns the child's ending into what becomes of the run."""
    if ending.cancelled:
        raise ChildCancelled
    if ending.interrupted:
        _leave(run)
        return
    if ending.died and run.checkpoint_step > recorder.resumed_from and run.tries < run.attempts_allowed:
        stage = f"its process was killed; it goes on from step {run.checkpoint_step}"
        with_retries(lambda: run.return_to_queue(stage=stage))
        return
    if not ending.ok:
        raise ChildFailed(_with_checkpoint(run, ending.error, _kind(ending)))
    if ending.last.get("done", {}).get("stopped"):
        raise ChildCancelled  # somebody asked the process itself
    with_retries(lambda: record_artifacts(run, recorder.artifacts))


def _leave(run: TrainingRun) -> None:
    """Puts a run back whose worker was told to stop, or cancels it where that is why. No attempt has failed."""
    facts = {**run.facts, "forgiven": int(run.facts.get("forgiven") or 0) + 1}
    with_retries(lambda: run.return_to_queue(facts=facts, stage="its worker was stopped; it goes on with the next one"))


def _kind(ending: ChildExit) -> str:
    """What ended the child, in the short word of its error; "" where it had none."""
    killed = "memory" if "ran out of memory" in ending.error else ""
    return str(ending.last.get("error", {}).get("kind") or killed)


def _with_checkpoint(run: TrainingRun, sentence: str, kind: str = "") -> str:
    """The sentence, that nothing of what came before is lost, and what a resume comes to: it keeps the run's settings.

    "kept" and "resumed" are in each, so that the page adds neither.
    """
    if not run.checkpoint_step:
        return sentence
    kept = f"{sentence} Its checkpoint of step {run.checkpoint_step} is kept"
    if kind == "diverged":
        return (
            f"{kept}, but resumed from there the run keeps its learning_rate and most likely ends the same way: "
            "duplicate it with a lower one."
        )
    if kind == "memory":
        return f"{kept}: it can be resumed where more memory is free. Smaller settings take a duplicate of the run."
    return f"{kept}, and it can be resumed from there."


def _step_back(run: TrainingRun, why: str, knobs: Knobs) -> None:
    """Leaves the run to an abler worker: at the end of the queue, after a moment. This was no attempt.

    Raises:
        ChildFailed: there has been no such worker for ``NOBODY_SECONDS``. One that is restarted is waited for.
    """
    facts = {name: value for name, value in run.facts.items() if name != "nobody_since"}
    if not somebody_fits(run, knobs):
        since = float(run.facts.get("nobody_since") or time.time())
        if time.time() - since >= NOBODY_SECONDS:
            with_retries(lambda: run.record(facts=facts))
            raise ChildFailed(_with_checkpoint(run, f"{why} No worker that is able to do it has come."))
        facts["nobody_since"] = since
    time.sleep(STEP_BACK_SECONDS)
    before, stage = run.attempts - 1, "waiting for a worker that is able to do it"
    if knobs.devices > 1:
        stage = f"waiting for a worker with {knobs.devices} cards"
    with_retries(lambda: run.return_to_queue(first=False, attempts=before, facts=facts, stage=stage))


def _verify(spec: RunSpec) -> None:
    """What the run rests on is what it was when the run was started."""
    base, data = Path(spec.base_model.path), Path(spec.dataset.path)
    if not base.is_dir():
        log.error("the folder of the base model %s is gone: %s", spec.base_model.slug, base)
        raise ChildFailed(f"The folder of the base model {spec.base_model.slug} is gone. Prepare it again.")
    if folder_hash(base) != spec.base_model.sha256:
        raise ChildFailed(
            f"The files of the base model {spec.base_model.slug} have changed since this run was started. "
            "Prepare it again and start a new run."
        )
    if not data.is_file():
        log.error("the file of the dataset is gone: %s", data)
        raise ChildFailed("The file of the dataset is gone. Freeze a new version.")
    if sha256_file(data) != spec.dataset.sha256:
        raise ChildFailed("The file of the dataset is not what was frozen: its hash differs. Freeze a new version.")


def log_path(run: TrainingRun) -> Path:
    """Where the child's own words go."""
    return local_path(f"{run.folder_key}/log.txt")


def _measure(report: LengthReport) -> None:
    base_model, dataset = report.base_model, report.dataset
    if not base_model.ready:
        report.send_heartbeat(stage="preparing the base model, once")
    # Checks the folder's hash where it is prepared already. A download is asked for by itself: it may take hours.
    with keep_alive(report):
        base_model = prepare(base_model=base_model, run=report, fetch=False)
    report.send_heartbeat(stage="counting tokens")
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
            prompt="chat" if base_model.instruction_tuned else "plain",
        ).to_yaml()
    )
    try:
        words = local_path(f"lengths/{report.pk}.log")
        run_child("training.ml.lengths", spec, words, run=report)
        words.unlink(missing_ok=True)
        rows = [json.loads(line) for line in output.read_text().splitlines()]
    finally:
        spec.unlink(missing_ok=True)
        output.unlink(missing_ok=True)
    seen = {row["split"]: {"id": row["id"], **row["seen"]} for row in rows if "seen" in row}
    write_text(report.seen_key, json.dumps(seen, ensure_ascii=False))
    lengths = [[row["id"], row["split"], row["prompt"], row["completion"]] for row in rows]
    report.lengths = lengths
    longest = max((tokens for _, tokens in report.totals()), default=0)
    report.finish(lengths=lengths, longest=longest, model_sha256=base_model.sha256, progress_done=len(lengths))
