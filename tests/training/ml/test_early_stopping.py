"""Early stopping: patience counted in looks, and the weights of the best look are what comes out."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.training.ml.test_train import hashes, run, spec_in
from tests.training.ml_data import Told, named
from training.ml.loop.early_stopping import EarlyStopping
from training.ml.train import main


def test_patience_counts_looks_in_a_row() -> None:
    looks = EarlyStopping(patience=2)
    assert [looks.update(step, loss) for step, loss in enumerate([3.0, 2.0, 2.5, 1.0, 1.0])] == [
        True, True, False, True, False,
    ]  # fmt: skip
    assert not looks.should_stop
    looks.update(5, float("nan"))
    assert looks.should_stop
    assert (looks.best_step, looks.best_loss) == (3, 1.0)


def test_without_patience_it_never_ends() -> None:
    looks = EarlyStopping()
    for step in range(50):
        looks.update(step, float(step))
    assert not looks.should_stop
    assert looks.best_step == 0


def make_best(monkeypatch: pytest.MonkeyPatch, best: int) -> None:
    """The looks say that the loss falls until step ``best`` and rises from there."""
    take = EarlyStopping.update
    monkeypatch.setattr(EarlyStopping, "update", lambda self, step, loss: take(self, step, 1.0 + abs(step - best)))


def test_a_run_ends_where_its_validation_loss_does_not_fall_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The looks are made to say that step 2 was best; the model has to be that of a run which ended at step 2."""
    common: dict[str, Any] = {"scheduler": "constant", "warmup_ratio": 0.0, "eval_every": 1, "sample_documents": 0}
    short = run(tmp_path / "short", max_steps=2, **common)
    make_best(monkeypatch, 2)
    events = run(tmp_path / "early", max_steps=20, early_stopping=3, save_every=100, **common)
    [done] = named(events, "done")
    assert (done["stopped_early"], done["steps"], done["best_step"]) == (True, 5, 2)
    assert [one["step"] for one in named(events, "validation")] == [1, 2, 3, 4, 5]
    assert hashes(events) == hashes(short)
    told = Told()
    main(
        spec_in(tmp_path / "early", max_steps=20, early_stopping=3, save_every=100, **common), told.emitter, resume=True
    )
    assert hashes(told.events) == hashes(short)  # saved once more, should the first time have been lost
    shutil.rmtree(tmp_path / "early" / "out" / "state" / "checkpoint-00000002")
    told = Told()
    main(
        spec_in(tmp_path / "early", max_steps=20, early_stopping=3, save_every=100, **common), told.emitter, resume=True
    )
    assert "The weights of the last step are saved" in named(told.events, "warning")[-1]["message"]
    assert named(told.events, "done")[0]["best_step"] is None


@pytest.mark.parametrize(("best", "said"), [(1, None), (2, 2)])
def test_without_patience_only_a_last_look_can_be_the_one_whose_weights_came_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, best: int, said: int | None
) -> None:
    make_best(monkeypatch, best)
    events = run(tmp_path, max_steps=2, eval_every=1, sample_documents=0)
    assert named(events, "done")[0]["best_step"] == said
