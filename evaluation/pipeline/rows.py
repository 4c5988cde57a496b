"""The training and hold-out lines of JSONL files: sampled with a seed, unchanged."""

import random
from dataclasses import dataclass
from pathlib import Path


class RowsError(ValueError):
    """The files, shares or limits are unusable; the message names the reason."""


@dataclass(frozen=True)
class SourceLine:
    """One line of a file, without its line end, and its number from 1."""

    number: int
    data: bytes


def split_rows(
    *,
    train: Path,
    holdout: Path | None,
    holdout_share: float,
    max_train: int | None,
    max_holdout: int | None,
    seed: int,
) -> tuple[list[SourceLine], list[SourceLine]]:
    """Lines for training and for the hold-out.

    Without a hold-out file a seeded share of the training file is held out. Limits take the first of the shuffled
    lines. The same files, seed and limits give the same lines.

    Raises:
        RowsError: a missing or empty file, a share outside 0 to 1, a limit below 1, or no line left for a split.
    """
    for name, limit in (("max-train", max_train), ("max-holdout", max_holdout)):
        if limit is not None and limit < 1:
            raise RowsError(f"--{name} must be at least 1; it is {limit}.")
    rng = random.Random(seed)
    lines = _lines(train)
    if holdout is not None:
        held_out = _lines(holdout)
        rng.shuffle(held_out)
    else:
        if not 0 < holdout_share < 1:
            raise RowsError(f"--holdout-share must be above 0 and below 1; it is {holdout_share}.")
        rng.shuffle(lines)
        count = round(len(lines) * holdout_share)
        lines, held_out = lines[count:], lines[:count]
    rng.shuffle(lines)
    if not lines or not held_out:
        raise RowsError(f"{train} has too few rows for a training split and a hold-out.")
    return lines[:max_train], held_out[:max_holdout]


def _lines(path: Path) -> list[SourceLine]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RowsError(f"Cannot read {path}: {error.strerror}.") from error
    lines = [SourceLine(number, line.strip()) for number, line in enumerate(data.split(b"\n"), start=1) if line.strip()]
    if not lines:
        raise RowsError(f"{path} is empty.")
    return lines
