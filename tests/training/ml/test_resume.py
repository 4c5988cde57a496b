"""A run that is killed and resumed ends like an uninterrupted one: same bytes, same curve."""

import random
import signal
from pathlib import Path
from typing import Any

import pytest

from slmstudio.errors import Refused
from tests.training.ml_data import named, rows, smollm2_layers, tiny, train_spec, write_dataset
from tests.training.ml_process import Event, nursery
from training.ml.loop.checkpoint_manager import check_fingerprint, fingerprint_values
from training.spec import RunSpec
from training.strict_yaml import build

pytestmark = pytest.mark.slow

#: values of the clock are reported, and differ
CLOCK = ("tokens_per_second", "memory_bytes", "seconds_left")

#: averaged weights are a part of a checkpoint, too
EMA: dict[str, Any] = {"weight_averaging": "ema", "ema_decay": 0.9}


def spec_file(folder: Path, **changes: Any) -> Path:
    """Twelve steps over three epochs, with everything in it that draws random numbers or counts."""
    folder.mkdir(exist_ok=True)
    dataset = write_dataset(folder / "data.jsonl", changes.pop("made", None) or rows(train=13))
    wanted = {
        "batch_size": 2,
        "accumulation": 2,
        "epochs": 3.0,
        "eval_every": 3,
        "early_stopping": 9,
        "lora": {"r": 4, "alpha": 8, "dropout": 0.2},
        **changes,
    }
    model = wanted.pop("model", tiny())
    spec = build(RunSpec, train_spec(model, dataset, folder / "out", **wanted))
    (folder / "spec.yaml").write_text(spec.to_yaml())
    return folder / "spec.yaml"


def curve(events: list[Event]) -> dict[tuple[str, int], Event]:
    """Each point once; a point that is reported twice must be the same both times."""
    points: dict[tuple[str, int], Event] = {}
    for event in events:
        if event["event"] in ("metrics", "validation", "samples"):
            point = {key: value for key, value in event.items() if key not in CLOCK}
            assert points.setdefault((event["event"], event["step"]), point) == point
    return points


def outcome(events: list[Event]) -> dict[str, Any]:
    """What has to be the same however a run got there."""
    [done] = named(events, "done")
    return {
        "artifacts": {event["kind"]: event["sha256"] for event in named(events, "artifact")},
        "tokens": done["tokens"],
        "steps": done["steps"],
        "best": done["best_step"],
    }


@pytest.fixture(scope="module")
def unkilled(tmp_path_factory: pytest.TempPathFactory) -> list[Event]:
    return list(nursery().run(spec_file(tmp_path_factory.mktemp("unkilled"), **EMA)))


def test_run_killed_twice_matches_an_uninterrupted_run(unkilled: list[Event], tmp_path: Path) -> None:
    spec = spec_file(tmp_path, save_every=1, **EMA)
    first, second = random.randint(1, 6), random.randint(2, 5)  # one step: it may die before any checkpoint
    print(f"killed after {first} steps, then after {second} more")
    first_events = nursery().signal_at(signal.SIGKILL, spec, first)
    assert nursery().code == -signal.SIGKILL
    again = nursery().signal_at(signal.SIGKILL, spec, second, "--resume")
    assert nursery().code == -signal.SIGKILL
    last = list(nursery().run(spec, "--resume"))
    assert nursery().code == 0
    assert named(again, "start")[0]["resumed_from"] in (first - 1, first)
    assert named(last, "start")[0]["resumed_from"] > 0
    assert curve([*first_events, *again, *last]) == curve(unkilled)
    assert outcome(last) == outcome(unkilled)
    # And once more in the last part alone: who heard the parts before may have been killed with them.
    assert curve(last) == curve(unkilled)
    assert [event["step"] for event in named(last, "metrics")] == list(range(1, 13))
    assert {event["step"] for event in named(last, "checkpoint")} == set(range(1, 13))


@pytest.mark.slow
def test_killed_full_fine_tuning_without_averages_matches_an_uninterrupted_run(tmp_path: Path) -> None:
    """It resumes with the same augmented copies, too."""
    changes: dict[str, Any] = {"method": "full", "max_steps": 5, "early_stopping": None, "save_every": 1}
    changes["augmentation"] = "exchange"
    whole = list(nursery().run(spec_file(tmp_path / "whole", **changes)))
    spec = spec_file(tmp_path / "killed", **changes)
    nursery().signal_at(signal.SIGKILL, spec, 3)
    last = list(nursery().run(spec, "--resume"))
    assert named(last, "start")[0]["resumed_from"] in (2, 3)
    assert outcome(last) == outcome(whole)


