"""Rows of the example tasks: ``python -m examples.rows JOB [SOURCE] FOLDER`` writes train.jsonl and holdout.jsonl.

``receipts``: SOURCE has the 626 receipts of SROIE (ICDAR 2019) as JSON lines ``{"id", "text", "gold"}``. ``routing``:
SOURCE is the training file of banking77 as CSV (``text,category``), limited to the twenty classes of ``routing``.
``redaction``: generated messages, without a source.

The hold-out is sampled with a seed. Near-duplicates stay in one split: receipts of a store are similar, and a message
that differs by a comma would be evaluated by its own copy.
"""

import argparse
import csv
import json
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from examples.redaction.messages import messages
from labeling.datasets.near_duplicates import group

Row = dict[str, Any]
HERE = Path(__file__).parent
HOLDOUT = {"receipts": 125, "routing": 400, "redaction": 200}
#: messages of each class that are taken, where there are as many
PER_CLASS = 100
MESSAGES = 1000


def receipts(source: Path) -> list[Row]:
    """The receipts, with id, text and gold only."""
    rows = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines() if line.strip()]
    return [{"id": row["id"], "text": row["text"], "gold": row["gold"]} for row in rows]


def routing(source: Path) -> list[Row]:
    """Messages of the classes in the contract, at most ``PER_CLASS`` of each, in the order of the file."""
    contract = json.loads((HERE / "routing" / "contract.json").read_text(encoding="utf-8"))
    taken: dict[str, list[str]] = {name: [] for name in contract["schema"]["properties"]["queue"]["enum"]}
    with source.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            texts = taken.get(row["category"])
            if texts is not None and len(texts) < PER_CLASS:
                texts.append(row["text"].strip())
    return [
        {"id": f"{name}-{number}", "text": text, "gold": {"queue": name}}
        for name, texts in taken.items()
        for number, text in enumerate(texts, 1)
    ]


def redaction(source: Path | None = None) -> list[Row]:
    """Generated messages with personal data; see ``examples.redaction.messages``."""
    return list(messages(MESSAGES, seed=17))


def held_out(rows: Sequence[Row], count: int, seed: int = 17) -> tuple[list[Row], list[Row]]:
    """Rows for training and about ``count`` for the hold-out; near-duplicates stay in one split."""
    groups: dict[int, list[Row]] = {}
    for row, number in zip(rows, group(str(row["text"]) for row in rows).group, strict=True):
        groups.setdefault(number, []).append(row)
    order = list(groups.values())
    random.Random(seed).shuffle(order)
    train: list[Row] = []
    held: list[Row] = []
    for members in order:
        (held if len(held) + len(members) <= count else train).extend(members)
    return train, held


def write(rows: Iterable[Row], path: Path) -> None:
    """Writes one JSON object per line, in UTF-8."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def main() -> None:
    """Writes both files of a task."""
    parser = argparse.ArgumentParser(description="Rows for an example job.")
    parser.add_argument("job", choices=HOLDOUT)
    parser.add_argument("source", nargs="?", type=Path, help="what the job is made of; redaction has none")
    parser.add_argument("folder", type=Path)
    asked = parser.parse_args()
    if asked.source is None and asked.job != "redaction":
        parser.error(f"{asked.job} needs its SOURCE.")
    rows = {"receipts": receipts, "routing": routing, "redaction": redaction}[asked.job](asked.source)
    train, held = held_out(rows, HOLDOUT[asked.job])
    asked.folder.mkdir(parents=True, exist_ok=True)
    write(train, asked.folder / "train.jsonl")
    write(held, asked.folder / "holdout.jsonl")
    print(f"{asked.folder}: {len(train):,} rows to train on, {len(held):,} held out")


if __name__ == "__main__":
    main()
