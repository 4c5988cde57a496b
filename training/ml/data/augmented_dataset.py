"""Training rows that are augmented anew in each epoch, as a dataset of the trainer."""

from collections.abc import Sequence
from typing import Any

from datasets import Dataset
from transformers import TrainerCallback

from slmstudio.contract.schema.compiled import CompiledSchema
from training.ml.data.augmentation import Augmentation
from training.ml.data.encoder import Encoder
from training.ml.lengths import EncodedRow, encode_rows
from training.spec import RunSpec


def token_ids(row: EncodedRow) -> dict[str, list[int]]:
    """A row as the trainer reads it: the loss is that of the completion."""
    return {"input_ids": row.prompt + row.completion, "labels": [-100] * len(row.prompt) + row.completion}


class AugmentedRows:
    """The rows as they are in ``epoch``. Windows, and copies over the sequence length, stay as they were."""

    def __init__(self, rows: Sequence[EncodedRow], spec: RunSpec, schema: CompiledSchema, encoder: Encoder) -> None:
        self.epoch = 0
        self._rows = rows
        self._spec = spec
        self._schema = schema
        self._encoder = encoder
        whole = [number for number, one in enumerate(rows) if one.of is None]
        self._places = {number: place for place, number in enumerate(whole)}
        self._augmentation = Augmentation([rows[number].row for number in whole], schema, spec.seed)

    def dataset(self) -> Dataset:
        """A dataset that reads them when they are trained on."""
        return Dataset.from_dict({"number": range(len(self._rows))}).with_transform(self._transformed)

    def encoded(self, number: int) -> EncodedRow:
        """One of the rows."""
        row = self._rows[number]
        if number not in self._places:
            return row
        augmented = self._augmentation.row(self._places[number], self.epoch)
        if augmented is row.row:
            return row
        [encoded] = encode_rows(
            [augmented], instruction=self._spec.contract.instruction, schema=self._schema, encoder=self._encoder
        )
        return encoded if encoded.length <= self._spec.max_length else row

    def _transformed(self, batch: dict[str, list[int]]) -> dict[str, list[list[int]]]:
        found = [token_ids(self.encoded(number)) for number in batch["number"]]
        return {name: [one[name] for one in found] for name in ("input_ids", "labels")}


class EpochOfRows(TrainerCallback):
    """Sets the epoch of ``AugmentedRows``, also after a resume and in each of several processes."""

    def __init__(self, rows: AugmentedRows, steps_per_epoch: int) -> None:
        self._rows = rows
        self._steps = steps_per_epoch

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._rows.epoch = state.global_step // self._steps
