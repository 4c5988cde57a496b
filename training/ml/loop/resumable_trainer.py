"""The trainer with resumable checkpoints, evaluations without side effects, and length-grouped batches on devices.

Checkpoints are safetensors and JSON; optimizer, scheduler and random state are files of transformers' trainer, which
loads them with ``weights_only=True``. ``checkpoints`` verifies their hashes.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object
from safetensors.torch import load_file, save_file
from transformers import TrainerState

from slmstudio.errors import Refused
from training.ml.loop.trainer import CompletionTrainer, LengthGroupedSampler
from training.ml.loop.weight_averaging import WeightAverage

WEIGHTS = "weights.safetensors"
AVERAGE = "average.safetensors"
STATE = "trainer_state.json"  # the trainer expects these four names
OPTIMIZER = "optimizer.pt"
SCHEDULER = "scheduler.pt"
SCALER = "scaler.pt"


class ResumableTrainer(CompletionTrainer):
    """``save_checkpoint`` is called when a checkpoint is due. ``average``: of the weights, where they are averaged."""

    save_checkpoint: Callable[[], None] = staticmethod(lambda: None)
    average: WeightAverage | None = None

    def average_weights(self, decay: float) -> None:
        """Averages the weights from here on; evaluations are of the averaged ones."""
        self.average = WeightAverage(self.trainable_parameters(), decay)
        self.add_callback(self.average)

    def use_average(self) -> None:
        """Gives the model the averaged weights for good, where there are any: training has ended."""
        if self.average is not None:
            self.average.swap()

    def sum_over_processes(self, *values: float) -> list[float]:
        """Each value, summed over the processes of this run."""
        if self.args.world_size == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float32, device=self.args.device)
        summed: list[float] = self.accelerator.reduce(tensor, reduction="sum").tolist()
        return summed

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """An evaluation with samples, of the averaged weights where there are any. The random state is preserved."""
        with preserved_random_state(), self.average.applied() if self.average is not None else nullcontext():
            metrics: dict[str, float] = super().evaluate(*args, **kwargs)
        if not self.is_in_train and self.args.world_size > 1:
            # An evaluation before training marks the model as prepared; its gradients would not be averaged over the
            # processes.
            self.model.__dict__.pop("_is_accelerate_prepared", None)
        return metrics

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """As in the base class; each of several processes has its part of the step, and gradients are averaged."""
        loss = super().compute_loss(model, inputs, *args, **kwargs)
        shared = self.args.world_size > 1 and kwargs.get("num_items_in_batch") is not None
        return loss * self.args.world_size if shared and not inputs["input_ids"].is_cuda else loss

    def trainable_parameters(self) -> dict[str, torch.nn.Parameter]:
        """The trainable parameters, by name."""
        return {name: one for name, one in self.model.named_parameters() if one.requires_grad}

    def checkpoint_bytes(self) -> int:
        """Approximate size of a checkpoint: weights, their average where there is one, and two moments."""
        parameters = self.trainable_parameters().values()
        copies = 3 if self.average is None else 4
        return sum(copies * int(one.numel()) * int(one.element_size()) for one in parameters) + 2_000_000

    def write_checkpoint(self, folder: Path, random_states: list[dict[str, Any]]) -> None:
        """Writes a checkpoint into ``folder``. ``random_states``: of every process, in order."""
        save_file(
            {name: one.detach().contiguous() for name, one in self.trainable_parameters().items()}, folder / WEIGHTS
        )
        if self.average is not None:
            self.average.save(folder / AVERAGE)
        _save(self.optimizer.state_dict(), folder / OPTIMIZER)
        _save(self.lr_scheduler.state_dict(), folder / SCHEDULER)
        scaler = getattr(self.accelerator, "scaler", None)
        if scaler is not None:
            _save(scaler.state_dict(), folder / SCALER)
        for number, one in enumerate(random_states):
            _save(one, folder / ("rng_state.pth" if len(random_states) == 1 else f"rng_state_{number}.pth"))
        history, self.state.log_history = self.state.log_history, []  # already in the events
        try:
            self.state.save_to_json(str(folder / STATE))
        finally:
            self.state.log_history = history

    def load_checkpoint(self, folder: Path) -> None:
        """Loads weights and step of a checkpoint, without training."""
        self._load_from_checkpoint(str(folder))
        self.state = TrainerState.load_from_json(str(folder / STATE))

    def random_states(self) -> list[dict[str, Any]]:
        """The random state of every process, in order. Every process must call it."""
        state = _random_state()
        if self.args.world_size == 1:
            return [state]
        if "cuda" in state:
            state["cuda"] = torch.cuda.random.get_rng_state_all()  # as the trainer reads it in this case
        states: list[dict[str, Any]] = gather_object([state])
        return states

    def load_result(self, folder: Path) -> None:
        """Loads the weights that a run would keep of a checkpoint: the averaged ones where there are any."""
        self._load_weights(folder / (WEIGHTS if self.average is None else AVERAGE))

    def _load_weights(self, path: Path) -> None:
        """Loads weights into the model; Refused where they belong to another model."""
        own, stored = self.trainable_parameters(), load_file(path)
        if {name: one.shape for name, one in own.items()} != {name: one.shape for name, one in stored.items()}:
            raise Refused("The weights in the checkpoint belong to another model. Start a new run.", code="resume")
        with torch.no_grad():
            for name, one in own.items():
                one.copy_(stored[name])

    # Hooks of transformers' trainer.

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        self.save_checkpoint()

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        self._load_weights(Path(resume_from_checkpoint) / WEIGHTS)
        if self.average is not None:
            self.average.load(Path(resume_from_checkpoint) / AVERAGE)

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        """Batches are assigned to the processes in turn, so that those of one step are adjacent."""
        rows = self.args.per_device_train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size
        return LengthGroupedSampler(self._lengths, rows, self.args.seed)


@contextmanager
def preserved_random_state() -> Iterator[None]:
    """Restores the random state on exit, whatever draws random numbers inside."""
    before = _random_state()
    try:
        yield
    finally:
        random.setstate(before["python"])
        np.random.set_state(before["numpy"])
        torch.random.set_rng_state(before["cpu"])
        if "cuda" in before:
            torch.cuda.random.set_rng_state(before["cuda"])


def _random_state() -> dict[str, Any]:
    """The random state as the trainer reads it on a resume."""
    state = {"python": random.getstate(), "numpy": np.random.get_state(), "cpu": torch.random.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.random.get_rng_state()
    return state


def _save(value: Any, path: Path) -> None:
    with path.open("wb") as file:  # a Python file, whose errors keep their errno
        torch.save(value, file)
