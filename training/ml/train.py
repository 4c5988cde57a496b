"""One training run: ``python -m training.ml.train SPEC.yaml [--resume]``.

The same spec, data and seed give the same adapter, bit for bit on a CPU, however often the run was killed and resumed.
This needs a precision in the spec: ``auto`` is decided by timing. The precision in use is in the event ``start`` and in
environment.json. The output folder holds spec.yaml, environment.json, adapter/ (LoRA), merged/ and, during training,
checkpoints in state/. With ``--resume`` the run continues from the newest intact checkpoint; without it, or without a
checkpoint, it starts at step one and deletes the others. One process at a time works in the folder: a resumed run waits
for the previous process to leave.

Events: start {total_steps, parameters, trainable_parameters, train_rows (with silver_rows), validation_rows, left_out,
windows (a ``WindowPlan`` with documents and rows), device, precision, longest, resumed_from}, then metrics, validation,
samples and warning as in ``progress_callback``, checkpoint {step, path, bytes, sha256}, artifact as in ``artifacts``,
done {seconds, steps, tokens, stopped, stopped_early, best_step, other_step, peak_memory_bytes}. ``best_step`` is the
step of the best evaluation where its weights are in merged/, else null. With ``keep_best_and_last`` the other weights,
of the last step or of the best evaluation, are in other/; ``other_step`` is their step, null where both are the same. A
resumed run repeats all events up to its checkpoint: its supervisor may have been killed before it stored them.

SIGTERM ends the run after the current step: it saves a checkpoint and no model, and ``done`` has ``stopped``.
Several devices: ``accelerate launch --num_processes N -m training.ml.train SPEC.yaml``; the first writes events.
"""

import json
import sys
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import set_seed

from slmstudio.contract.schema.compiled import CompiledSchema
from slmstudio.errors import Refused
from training.ml.data.rows import compiled
from training.ml.encoders.task import EncoderTask
from training.ml.events import Emitter, is_main_process, run_child
from training.ml.hardware import device as machine
from training.ml.hybrid import assemble
from training.ml.loop import artifacts, tracking
from training.ml.loop.checkpoint_manager import CheckpointManager, fingerprint_values
from training.ml.loop.checkpoints import Checkpoint
from training.ml.loop.completion_task import CompletionTask
from training.ml.loop.progress_callback import ProgressCallback, StopSignal
from training.ml.loop.resumable_trainer import ResumableTrainer, TrainingStopped
from training.ml.loop.run_lock import WAIT_SECONDS, folder_lock
from training.ml.loop.task import TrainingTask, optimizer_constants
from training.ml.modeling import quantization
from training.ml.modeling.folder_checks import check_ref, is_encoder
from training.spec import RunSpec


def main(spec: RunSpec, emitter: Emitter, *, resume: bool = False) -> None:
    """The child process."""
    if spec.hybrid is not None:
        assemble(spec, emitter)
        return
    stop = StopSignal()
    stop.listen()
    device = machine.pick_device()
    machine.set_threads()
    output = Path(spec.output_dir)
    precision = machine.resolve_precision(original_precision(output, spec) if resume else spec.precision, device)
    check_machine(spec, device, precision)
    tracking.check_trackers(spec)
    task = load_task(spec, compiled(spec.contract))

    lock = folder_lock(output, wait=WAIT_SECONDS if resume else 0.0, stopped=lambda: stop.set)
    with lock if is_main_process() else nullcontext():  # the other processes wait for the first one
        set_seed(spec.seed)
        trainer, progress = task.build_trainer(emitter, stop, device, precision)
        checkpoints = CheckpointManager(
            output / "state", fingerprint_values(spec, precision=precision), trainer, progress, emitter
        )
        checkpoint = checkpoints.find_checkpoint(resume=resume)
        layers = "eager" if trainer.compiled is None else "compiled"
        environment = {**machine.environment(device, precision), "layers": layers}
        changed = _write_environment(spec, output, environment) if is_main_process() else ""
        step = checkpoint.step if checkpoint else 0
        close = tracking.start_trackers(spec, emitter, resumed_from=step) if is_main_process() else lambda: None
        _announce_start(task, trainer, emitter, environment, step)
        checkpoints.replay_events(checkpoint)
        if changed and checkpoint:
            message = f"Resumed with a different {changed}: the last digits of the results can differ."
            emitter.emit("warning", step=step, message=message)
        try:
            _train(trainer, progress, checkpoints, checkpoint, stop)
            best = other = None
            if not progress.stopped:
                best = checkpoints.restore_best()
                if is_main_process():
                    task.save(trainer, output, emitter)
                    other = checkpoints.load_other(best)
                    if other is not None:
                        task.save(trainer, output / "other", emitter, "other_")
                    checkpoints.store.prune()
        finally:
            close()
        emitter.emit(
            "done",
            seconds=round(progress.seconds, 1),
            steps=trainer.state.global_step,
            tokens=progress.tokens,
            stopped=progress.stopped,
            stopped_early=progress.stopped_early,
            best_step=best,
            other_step=other,
            peak_memory_bytes=progress.peak_memory,
        )


