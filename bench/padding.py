"""Share of padding in the trainer's batches: what packing several documents into one row could save.

``python -m bench.padding MODEL_FOLDER ROWS``: rows with ``text`` and ``gold`` (JSON lines), or with ``text`` and
``category`` (CSV). Trains nothing: three epochs of the trainer's own order, split into batches per device and, on a
CPU, into micro-batches. Padding in random order, without the grouping by length, is next to it.
"""

import argparse
import csv
import json
import random
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

from training.estimates.micro_batch import micro_batch_rows
from training.ml.lengths import load_encoder
from training.ml.loop.trainer import LengthGroupedSampler

INSTRUCTION = "Extract the fields of the document as a JSON object."
#: documents of an optimizer step, and of a device batch
BATCHES = ((2, 2), (4, 4), (8, 8), (16, 8), (32, 32))
EPOCHS = 3


def main() -> None:
    """Prints one line for each batch size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("rows", type=Path)
    parser.add_argument("--count", type=int, default=2000, help="rows, drawn at random")
    arguments = parser.parse_args()
    lengths = token_lengths(arguments.model, arguments.rows, arguments.count)
    print(f"{len(lengths)} rows, {statistics.median(lengths):.0f} tokens (median), {max(lengths)} the longest")
    for step, device in BATCHES:
        orders = [list(order) for order in [LengthGroupedSampler(lengths, step, seed=17)] * EPOCHS]
        shuffled = random.Random(17).sample(range(len(lengths)), len(lengths))
        print(
            f"{step:3} a step, {device:2} a device: CPU {padding(lengths, orders, device, split=True):.1%}, "
            f"GPU {padding(lengths, orders, device, split=False):.1%}, "
            f"random order {padding(lengths, [shuffled], device, split=False):.1%}"
        )


def token_lengths(model: Path, rows: Path, count: int) -> list[int]:
    """Tokens of prompt and completion of up to ``count`` rows."""
    encoder = load_encoder(str(model), "chat")
    with rows.open(encoding="utf-8") as file:
        found = list(csv.DictReader(file)) if rows.suffix == ".csv" else [json.loads(line) for line in file]
    if len(found) > count:
        found = random.Random(17).sample(found, count)
    return [
        len(encoder.prompt(instruction=INSTRUCTION, document=row["text"]))
        + len(encoder.completion(json.dumps(row.get("gold") or {"category": row["category"]})))
        for row in found
    ]


def padding(lengths: Sequence[int], orders: Sequence[Sequence[int]], device: int, *, split: bool) -> float:
    """The share of padding among all computed tokens; ``split``: with the micro-batches of a CPU."""
    computed = total = 0
    for order in orders:
        for at in range(0, len(order), device):
            for part in _parts([lengths[index] for index in order[at : at + device]], split=split):
                total += sum(part)
                computed += max(part) * len(part)
    return 1 - total / computed


def _parts(batch: Sequence[int], *, split: bool) -> Iterator[Sequence[int]]:
    rows = micro_batch_rows(max(batch)) if split else len(batch)
    for first in range(0, len(batch), rows):
        yield batch[first : first + rows]


if __name__ == "__main__":
    main()
