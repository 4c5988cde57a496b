"""transformers' trainer with resumable checkpoints and evaluations without side effects, for every family of models.

Rows are grouped by length. Checkpoints are safetensors and JSON; optimizer, scheduler and random state are files of
transformers' trainer, which loads them with ``weights_only=True``. ``checkpoints`` verifies their hashes.
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
from torch.utils.data import Sampler
from transformers import Trainer, TrainerState

from slmstudio.errors import Refused
from training.ml.loop.weight_averaging import WeightAverage
from training.ml.modeling.compilation import CompiledLayers
from training.ml.modeling.compute_weights import ComputeWeights

WEIGHTS = "weights.safetensors"
AVERAGE = "average.safetensors"
STATE = "trainer_state.json"  # the trainer expects these four names
OPTIMIZER = "optimizer.pt"
SCHEDULER = "scheduler.pt"
SCALER = "scaler.pt"


class TrainingStopped(Exception):
    """Raised from a callback to end training early with the weights as they are."""


class LengthGroupedSampler(Sampler[int]):
    """Groups rows by length, with batches in random order. The order depends on seed and epoch only."""

    def __init__(self, lengths: list[int], batch: int, seed: int) -> None:
        """``batch``: rows of one optimizer step."""
        self._lengths = lengths
        self._batch = batch
        self._seed = seed
        self._epoch = 0

    def __len__(self) -> int:
        return len(self._lengths)

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch of the next iteration."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + self._epoch)
        self._epoch += 1
        order = torch.randperm(len(self._lengths), generator=generator).tolist()
        pool = 8 * self._batch
        batches = []
        for start in range(0, len(order), pool):
            part = sorted(order[start : start + pool], key=lambda index: self._lengths[index])
            batches += [part[at : at + self._batch] for at in range(0, len(part), self._batch)]
        # A partial batch must come last: the loader splits by count.
        full = [batch for batch in batches if len(batch) == self._batch]
        for index in torch.randperm(len(full), generator=generator).tolist():
            yield from full[index]
        for rest in batches:
            if len(rest) < self._batch:
                yield from rest


class ResumableTrainer(Trainer):
    """A trainer whose runs resume bit for bit. ``tokens_seen`` counts without padding.

    ``save_checkpoint`` is called when a checkpoint is due. ``average``: of the weights, where they are averaged.
    ``compiled`` and ``compute_weights``: what the model uses during a training step, where there is something.
    """

    save_checkpoint: Callable[[], None] = staticmethod(lambda: None)
    average: WeightAverage | None = None
    compiled: CompiledLayers | None = None
    compute_weights: ComputeWeights | None = None

    def __init__(self, *args: Any, lengths: list[int], **kwargs: Any) -> None:
        """``lengths``: tokens of each training row, in order."""
        self._lengths = lengths
        self.tokens_seen = 0
        super().__init__(*args, **kwargs)

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

    def trainable_parameters(self) -> dict[str, torch.nn.Parameter]:
        """The trainable parameters, by name."""
        return {name: weights for name, weights in self.model.named_parameters() if weights.requires_grad}

    def checkpoint_bytes(self) -> int:
        """Approximate size of a checkpoint: weights, their average where there is one, and two moments."""
        parameters = self.trainable_parameters().values()
        copies = 3 if self.average is None else 4
        return sum(copies * int(weights.numel()) * int(weights.element_size()) for weights in parameters) + 2_000_000

    def write_checkpoint(self, folder: Path, random_states: list[dict[str, Any]]) -> None:
        """Writes a checkpoint into ``folder``. ``random_states``: of every process, in order."""
        weights = {name: value.detach().contiguous() for name, value in self.trainable_parameters().items()}
        save_file(weights, folder / WEIGHTS)
        if self.average is not None:
            self.average.save(folder / AVERAGE)
        _save(self.optimizer.state_dict(), folder / OPTIMIZER)
        _save(self.lr_scheduler.state_dict(), folder / SCHEDULER)
        scaler = getattr(self.accelerator, "scaler", None)
        if scaler is not None:
            _save(scaler.state_dict(), folder / SCALER)
        for number, random_state in enumerate(random_states):
            _save(random_state, folder / ("rng_state.pth" if len(random_states) == 1 else f"rng_state_{number}.pth"))
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
        if {name: value.shape for name, value in own.items()} != {name: value.shape for name, value in stored.items()}:
            raise Refused("The weights in the checkpoint belong to another model. Start a new run.", code="resume")
        with torch.no_grad():
            for name, value in own.items():
                value.copy_(stored[name])

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
