"""Curves for TensorBoard and Weights & Biases, read back with their own readers."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from slmstudio.errors import Refused
from tests.training.ml.test_train import run, spec_in
from tests.training.ml_data import EventCollector, named
from training.ml.loop import tracking


def scalars(folder: Path) -> dict[str, dict[int, float]]:
    """Curves of TensorBoard's event files: name -> step -> value; fails on duplicate steps."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader = EventAccumulator(str(folder))
    reader.Reload()
    curves = {}
    for name in reader.Tags()["scalars"]:
        points = reader.Scalars(name)
        curves[name] = {point.step: point.value for point in points}
        assert len(curves[name]) == len(points)
    return curves


def test_tensorboard_has_the_curves(tmp_path: Path) -> None:
    events = run(tmp_path, trackers=["tensorboard"], max_steps=3, eval_every=2)
    curves = scalars(tmp_path / "out" / "tensorboard")
    assert curves["train/loss"] == pytest.approx({event["step"]: event["loss"] for event in named(events, "metrics")})
    losses = {event["step"]: event["loss"] for event in named(events, "validation")}
    assert curves["validation/loss"] == pytest.approx(losses)
    assert set(curves) >= {"train/learning_rate", "train/grad_norm", "train/tokens_per_second", "samples/field_exact"}


def test_replayed_points_are_stored_once(tmp_path: Path) -> None:
    spec = spec_in(tmp_path, trackers=["tensorboard"])
    for resumed_from, steps in ((0, range(1, 6)), (3, range(4, 8))):
        collector = EventCollector()
        close = tracking.start_trackers(spec, collector.emitter, resumed_from=resumed_from)
        for step in steps:
            collector.emitter.emit("metrics", step=step, loss=1.0 / step)
        close()
    assert sorted(scalars(tmp_path / "out" / "tensorboard")["train/loss"]) == list(range(1, 8))


def test_missing_tracker_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    with pytest.raises(Refused, match="trackers: package wandb is not installed"):
        run(tmp_path, trackers=["wandb"])


def test_failing_tracker_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def __init__(self, *_: Any) -> None:
            return

        def log(self, step: int, values: dict[str, float]) -> None:
            raise OSError(28, "No space left on device")

        def close(self) -> None:
            return

    monkeypatch.setitem(tracking._OPENERS, "tensorboard", Broken)
    events = run(tmp_path, trackers=["tensorboard"], max_steps=2, sample_documents=0)
    messages = [event["message"] for event in named(events, "warning")]
    assert sum("tensorboard failed and was turned off" in message for message in messages) == 1
    assert named(events, "done")


@pytest.mark.skipif(find_spec("wandb") is None, reason="wandb is an option and is not installed")
def test_wandb_stores_an_offline_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    spec = spec_in(tmp_path, trackers=["wandb"])
    collector = EventCollector()
    close = tracking.start_trackers(spec, collector.emitter, resumed_from=0)
    collector.emitter.emit("metrics", step=1, loss=0.5)
    close()
    assert not named(collector.events, "warning")
    [file] = (tmp_path / "out" / "wandb").glob("offline-run-*/*.wandb")
    assert b"train/loss" in file.read_bytes()


def test_tracker_links_both_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Online:
        url = "https://wandb.ai/team/slm-studio/runs/1"

        def __init__(self, *_: Any) -> None:
            assert tracking.run_url() == "https://slm.example.com/p/receipts/training/3/"

        def log(self, step: int, values: dict[str, float]) -> None:
            return

        def close(self) -> None:
            return

    monkeypatch.setenv("SLM_RUN_URL", "https://slm.example.com/p/receipts/training/3/")
    monkeypatch.setitem(tracking._OPENERS, "tensorboard", Online)
    collector = EventCollector()
    tracking.start_trackers(spec_in(tmp_path, trackers=["tensorboard"]), collector.emitter, resumed_from=0)()
    assert named(collector.events, "tracker") == [{"event": "tracker", "name": "tensorboard", "url": Online.url}]
