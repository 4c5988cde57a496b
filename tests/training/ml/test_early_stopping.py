"""Early stopping: patience in evaluations, and the weights of the best evaluation."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from slmstudio.storage.hashing import folder_hash
from tests.training.ml.test_train import hashes, run, spec_in
from tests.training.ml_data import EventCollector, named
from training.ml.loop.progress_callback import EarlyStopping
from training.ml.loop.samples import ValidationSampler
from training.ml.train import main


def test_patience_counts_consecutive_evaluations() -> None:
    stopping = EarlyStopping(patience=2)
    assert [stopping.update(step, loss) for step, loss in enumerate([3.0, 2.0, 2.5, 1.0, 1.0])] == [
        True, True, False, True, False,
    ]  # fmt: skip
    assert not stopping.should_stop
    stopping.update(5, float("nan"))
    assert stopping.should_stop
    assert (stopping.best_step, stopping.best_loss) == (3, 1.0)


def test_no_patience_never_stops() -> None:
    stopping = EarlyStopping()
    for step in range(50):
        stopping.update(step, float(step))
    assert not stopping.should_stop
    assert stopping.best_step == 0


def make_best(monkeypatch: pytest.MonkeyPatch, best: int) -> None:
    """Validation losses that fall until step ``best`` and rise from there."""
    take = EarlyStopping.update
    monkeypatch.setattr(EarlyStopping, "update", lambda self, step, loss: take(self, step, 1.0 + abs(step - best)))


@pytest.mark.slow
def test_run_stops_when_validation_loss_stops_falling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With step 2 as the best evaluation, the model must be that of a run that ended at step 2."""
    common: dict[str, Any] = {"scheduler": "constant", "warmup_ratio": 0.0, "eval_every": 1, "sample_documents": 0}
    short = run(tmp_path / "short", max_steps=2, **common)
    make_best(monkeypatch, 2)
    events = run(tmp_path / "early", max_steps=20, early_stopping=3, save_every=100, **common)
    [done] = named(events, "done")
    assert (done["stopped_early"], done["steps"], done["best_step"]) == (True, 5, 2)
    assert [one["step"] for one in named(events, "validation")] == [1, 2, 3, 4, 5]
    assert hashes(events) == hashes(short)
    collector = EventCollector()
    main(
        spec_in(tmp_path / "early", max_steps=20, early_stopping=3, save_every=100, **common),
        collector.emitter,
        resume=True,
    )
    assert hashes(collector.events) == hashes(short)  # saved once more, should the first time have been lost
    shutil.rmtree(tmp_path / "early" / "out" / "state" / "checkpoint-00000002")
    collector = EventCollector()
    main(
        spec_in(tmp_path / "early", max_steps=20, early_stopping=3, save_every=100, **common),
        collector.emitter,
        resume=True,
    )
    assert "The weights of the last step are saved" in named(collector.events, "warning")[-1]["message"]
    assert named(collector.events, "done")[0]["best_step"] is None


@pytest.mark.parametrize(("best", "expected"), [(1, None), (2, 2)])
def test_best_weights_without_patience_are_those_of_the_last_evaluation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, best: int, expected: int | None
) -> None:
    make_best(monkeypatch, best)
    events = run(tmp_path, max_steps=2, eval_every=1, sample_documents=0)
    assert named(events, "done")[0]["best_step"] == expected


@pytest.mark.slow
def test_kept_weights_follow_field_accuracy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the highest accuracy at step 2 of 4, the model must be that of a run that ended at step 2."""
    common: dict[str, Any] = {"scheduler": "constant", "warmup_ratio": 0.0, "eval_every": 1}
    short = run(tmp_path / "short", max_steps=2, sample_documents=0, **common)
    accuracies = iter([0.5, 0.8, 0.8, 0.7])
    scored = {"rows": [], "schema_valid": 1.0}
    monkeypatch.setattr(ValidationSampler, "sample", lambda *_, **__: {**scored, "field_exact": next(accuracies)})
    events = run(tmp_path / "best", max_steps=4, best_metric="field_accuracy", **common)
    [done] = named(events, "done")
    assert (done["steps"], done["best_step"], done["stopped_early"]) == (4, 2, False)
    assert hashes(events) == hashes(short)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("early_stopping", "folders"), [(9, ("merged", "other/merged")), (None, ("other/merged", "merged"))]
)
def test_best_and_last_are_both_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, early_stopping: int | None, folders: tuple[str, str]
) -> None:
    """With the best evaluation at step 2 of 4: the models of runs that ended at steps 2 and 4, whichever is chosen."""
    common: dict[str, Any] = {"scheduler": "constant", "warmup_ratio": 0.0, "eval_every": 1, "sample_documents": 0}
    expected = [hashes(run(tmp_path / f"{steps}", max_steps=steps, **common))[-1] for steps in (2, 4)]
    make_best(monkeypatch, 2)
    common |= {"max_steps": 4, "early_stopping": early_stopping, "save_every": 100, "keep_best_and_last": True}
    events = run(tmp_path / "both", **common)
    [done] = named(events, "done")
    steps = (done["best_step"], done["other_step"])
    assert steps == ((2, 4) if early_stopping else (None, 2))
    assert [folder_hash(tmp_path / "both" / "out" / name) for name in folders] == expected
    assert {"other_adapter", "other_merged"} < {one["kind"] for one in named(events, "artifact")}


def test_one_model_where_the_last_step_is_the_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_best(monkeypatch, 2)
    events = run(tmp_path, max_steps=2, eval_every=1, sample_documents=0, keep_best_and_last=True)
    assert named(events, "done")[0]["other_step"] is None
    assert {one["kind"] for one in named(events, "artifact")} == {"adapter", "merged"}


def test_patience_follows_field_accuracy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scored = {"rows": [], "schema_valid": 1.0, "field_exact": 0.5}
    monkeypatch.setattr(ValidationSampler, "sample", lambda *_, **__: scored)
    events = run(tmp_path, max_steps=6, eval_every=1, early_stopping=2, best_metric="field_accuracy")
    [done] = named(events, "done")
    assert (done["steps"], done["best_step"], done["stopped_early"]) == (3, 1, True)
