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
    impatient = EarlyStopping()
    for step in range(50):
        impatient.update(step, float(step))
    assert not impatient.should_stop


def make_best(monkeypatch: pytest.MonkeyPatch, best: int) -> None:
    """Validation losses that fall until step ``best`` and rise from there."""
    take = EarlyStopping.update
    monkeypatch.setattr(EarlyStopping, "update", lambda self, step, loss: take(self, step, 1.0 + abs(step - best)))


#: of runs whose steps are the same whenever they end
STEADY: dict[str, Any] = {"scheduler": "constant", "warmup_ratio": 0.0, "eval_every": 1, "sample_documents": 0}


@pytest.fixture(scope="module")
def ended_at(tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[str]]:
    """The hashes of runs that ended at these steps."""
    folder = tmp_path_factory.mktemp("ended")
    return {steps: hashes(run(folder / f"{steps}", max_steps=steps, **STEADY)) for steps in (2, 4)}


@pytest.mark.slow
def test_run_stops_when_validation_loss_stops_falling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ended_at: dict[int, list[str]]
) -> None:
    """With step 2 as the best evaluation, the model must be that of a run that ended at step 2."""
    make_best(monkeypatch, 2)
    changes: dict[str, Any] = {**STEADY, "max_steps": 20, "early_stopping": 3, "save_every": 100}
    events = run(tmp_path, **changes)
    [done] = named(events, "done")
    assert (done["stopped_early"], done["steps"], done["best_step"]) == (True, 5, 2)
    assert [event["step"] for event in named(events, "validation")] == [1, 2, 3, 4, 5]
    assert hashes(events) == ended_at[2]
    collector = EventCollector()
    main(spec_in(tmp_path, **changes), collector.emitter, resume=True)
    assert hashes(collector.events) == ended_at[2]  # saved once more, should the first time have been lost
    shutil.rmtree(tmp_path / "out" / "state" / "checkpoint-00000002")
    collector = EventCollector()
    main(spec_in(tmp_path, **changes), collector.emitter, resume=True)
    assert "The weights of the last step are saved" in named(collector.events, "warning")[-1]["message"]
    assert named(collector.events, "done")[0]["best_step"] is None


@pytest.mark.parametrize(("best", "expected", "other"), [(1, None, 1), (2, 2, None)])
def test_weights_without_patience_are_those_of_the_last_evaluation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, best: int, expected: int | None, other: int | None
) -> None:
    """One model is saved where the last step is the best."""
    make_best(monkeypatch, best)
    events = run(tmp_path, max_steps=2, eval_every=1, sample_documents=0, keep_best_and_last=True)
    [done] = named(events, "done")
    assert (done["best_step"], done["other_step"]) == (expected, other)
    assert ("other_merged" in {event["kind"] for event in named(events, "artifact")}) == bool(other)


@pytest.mark.slow
def test_kept_weights_follow_field_accuracy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ended_at: dict[int, list[str]]
) -> None:
    """With the highest accuracy at step 2 of 4, the model must be that of a run that ended at step 2."""
    accuracies = iter([0.5, 0.8, 0.8, 0.7])
    scored = {"rows": [], "schema_valid": 1.0}
    monkeypatch.setattr(ValidationSampler, "sample", lambda *_, **__: {**scored, "field_exact": next(accuracies)})
    events = run(tmp_path, **{**STEADY, "max_steps": 4, "best_metric": "field_accuracy", "sample_documents": 1})
    [done] = named(events, "done")
    assert (done["steps"], done["best_step"], done["stopped_early"]) == (4, 2, False)
    assert hashes(events) == ended_at[2]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("early_stopping", "folders"), [(9, ("merged", "other/merged")), (None, ("other/merged", "merged"))]
)
def test_best_and_last_are_both_kept(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ended_at: dict[int, list[str]],
    early_stopping: int | None,
    folders: tuple[str, str],
) -> None:
    """With the best evaluation at step 2 of 4: the models of runs that ended at steps 2 and 4, whichever is chosen."""
    make_best(monkeypatch, 2)
    changes: dict[str, Any] = {"early_stopping": early_stopping, "save_every": 100, "keep_best_and_last": True}
    events = run(tmp_path, max_steps=4, **STEADY, **changes)
    [done] = named(events, "done")
    steps = (done["best_step"], done["other_step"])
    assert steps == ((2, 4) if early_stopping else (None, 2))
    assert [folder_hash(tmp_path / "out" / name) for name in folders] == [ended_at[2][-1], ended_at[4][-1]]
    assert {"other_adapter", "other_merged"} < {event["kind"] for event in named(events, "artifact")}


def test_patience_follows_field_accuracy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scored = {"rows": [], "schema_valid": 1.0, "field_exact": 0.5}
    monkeypatch.setattr(ValidationSampler, "sample", lambda *_, **__: scored)
    events = run(tmp_path, max_steps=6, eval_every=1, early_stopping=2, best_metric="field_accuracy")
    [done] = named(events, "done")
    assert (done["steps"], done["best_step"], done["stopped_early"]) == (3, 1, True)
