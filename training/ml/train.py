"""One fine-tuning run: ``python -m training.ml.train SPEC.yaml [--resume]``.

The same spec, data and seed give the same adapter, bit for bit on a CPU, however often the run was killed and resumed.
That holds where the spec names its precision: ``auto`` is timed, and may come out otherwise the next time. What it came
to stands in ``start`` and in environment.json.
The output folder holds spec.yaml, environment.json, adapter/ (LoRA), merged/ and, while it is trained, checkpoints in
state/. With ``--resume`` it goes on from the newest whole one; without, or with none there, it starts at step one and
throws the others away. One process at a time works in the folder: a resumed run waits for the one before to leave.

Events: start {total_steps, parameters, trainable_parameters, train_rows, validation_rows, left_out, device, precision,
longest, resumed_from}, then metrics, validation, samples and warning as in ``report``, checkpoint {step, path, bytes,
sha256}, artifact as in ``save``, done {seconds, steps, tokens, stopped, stopped_early, best_step, peak_memory_bytes}.
``best_step`` is that of the lowest validation loss where its weights came out, else null. A run that goes on tells all
points up to its checkpoint again, since who heard them may have been killed with the process.

SIGTERM ends the run after the step it is in: it writes a checkpoint and no model, and ``done`` says ``stopped``.
Several devices: ``accelerate launch --num_processes N -m training.ml.train SPEC.yaml``; the first process speaks.
"""

import json
import sys
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import set_seed

from training.ml.data.encoded_dataset import Data, read
from training.ml.data.rows import compiled
from training.ml.events import Emitter, run_child
from training.ml.hardware import device as machine
from training.ml.lengths import load_encoder
from training.ml.loop import artifacts, tracking
from training.ml.loop.checkpoint_callback import Keeper
from training.ml.loop.checkpoints import Checkpoint
from training.ml.loop.fingerprint import course
from training.ml.loop.progress_callback import Reporter, StopSignal
from training.ml.loop.resumable_trainer import ResumableTrainer
from training.ml.loop.run_lock import WAIT_SECONDS, alone_in
from training.ml.loop.trainer import Stopped
from training.ml.modeling import quantization
from training.ml.modeling.assembly import build, check_machine, eval_interval, leads, total_steps
from training.ml.modeling.folder_checks import check_ref
from training.spec import RunSpec

__all__ = ["eval_interval", "main", "total_steps"]


def main(spec: RunSpec, emitter: Emitter, *, resume: bool = False) -> None:
    """The child process."""
    stop = StopSignal()
    stop.listen()
    device = machine.pick_device()
    machine.set_threads()
    output = Path(spec.output_dir)
    precision = machine.resolve_precision(begun_in(output, spec) if resume else spec.precision, device)
    check_machine(spec, device, precision)
    tracking.check(spec)
    check_ref(spec.base_model)
    schema = compiled(spec.contract)
    encoder = load_encoder(spec.base_model.path, spec.prompt)
    data = read(spec, schema, encoder)

    sole = alone_in(output, wait=WAIT_SECONDS if resume else 0.0, stopped=lambda: stop.set)
    with sole if leads() else nullcontext():  # the other processes of a run wait for the first one to set up
        set_seed(spec.seed)
        trainer, reporter = build(spec, data, schema, encoder, emitter, stop, device, precision)
        keeper = Keeper(output / "state", course(spec, precision=precision), trainer, reporter, emitter)
        found = keeper.begin(resume=resume)
        moved = _describe(spec, output, machine.environment(device, precision)) if leads() else ""
        step = found.step if found else 0
        close = tracking.follow(spec, emitter, resumed_from=step) if leads() else lambda: None
        _announce_start(spec, data, trainer, emitter, device, precision, step)
        keeper.tell_again(found)
        if moved and found:
            message = f"The run goes on with another {moved}: its last digits may differ."
            emitter.emit("warning", step=step, message=message)
        try:
            _train(trainer, reporter, keeper, found, stop)
            best = None
            if not reporter.stopped:
                best = keeper.restore_best()
                if leads():
                    _save(spec, trainer, output, emitter)
                    keeper.store.prune()
        finally:
            close()
        emitter.emit(
            "done",
            seconds=round(reporter.seconds, 1),
            steps=trainer.state.global_step,
            tokens=reporter.tokens,
            stopped=reporter.stopped,
            stopped_early=reporter.stopped_early,
            best_step=best,
            peak_memory_bytes=reporter.peak_memory,
        )


