"""What was told is kept with each checkpoint, whatever happens to the file in between."""

import os
from pathlib import Path

import pytest

from training.ml.loop.event_log import EventLog


def tell(told: EventLog, *steps: int) -> None:
    for step in steps:
        told.record("metrics", {"step": step, "loss": 1 / step, "word": "Jalan Ünal"})


def steps(lines: list[str]) -> list[int]:
    return [int(line.split('"step": ')[1].split(",")[0]) for line in lines]


def test_what_was_flushed_is_told_again_up_to_a_step_and_goes_on_from_there(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    first = EventLog(path)
    tell(first, 1, 2)
    first.flush()
    tell(first, 3, 4)
    first.record("artifact", {"kind": "merged"})
    first.flush()
    tell(first, 5)  # never flushed
    second = EventLog(path)
    assert steps(second.events_up_to(3)) == [1, 2, 3]
    tell(second, 4)
    second.flush()
    assert steps(EventLog(path).events_up_to(99)) == [1, 2, 3, 4]
    assert EventLog(path).events_up_to(1) == ['{"event": "metrics", "step": 1, "loss": 1.0, "word": "Jalan Ünal"}']


def test_a_run_that_starts_afresh_keeps_nothing_of_another(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    assert EventLog(path).events_up_to(9) == []
    tell(first := EventLog(path), 1, 2, 3)
    first.flush()
    tell(other := EventLog(path), 1)
    other.flush()
    assert steps(EventLog(path).events_up_to(9)) == [1]


@pytest.mark.parametrize(
    "rest", ['{"event": "metrics", "st', "[]\n", '{"event": "done", "step": 2}\n', "\0\0\n", "\udcff\n"]
)
def test_what_is_no_point_ends_the_file(tmp_path: Path, rest: str) -> None:
    path = tmp_path / "events.jsonl"
    tell(first := EventLog(path), 1)
    first.flush()
    with path.open("ab") as file:
        file.write(rest.encode("utf-8", "surrogateescape"))
    second = EventLog(path)
    assert steps(second.events_up_to(9)) == [1]
    tell(second, 2)
    second.flush()
    assert steps(EventLog(path).events_up_to(9)) == [1, 2]


def test_a_full_disk_is_made_up_for_the_next_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "events.jsonl"
    told = EventLog(path)
    tell(told, 1)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            told.flush()
    tell(told, 2)
    told.flush()
    assert steps(EventLog(path).events_up_to(9)) == [1, 2]
