"""Changed copies of training documents: values exchanged between documents, lines without values dropped.

In every second epoch of a document, the values of its text fields are replaced in text and gold by those of other
documents, as in mention replacement (Dai and Adel 2020, arXiv:2010.11683). A model then copies a name from where it is
instead of recalling it by the rest of the document. Only values that are in the text as one stretch are exchanged, and
only texts with more letters than digits: an amount or a date depends on others of its document.
"""

import random
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, Protocol

from datasets import Dataset
from transformers import TrainerCallback

from slmstudio.contract.schema.compiled import CompiledSchema
from slmstudio.contract.schema.structure import Field, Node
from slmstudio.contract.values.evidence import Span, find
from slmstudio.contract.values.kinds.registry import KINDS, fold_coarsely
from training.ml.data.encoder import Encoder
from training.ml.data.rows import Row
from training.ml.lengths import EncodedRow, encode_rows
from training.spec import RunSpec

#: share of the exchangeable values that are exchanged, and of the lines without a value that are dropped
EXCHANGED, DROPPED = 0.7, 0.2
#: different values of a field, without which it is not exchanged
MIN_VALUES = 4
_OPENING, _CLOSING = "([", ".,)]"

Path = tuple[str, ...]


@dataclass(frozen=True)
class _Value:
    """A value of gold, and where it is in the text. ``path``: of one outside of lists, by names."""

    field: Field
    value: Any
    spans: list[Span]
    path: Path | None


@dataclass(frozen=True)
class _Donor:
    """A value, and how its document prints it."""

    printed: str
    value: str


class Augmentation:
    """The augmented copies of training rows. The same seed, rows and epoch give the same copies."""

    def __init__(self, rows: Sequence[Row], schema: CompiledSchema, seed: int) -> None:
        self._rows = rows
        self._schema = schema
        self._seed = seed
        self._located: dict[int, list[_Value]] = {}

    def row(self, index: int, epoch: int) -> Row:
        """The row ``index`` as it is trained on in an epoch: itself in every second one."""
        row = self._rows[index]
        if (index + epoch) % 2 == 0:
            return row
        generator = random.Random(f"{self._seed}/{epoch}/{row.id}")
        exchanged = self._exchanged(row, self._values(index), generator)
        kept = self._shortened(exchanged, generator)
        if self._schema.validate(kept.gold) or kept.text == row.text:
            return row
        return replace(kept, evidence={})  # its places have moved

    @cached_property
    def _donors(self) -> dict[Path, list[list[_Donor]]]:
        """The values of each exchangeable field, those with the same letters together: a frequent value is drawn as
        often as a rare one."""
        donors: dict[Path, dict[str, list[_Donor]]] = {}
        counts: Counter[Path] = Counter()
        for index, row in enumerate(self._rows):
            for value in self._values(index):
                if value.path is None:
                    continue
                counts[value.path] += 1
                if places := _stretches(value, row.text):
                    same = donors.setdefault(value.path, {}).setdefault(fold_coarsely(value.value), [])
                    same.append(_Donor(places[0].text, value.value))
        return {path: list(same.values()) for path, same in donors.items() if _is_exchangeable(same, counts[path])}

    def _values(self, index: int) -> list[_Value]:
        if index not in self._located:
            row = self._rows[index]
            self._located[index] = list(_values(self._schema.root, row.gold, row.text, ()))
        return self._located[index]

    def _exchanged(self, row: Row, values: list[_Value], generator: random.Random) -> Row:
        """The row with values of other documents; itself where another of its values would be lost from the text."""
        changes: list[tuple[Span, str]] = []
        gold = row.gold
        for value in values:
            donors = self._donors.get(value.path) if value.path is not None else None
            places = _stretches(value, row.text) if donors else []
            if not donors or not places or generator.random() >= EXCHANGED:
                continue
            if any(_overlap(place, other) for place in places for other, _ in changes):
                continue
            donor = generator.choice(generator.choice(donors))
            changes += [(place, donor.printed) for place in places]
            gold = _with_value(gold, value.path or (), donor.value)
        text = row.text
        for span, printed in sorted(changes, key=lambda change: change[0].start, reverse=True):
            text = text[: span.start] + printed + text[span.end :]
        touched = (value for value in values if any(_overlap(own, span) for own in value.spans for span, _ in changes))
        exchanged = replace(row, text=text, gold=gold)
        lost = any(not find(_at(gold, value.path, value.value), value.field, text, limit=1) for value in touched)
        return row if lost else exchanged

    def _shortened(self, row: Row, generator: random.Random) -> Row:
        """The row without some of the lines that are not next to a value; itself where a value has no place."""
        values = list(_values(self._schema.root, row.gold, row.text, ()))
        if not values or any(not value.spans for value in values):
            return row
        lines = row.text.splitlines(keepends=True)
        starts = [0]
        for line in lines:
            starts.append(starts[-1] + len(line))
        spans = [span for value in values for span in value.spans]
        holds = [any(span.start < end and start < span.end for span in spans) for start, end in pairwise(starts)]
        kept = [
            line
            for number, line in enumerate(lines)
            if any(holds[max(0, number - 1) : number + 2]) or generator.random() >= DROPPED
        ]
        return replace(row, text="".join(kept))