def test_stopped_run_saves_a_checkpoint_and_no_model_and_repeats_its_evaluation(
    unkilled: list[Event], tmp_path: Path
) -> None:
    spec = spec_file(tmp_path, **EMA)
    first_events: list[Event] = []
    for event in nursery().run(spec):
        first_events.append(event)
        if event["event"] == "validation":
            nursery().send(signal.SIGTERM)
    assert nursery().code == 0
    [done] = named(first_events, "done")
    assert done["stopped"] is True
    kept = named(first_events, "checkpoint")[-1]
    assert kept["step"] == done["steps"] == named(first_events, "metrics")[-1]["step"]
    assert Path(kept["path"]).is_dir()
    assert not (tmp_path / "out" / "merged").exists()
    assert not named(first_events, "artifact")
    last = list(nursery().run(spec, "--resume"))
    assert named(last, "start")[0]["resumed_from"] == kept["step"]
    assert curve([*first_events, *last]) == curve(unkilled)
    assert outcome(last) == outcome(unkilled)


def test_damaged_checkpoint_falls_back_to_the_previous(unkilled: list[Event], tmp_path: Path) -> None:
    spec = spec_file(tmp_path, save_every=1, **EMA)
    first_events = nursery().signal_at(signal.SIGTERM, spec, 4)
    newest = Path(named(first_events, "checkpoint")[-1]["path"])
    weights = newest / "weights.safetensors"
    damaged = bytearray(weights.read_bytes())
    damaged[-1] ^= 1
    weights.write_bytes(damaged)
    last: list[Event] = []
    for event in nursery().run(spec, "--resume"):
        last.append(event)
        if event["event"] == "start":
            assert not newest.exists()  # it would count as one of the two that are kept
    step = named(first_events, "checkpoint")[-1]["step"]
    assert named(last, "start")[0]["resumed_from"] == step - 1
    assert f"step {step} is damaged" in named(last, "warning")[0]["message"]
    assert curve([*first_events, *last]) == curve(unkilled)
    assert [event["step"] for event in named(last, "metrics")] == list(range(1, 13))
    assert outcome(last) == outcome(unkilled)


def test_checkpoint_of_another_spec_is_rejected(tmp_path: Path) -> None:
    nursery().signal_at(signal.SIGTERM, spec_file(tmp_path), 1)
    other = list(nursery().run(spec_file(tmp_path, learning_rate=1e-3, epochs=4.0), "--resume"))
    assert nursery().code == 2
    assert other[-1]["event"] == "error"
    assert "epochs and learning_rate" in other[-1]["message"]
    write_dataset(tmp_path / "data.jsonl", rows(train=14))
    spec = build(RunSpec, {**train_spec(tiny(), tmp_path / "data.jsonl", tmp_path / "out")})
    (tmp_path / "spec.yaml").write_text(spec.to_yaml())
    changed = list(nursery().run(tmp_path / "spec.yaml", "--resume"))
    assert "dataset" in changed[-1]["message"]


def test_checkpoint_from_before_a_new_field_is_resumed(tmp_path: Path) -> None:
    spec = build(RunSpec, train_spec(tiny(), write_dataset(tmp_path / "data.jsonl"), tmp_path / "out"))
    wanted = fingerprint_values(spec, precision="fp32")
    older = {name: value for name, value in wanted.items() if name not in ("devices", "early_stopping", "lora.r")}
    check_fingerprint(older, wanted)
    with pytest.raises(Refused, match="devices"):
        check_fingerprint(older, {**wanted, "devices": 2})
    with pytest.raises(Refused, match="base_model and setting"):
        check_fingerprint({**wanted, "setting": 1, "base_model": "other"}, wanted)


def test_run_lost_before_saving_only_saves_its_model(tmp_path: Path) -> None:
    spec = spec_file(tmp_path, max_steps=2)
    whole = list(nursery().run(spec, "--resume"))
    assert named(whole, "start")[0]["resumed_from"] == 0  # without a checkpoint it starts over
    again = list(nursery().run(spec, "--resume"))
    assert named(again, "start")[0]["resumed_from"] == 2
    assert named(again, "metrics") == named(whole, "metrics")  # reported again with the same clock: not trained again
    assert outcome(again) == outcome(whole)


@pytest.mark.real_model
def test_packaged_model_resumes_identically(tmp_path: Path) -> None:
    changes = {"model": smollm2_layers(2), "precision": "auto", "max_steps": 2, "sample_documents": 0, "save_every": 1}
    changes |= {"accumulation": 1, "eval_every": 2}
    whole = list(nursery().run(spec_file(tmp_path / "whole", **changes)))
    spec = spec_file(tmp_path / "killed", **changes)
    nursery().signal_at(signal.SIGKILL, spec, 1)
    last = list(nursery().run(spec, "--resume"))
    assert named(last, "start")[0]["resumed_from"] in (0, 1, 2)
    assert outcome(last) == outcome(whole)
