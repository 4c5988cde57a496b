"""The rows of a loop are drawn by the seed, verbatim, and never fall on both sides."""

from pathlib import Path
from typing import Any

import pytest

from evaluation.pipeline.rows import RowsError, SourceLine, split_rows


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\n".join(b'{"id": "%d"}\r' % number for number in range(1, 21)) + b"\n\n")
    return path


def draw(train: Path, **changes: Any) -> tuple[list[SourceLine], list[SourceLine]]:
    usual: dict[str, Any] = {"holdout": None, "holdout_share": 0.2, "max_train": None, "max_holdout": None, "seed": 17}
    return split_rows(train=train, **{**usual, **changes})


def test_every_line_is_on_one_side_and_knows_its_number(file: Path) -> None:
    train, holdout = draw(file)
    assert (len(train), len(holdout)) == (16, 4)
    lines = [*train, *holdout]
    assert sorted(line.number for line in lines) == list(range(1, 21))
    assert all(line.data == b'{"id": "%d"}' % line.number for line in lines)
    assert draw(file) == (train, holdout) != draw(file, seed=18)


def test_a_file_of_its_own_is_the_holdout(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "holdout.jsonl"
    other.write_text('{"id": "h"}\n')
    train, holdout = draw(file, holdout=other)
    assert len(train) == 20
    assert [line.data for line in holdout] == [b'{"id": "h"}']


def test_what_cannot_be_used_is_named(file: Path, tmp_path: Path) -> None:
    changes: list[tuple[dict[str, Any], str]] = [
        ({"max_train": 0}, "--max-train must be at least 1"),
        ({"max_holdout": -5}, "--max-holdout must be at least 1"),
        ({"holdout_share": 0}, "--holdout-share must be above 0"),
        ({"holdout_share": 1.5}, "--holdout-share must be above 0 and below 1"),
        ({"holdout_share": 0.01}, "too few rows"),
        ({"holdout": Path("/nowhere/holdout.jsonl")}, "Cannot read"),
    ]
    for change, words in changes:
        with pytest.raises(RowsError, match=words):
            draw(file, **change)
    empty = tmp_path / "empty.jsonl"
    empty.write_text("\n\n")
    with pytest.raises(RowsError, match="empty"):
        draw(empty)