def load_task(spec: RunSpec, schema: CompiledSchema) -> TrainingTask:
    """The task of the base model's family, with its dataset.

    Raises:
        Refused: the base model or the dataset cannot be used.
    """
    config = check_ref(spec.base_model)
    return EncoderTask(spec, schema) if is_encoder(config) else CompletionTask(spec, schema)


def check_machine(spec: RunSpec, device: torch.device, precision: str) -> None:
    """Raises Refused, with the field, where this machine or launch does not support the spec."""
    quantization.check_qlora(spec, device)
    if precision == "fp16" and device.type != "cuda":
        raise Refused(
            "precision: fp16 needs a CUDA device. Choose auto, bf16 or fp32 on this machine.", code="precision"
        )
    if spec.devices != machine.world_size():
        raise Refused(
            f"devices: the spec asks for {spec.devices}, and the number of processes is {machine.world_size()}. Start "
            f"it with `accelerate launch --num_processes {spec.devices} -m training.ml.train SPEC.yaml`, or change "
            "devices.",
            code="devices",
        )
    if spec.devices == 1 and device.type == "cuda" and torch.cuda.device_count() > 1:
        raise Refused(
            f"devices: the spec asks for one device and {torch.cuda.device_count()} are visible. Set "
            "CUDA_VISIBLE_DEVICES to one of them.",
            code="devices",
        )


def _write_environment(spec: RunSpec, output: Path, environment: dict[str, Any]) -> str:
    """Writes spec.yaml and environment.json; returns a change since the last attempt that affects the last digits."""
    output.mkdir(parents=True, exist_ok=True)
    if not _holds_spec(output / "spec.yaml", spec):  # the run may have been started with this file
        (output / ".spec.yaml").write_text(spec.to_yaml(), encoding="utf-8")
        (output / ".spec.yaml").replace(output / "spec.yaml")
    path = output / "environment.json"
    try:
        before = {"layers": "eager", **json.loads(path.read_text(encoding="utf-8"))}
    except (OSError, ValueError):
        before = environment
    artifacts.write_json(path, environment)
    names = {
        "packages": "set of package versions", "processor": "processor", "threads": "number of threads",
        "device": "device", "gpu": "GPU", "layers": "kind of layers (compiled or not)",
    }  # fmt: skip
    return next((name for key, name in names.items() if before.get(key) != environment.get(key)), "")


def original_precision(output: Path, spec: RunSpec) -> str:
    """The precision that ``auto`` resolved to when the run started: timing can give another one the next time."""
    try:
        original = json.loads((output / "environment.json").read_text(encoding="utf-8"))["precision"]
    except (OSError, ValueError, KeyError):
        return spec.precision
    return str(original) if spec.precision == "auto" else spec.precision


def _holds_spec(path: Path, spec: RunSpec) -> bool:
    try:
        return RunSpec.from_yaml(path.read_text(encoding="utf-8")) == spec
    except (OSError, ValueError):
        return False


def _announce_start(
    task: TrainingTask,
    trainer: ResumableTrainer,
    emitter: Emitter,
    environment: dict[str, Any],
    resumed_from: int,
) -> None:
    data = task.data
    parameters = list(trainer.model.parameters())
    emitter.emit(
        "start",
        total_steps=task.spec.steps(len(data.train)),
        parameters=sum(quantization.parameter_count(weights) for weights in parameters),
        trainable_parameters=sum(weights.numel() for weights in parameters if weights.requires_grad),
        train_rows=len(data.train),
        silver_rows=data.silver,
        validation_rows=len(data.validation),
        left_out=data.left_out,
        windows=data.window_facts(),
        device=environment["device"],
        precision=environment["precision"],
        environment=environment,
        optimizer=optimizer_constants(trainer.args),
        longest=max(row.length for row in data.train),
        resumed_from=resumed_from,
        **task.start_facts(),
    )
    if not data.validation:
        message = "There are no validation documents, so there is no validation loss and no samples."
        emitter.emit("warning", step=0, message=message)
    if data.has_one_answer:
        message = (
            f"All {len(data.train)} training documents have the same output. The model will always generate that "
            "output. Label documents with other values."
        )
        emitter.emit("warning", step=0, message=message)


def _train(
    trainer: ResumableTrainer,
    progress: ProgressCallback,
    checkpoints: CheckpointManager,
    checkpoint: Checkpoint | None,
    stop: StopSignal,
) -> None:
    """Trains to the end, or until a stop is requested; then it saves a checkpoint."""
    try:
        if checkpoint:
            trainer.load_checkpoint(checkpoint.path)
            if progress.evaluation_due and not stop.set:
                trainer.evaluate()
        finished = checkpoint is not None and (
            trainer.state.global_step >= trainer.args.max_steps or progress.stopped_early
        )
        if not finished and not stop.set:
            trainer.train(resume_from_checkpoint=str(checkpoint.path) if checkpoint else None)
    except TrainingStopped:
        pass
    progress.stopped = progress.stopped or stop.set
    if progress.stopped and trainer.state.global_step > (checkpoint.step if checkpoint else 0):
        checkpoints.save_checkpoint()


if __name__ == "__main__":
    arguments = [argument for argument in sys.argv if argument != "--resume"]
    sys.exit(run_child(arguments, RunSpec.from_yaml, partial(main, resume="--resume" in sys.argv)))
