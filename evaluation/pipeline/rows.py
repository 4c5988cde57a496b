"""Which rows of JSONL files a loop trains on and which it holds out: lines drawn by a seed, taken verbatim."""

import random
from dataclasses import dataclass
from pathlib import Path


class RowsError(ValueError):
    """The files or shares that were given cannot be used; the message says why."""


@dataclass(frozen=True)
class Line:
    """One line of a file, without its end, and its number from 1."""

    number: int
    data: bytes


def choose_rows(
    *,
    train: Path,
    holdout: Path | None,
    holdout_share: float,
    max_train: int | None,
    max_holdout: int | None,
    seed: int,
) -> tuple[list[Line], list[Line]]:
    """Lines for training and for the hold-out.

    Without a hold-out file a seeded share of the training file is held out. Limits take the first of the shuffled
    lines. The same files, seed and limits give the same lines.

    Raises:
        RowsError: a file that is not there or empty, a share outside 0 to 1, a limit below 1, nothing left for a part.
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
        raise RowsError(f"{train} has too few rows to train on some and hold some out.")
    return lines[:max_train], held_out[:max_holdout]


def _lines(path: Path) -> list[Line]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RowsError(f"{path} cannot be read: {error.strerror}.") from error
    lines = [Line(number, line.strip()) for number, line in enumerate(data.split(b"\n"), start=1) if line.strip()]
    if not lines:
        raise RowsError(f"{path} is empty.")
    return lines
