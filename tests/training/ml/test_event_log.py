"""The event log is consistent with each checkpoint."""

import os
from pathlib import Path

import pytest

from training.ml.loop.checkpoint_manager import EventLog


def record_steps(event_log: EventLog, *steps: int) -> None:
    for step in steps:
        event_log.record("metrics", {"step": step, "loss": 1 / step, "word": "Jalan Ünal"})


def steps(lines: list[str]) -> list[int]:
    return [int(line.split('"step": ')[1].split(",")[0]) for line in lines]


def test_flushed_events_are_replayed_up_to_a_step(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    first = EventLog(path)
    record_steps(first, 1, 2)
    first.flush()
    record_steps(first, 3, 4)
    first.record("artifact", {"kind": "merged"})
    first.flush()
    record_steps(first, 5)  # never flushed
    second = EventLog(path)
    assert steps(second.events_up_to(3)) == [1, 2, 3]
    record_steps(second, 4)
    second.flush()
    assert steps(EventLog(path).events_up_to(99)) == [1, 2, 3, 4]
    assert EventLog(path).events_up_to(1) == ['{"event": "metrics", "step": 1, "loss": 1.0, "word": "Jalan Ünal"}']


def test_fresh_run_has_an_empty_log(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    assert EventLog(path).events_up_to(9) == []
    record_steps(first := EventLog(path), 1, 2, 3)
    first.flush()
    record_steps(other := EventLog(path), 1)
    other.flush()
    assert steps(EventLog(path).events_up_to(9)) == [1]


@pytest.mark.parametrize(
    "rest", ['{"event": "metrics", "st', "[]\n", '{"event": "done", "step": 2}\n', "\0\0\n", "\udcff\n"]
)
def test_invalid_line_ends_the_log(tmp_path: Path, rest: str) -> None:
    path = tmp_path / "events.jsonl"
    record_steps(first := EventLog(path), 1)
    first.flush()
    with path.open("ab") as file:
        file.write(rest.encode("utf-8", "surrogateescape"))
    second = EventLog(path)
    assert steps(second.events_up_to(9)) == [1]
    record_steps(second, 2)
    second.flush()
    assert steps(EventLog(path).events_up_to(9)) == [1, 2]


def test_failed_write_is_repeated_at_the_next_flush(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "events.jsonl"
    event_log = EventLog(path)
    record_steps(event_log, 1)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            event_log.flush()
    record_steps(event_log, 2)
    event_log.flush()
    assert steps(EventLog(path).events_up_to(9)) == [1, 2]