def _values(node: Node, value: Any, text: str, path: Path | None) -> Iterator[_Value]:
    """The values of gold that are not null; those without evidence have no spans."""
    if value is None:
        return
    if node.item is not None and isinstance(value, list):
        for inner in value:
            yield from _values(node.item, inner, text, None)
    elif node.children and isinstance(value, dict):
        for name, child in node.children.items():
            inside = None if path is None else (*path, name)
            yield from _values(child, value.get(name), text, inside)
    elif node.field is not None:
        spans = find(value, node.field, text, limit=None) if node.field.evidence != "none" else []
        yield _Value(node.field, value, spans, path)


def _stretches(located: _Value, text: str) -> list[Span]:
    """The stretches of the text with all letters and digits of a text value, each with the brackets, points and commas
    around it; none of other values."""
    if not isinstance(located.value, str) or located.field.is_choice or KINDS[located.field.kind].by_meaning:
        return []
    letters = fold_coarsely(located.value)
    stretches: list[Span] = []
    for span in located.spans:
        # occurrences may overlap: "ha ha" in "ha ha ha"
        if fold_coarsely(span.text) == letters and not (stretches and _overlap(stretches[-1], span)):
            stretches.append(_with_marks(span, text))
    return stretches


def _with_marks(span: Span, text: str) -> Span:
    start, end = span.start, span.end
    while start and text[start - 1] in _OPENING:
        start -= 1
    while end < len(text) and text[end] in _CLOSING:
        end += 1
    return Span(start, end, text[start:end])


def _is_exchangeable(donors: Mapping[str, Collection[_Donor]], values: int) -> bool:
    """Whether a field has several values, most with more letters than digits, and most of its ``values`` are in the
    text. A class in words that few documents contain is not exchanged.
    """
    words = sum(sum(map(str.isalpha, value)) > sum(map(str.isdigit, value)) for value in donors)
    located = sum(map(len, donors.values()))
    return len(donors) >= MIN_VALUES and 2 * words > len(donors) and 2 * located > values


def _overlap(left: Span, right: Span) -> bool:
    return left.start < right.end and right.start < left.end


def _with_value(gold: Any, path: Path, value: Any) -> Any:
    """A copy of gold with another value at a path."""
    return value if not path else {**gold, path[0]: _with_value(gold[path[0]], path[1:], value)}


def _at(gold: Any, path: Path | None, value: Any) -> Any:
    """The value at a path of gold; ``value`` for one in a list, which is not exchanged."""
    if path is None:
        return value
    for name in path:
        gold = gold[name]
    return gold


# -- rows as the trainer reads them -----------------------------------------------------------------------------------


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
        whole = [number for number, row in enumerate(rows) if row.of is None]
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
        rows = [token_ids(self.encoded(number)) for number in batch["number"]]
        return {name: [row[name] for row in rows] for name in ("input_ids", "labels")}


class RowsOfEpoch(Protocol):
    """Training rows that differ by epoch."""

    epoch: int


class EpochOfRows(TrainerCallback):
    """Sets the epoch of rows, also after a resume and in each of several processes."""

    def __init__(self, rows: RowsOfEpoch, steps_per_epoch: int) -> None:
        self._rows = rows
        self._steps = steps_per_epoch

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._rows.epoch = state.global_step // self._steps
