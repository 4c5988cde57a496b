"""BANKING77 as rows of a contract with one class, in an order drawn by a seed."""

import csv
import random
from pathlib import Path
from typing import Any

from bench.small_model import Row

INSTRUCTION = "Name the intent of the message."


def read(path: Path, seed: int) -> tuple[dict[str, Any], list[Row]]:
    """The schema and the messages."""
    with path.open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    intent = {"type": "string", "enum": sorted({line["category"] for line in lines}), "x-slm": {"kind": "class"}}
    schema = {"type": "object", "additionalProperties": False, "required": ["intent"], "properties": {"intent": intent}}
    rows = [Row(f"m{at:05d}", line["text"], {"intent": line["category"]}) for at, line in enumerate(lines)]
    random.Random(seed).shuffle(rows)
    return schema, rows
