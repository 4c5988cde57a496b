"""BANKING77 as rows of a contract with one class."""

import csv
import random
from pathlib import Path
from typing import Any

from training.ml.data.rows import Row

INSTRUCTION = "Name the intent of the message."


def read(path: Path, seed: int | None = None) -> tuple[dict[str, Any], list[Row]]:
    """The schema and the messages, in the order of the file or one drawn by a seed."""
    with path.open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    intent = {"type": "string", "enum": sorted({line["category"] for line in lines}), "x-slm": {"kind": "class"}}
    schema = {"type": "object", "additionalProperties": False, "required": ["intent"], "properties": {"intent": intent}}
    rows = [Row(f"m{at:05d}", "train", line["text"], {"intent": line["category"]}) for at, line in enumerate(lines)]
    if seed is not None:
        random.Random(seed).shuffle(rows)
    return schema, rows
