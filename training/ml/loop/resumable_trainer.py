"""The trainer with checkpoints of our own making, looks that leave no trace, and batches by length on several devices.

What is written and read is safetensors and JSON, and for optimizer, scheduler and random state the files of
transformers' own trainer, which it loads with ``weights_only=True``. ``checkpoints`` sees to it that they are whole.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object
from safetensors.torch import load_file, save_file
from transformers import TrainerState

from slmstudio.errors import Refused
from training.ml.loop.trainer import ByLength, CompletionTrainer

WEIGHTS = "weights.safetensors"
STATE = "trainer_state.json"  # these four names are those the trainer looks for
OPTIMIZER = "optimizer.pt"
SCHEDULER = "scheduler.pt"
SCALER = "scaler.pt"


class ResumableTrainer(CompletionTrainer):
    """``keep`` is called where a checkpoint is due."""

    keep: Callable[[], None] = staticmethod(lambda: None)

    def summed(self, *values: float) -> list[float]:
        """Each value, added up over the processes that share this run."""
        if self.args.world_size == 1:
            return list(values)
        told = torch.tensor(values, dtype=torch.float32, device=self.args.device)
        return self.accelerator.reduce(told, reduction="sum").tolist()

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """A look at the validation split, samples included. The random numbers of training go on as if it never was."""
        with untouched_random():
            metrics = super().evaluate(*args, **kwargs)
        if not self.is_in_train and self.args.world_size > 1:
            # A look before training leaves the model marked as prepared, and it would learn without its gradients
            # being averaged over the processes.
            self.model.__dict__.pop("_is_accelerate_prepared", None)
        return metrics

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """As in the class above; of several processes each has its part of the step, and gradients are averaged."""
        loss = super().compute_loss(model, inputs, *args, **kwargs)
        shared = self.args.world_size > 1 and kwargs.get("num_items_in_batch") is not None
        return loss * self.args.world_size if shared and not inputs["input_ids"].is_cuda else loss

    def trained(self) -> dict[str, torch.nn.Parameter]:
        """The parameters that learn, by name."""
        return {name: one for name, one in self.model.named_parameters() if one.requires_grad}

    def checkpoint_bytes(self) -> int:
        """About how much a checkpoint takes: weights in their own type, and two moments of the same size each."""
        return sum(3 * one.numel() * one.element_size() for one in self.trained().values()) + 2_000_000

    def write(self, folder: Path, random_states: list[dict[str, Any]]) -> None:
        """Puts what it takes to go on from here into ``folder``. ``random_states``: of every process, in order."""
        save_file({name: one.detach().contiguous() for name, one in self.trained().items()}, folder / WEIGHTS)
        _save(self.optimizer.state_dict(), folder / OPTIMIZER)
        _save(self.lr_scheduler.state_dict(), folder / SCHEDULER)
        scaler = getattr(self.accelerator, "scaler", None)
        if scaler is not None:
            _save(scaler.state_dict(), folder / SCALER)
        for number, one in enumerate(random_states):
            _save(one, folder / ("rng_state.pth" if len(random_states) == 1 else f"rng_state_{number}.pth"))
        history, self.state.log_history = self.state.log_history, []  # told in events already
        try:
            self.state.save_to_json(str(folder / STATE))
        finally:
            self.state.log_history = history

    def adopt(self, folder: Path) -> None:
        """Weights and place of a checkpoint, without training on from there."""
        self._load_from_checkpoint(str(folder))
        self.state = TrainerState.load_from_json(str(folder / STATE))

    def random_states(self) -> list[dict[str, Any]]:
        """The random state of every process, in order. All of them have to call it."""
        mine = _random_state()
        if self.args.world_size == 1:
            return [mine]
        if "cuda" in mine:
            mine["cuda"] = torch.cuda.random.get_rng_state_all()  # what the trainer reads back in this case
        return gather_object([mine])

    def load_weights(self, folder: Path) -> None:
        """The weights of a checkpoint into the model; Refused where they are not this model's."""
        mine, read = self.trained(), load_file(folder / WEIGHTS)
        if {name: one.shape for name, one in mine.items()} != {name: one.shape for name, one in read.items()}:
            raise Refused("The weights in the checkpoint are not those of this model. Start a new run.", code="resume")
        with torch.no_grad():
            for name, one in mine.items():
                one.copy_(read[name])

    # Hooks of transformers' trainer.

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        self.keep()

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        self.load_weights(Path(resume_from_checkpoint))

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        """Batches go to the processes in turn, so those of one step lie side by side whatever their number."""
        rows = self.args.per_device_train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size
        return ByLength(self._lengths, rows, self.args.seed)


@contextmanager
def untouched_random() -> Iterator[None]:
    """Whatever draws random numbers inside, the ones after it are those that would have come without it."""
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
    """As the trainer reads it back on a resume."""
    state = {"python": random.getstate(), "numpy": np.random.get_state(), "cpu": torch.random.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.random.get_rng_state()
    return state


def _save(value: Any, path: Path) -> None:
    with path.open("wb") as file:  # a file of Python's, whose errors keep their number
        torch.save(value, file)
