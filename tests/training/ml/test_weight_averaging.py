"""Averaged weights: the formula, and what is evaluated and saved."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.training.ml.test_train import hashes, run
from tests.training.ml_data import named
from training.ml.decoding.decoder import Loaded
from training.ml.loop.resumable_trainer import AVERAGE, WEIGHTS
from training.ml.loop.samples import ValidationSampler
from training.ml.loop.weight_averaging import WeightAverage, decay_at

EMA: dict[str, Any] = {"weight_averaging": "ema", "ema_decay": 0.9}


class State:
    """Just enough of the trainer's state."""

    global_step = 0


def test_average_follows_the_formula_and_is_exchanged_without_a_copy() -> None:
    weight = torch.nn.Parameter(torch.tensor([1.0, 5.0]))
    average, expected = WeightAverage({"w": weight}, decay=0.3), torch.tensor([1.0, 5.0])
    state = State()
    for step in range(1, 6):
        state.global_step = step
        weight.data = weight.data * -1.5 + step
        average.on_step_end(None, state, None)
        decay = min(0.3, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * weight.data
    trained = weight.data
    with average.applied():
        assert torch.allclose(weight.data, expected)
    assert weight.data_ptr() == trained.data_ptr()
    with pytest.raises(ValueError, match="stopped"), average.applied():
        raise ValueError("stopped")  # as a run is in the middle of an evaluation
    assert weight.data_ptr() == trained.data_ptr()


def test_average_is_updated_every_fourth_step_of_a_long_run() -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    average, state, values = WeightAverage({"w": weight}, decay=0.9), State(), []
    weight.data = torch.ones(1)
    for state.global_step in (100, 101, 102, 103, 104):
        average.on_step_end(None, state, None)
        with average.applied():
            values.append(weight.item())
    first = 1 - 0.9
    assert values == pytest.approx([first] * 4 + [1 - (1 - first) * 0.9**4])
    assert [decay_at(step, 0.99) for step in (1, 90, 10_000)] == [2 / 11, 0.91, 0.99]


@pytest.mark.slow
def test_averaged_weights_are_evaluated_and_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training itself is the same; the validation loss, the samples and the adapter are those of the average."""
    sampled: list[dict[str, torch.Tensor]] = []

    def sample(self: ValidationSampler, loaded: Loaded, **_: Any) -> dict[str, Any]:
        weights = {name: weight for name, weight in loaded.model.named_parameters() if weight.requires_grad}
        sampled.append({name: weight.detach().clone() for name, weight in weights.items()})
        return {"rows": [], "field_exact": 1.0, "schema_valid": 1.0}

    monkeypatch.setattr(ValidationSampler, "sample", sample)
    common: dict[str, Any] = {"max_steps": 4, "eval_every": 2, "save_every": 1}
    plain = run(tmp_path / "plain", **common)
    averaged = run(tmp_path / "ema", **common, **EMA)
    losses = [[event["loss"] for event in named(events, "metrics")] for events in (averaged, plain)]
    assert losses[0] == losses[1]
    for with_average, without in zip(named(averaged, "validation"), named(plain, "validation"), strict=True):
        assert with_average["loss"] != without["loss"]

    kept = tmp_path / "ema" / "out" / "state" / "checkpoint-00000004"
    average, weights = load_file(kept / AVERAGE), load_file(kept / WEIGHTS)
    assert weights.keys() == average.keys()
    assert any(not torch.equal(weight, weights[name]) for name, weight in average.items())
    assert len(sampled) == 4
    for name, weight in sampled[-1].items():
        assert torch.equal(weight, average[f"base_model.model.{name}"]), name
    saved = load_file(tmp_path / "ema" / "out" / "adapter" / "adapter_model.safetensors")
    for name, weight in saved.items():
        assert torch.equal(weight, average[name.replace(".weight", ".default.weight")]), name


@pytest.mark.slow
def test_best_step_has_the_averaged_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the best evaluation at step 2 of 4, the model must be that of a run that ended at step 2."""
    common: dict[str, Any] = {"scheduler": "constant", "warmup_ratio": 0.0, "eval_every": 1, **EMA}
    short = run(tmp_path / "short", max_steps=2, sample_documents=0, **common)
    accuracies = iter([0.5, 0.8, 0.8, 0.7])
    scored = {"rows": [], "schema_valid": 1.0}
    monkeypatch.setattr(ValidationSampler, "sample", lambda *_, **__: {**scored, "field_exact": next(accuracies)})
    events = run(tmp_path / "best", max_steps=4, best_metric="field_accuracy", **common)
    assert named(events, "done")[0]["best_step"] == 2
    assert hashes(events) == hashes(short)