def _describe(spec: RunSpec, output: Path, environment: dict[str, Any]) -> str:
    """Writes spec.yaml and environment.json; returns what has changed of what the last digits depend on."""
    output.mkdir(parents=True, exist_ok=True)
    if not _says(output / "spec.yaml", spec):  # it may be the very file that this run was given
        (output / ".spec.yaml").write_text(spec.to_yaml(), encoding="utf-8")
        (output / ".spec.yaml").replace(output / "spec.yaml")
    path = output / "environment.json"
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        before = environment
    artifacts.write_json(path, environment)
    names = ("packages", "processor", "threads", "device", "gpu")
    changed = [name for name in names if before.get(name) != environment.get(name)]
    return (
        {"packages": "set of package versions", "threads": "number of threads"}.get(changed[0], changed[0])
        if changed
        else ""
    )


def begun_in(output: Path, spec: RunSpec) -> str:
    """The precision that ``auto`` came to when the run began: what is timed may come out otherwise the next time."""
    try:
        begun = json.loads((output / "environment.json").read_text(encoding="utf-8"))["precision"]
    except (OSError, ValueError, KeyError):
        return spec.precision
    return str(begun) if spec.precision == "auto" else spec.precision


def _says(path: Path, spec: RunSpec) -> bool:
    try:
        return RunSpec.from_yaml(path.read_text(encoding="utf-8")) == spec
    except (OSError, ValueError):
        return False


def _announce_start(
    spec: RunSpec,
    data: Data,
    trainer: ResumableTrainer,
    emitter: Emitter,
    device: torch.device,
    precision: str,
    resumed_from: int,
) -> None:
    parameters = list(trainer.model.parameters())
    emitter.emit(
        "start",
        total_steps=total_steps(spec, len(data.train)),
        parameters=sum(quantization.count(one) for one in parameters),
        trainable_parameters=sum(one.numel() for one in parameters if one.requires_grad),
        train_rows=len(data.train),
        validation_rows=len(data.validation),
        left_out=data.left_out,
        device=device.type,
        precision=precision,
        longest=max(one.length for one in data.train),
        resumed_from=resumed_from,
    )
    if not data.validation:
        message = "There is no validation document: the run shows no validation loss and no samples."
        emitter.emit("warning", step=0, message=message)
    if data.one_answer:
        message = (
            f"All {len(data.train)} training documents have the same answer. The model will learn to give it whatever "
            "it reads; label documents with other answers."
        )
        emitter.emit("warning", step=0, message=message)


def _train(
    trainer: ResumableTrainer, reporter: Reporter, keeper: Keeper, found: Checkpoint | None, stop: StopSignal
) -> None:
    """Trains to the end, or until somebody asks to stop; then there is a checkpoint of that moment."""
    try:
        if found:
            trainer.adopt(found.path)
            if reporter.look_due and not stop.set:
                trainer.evaluate()
        over = found is not None and (trainer.state.global_step >= trainer.args.max_steps or reporter.stopped_early)
        if not over and not stop.set:
            trainer.train(resume_from_checkpoint=str(found.path) if found else None)
    except Stopped:
        pass
    reporter.stopped = reporter.stopped or stop.set
    if reporter.stopped and trainer.state.global_step > (found.step if found else 0):
        keeper.keep()


def _save(spec: RunSpec, trainer: ResumableTrainer, output: Path, emitter: Emitter) -> None:
    base = Path(spec.base_model.path)
    model = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
    if spec.method == "full":
        artifacts.save_full(model, base, output / "merged")
    else:
        artifacts.save_adapter(model, spec.base_model.slug, output / "adapter")
        artifacts.announce(emitter, "adapter", output / "adapter")
        artifacts.merge(base, output / "adapter", output / "merged")
    artifacts.announce(emitter, "merged", output / "merged")


if __name__ == "__main__":
    words = [one for one in sys.argv if one != "--resume"]
    sys.exit(run_child(words, RunSpec.from_yaml, partial(main, resume="--resume" in sys.argv)))
