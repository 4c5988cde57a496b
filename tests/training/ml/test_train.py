"""A fine-tuning run from spec to files: learning, reproducibility, rejections, stops."""

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from slmstudio.errors import Refused
from slmstudio.storage.hashing import folder_hash
from tests.training.ml_data import REPO, SCHEMA, EventCollector, named, rows, smollm2, tiny, train_spec, write_dataset
from tests.training.ml_process import nursery
from training.ml.loop.progress_callback import ProgressCallback, StopSignal
from training.ml.train import main
from training.spec import RunSpec
from training.strict_yaml import build

Events = list[dict[str, Any]]


def spec_in(folder: Path, made: list[dict[str, Any]] | None = None, **changes: Any) -> RunSpec:
    folder.mkdir(exist_ok=True)
    dataset = write_dataset(folder / "data.jsonl", made)
    model = changes.pop("model", tiny())
    return build(RunSpec, train_spec(model, dataset, folder / "out", **changes))


def run(folder: Path, made: list[dict[str, Any]] | None = None, **changes: Any) -> Events:
    """A run in this process; most tests need no other."""
    collector = EventCollector()
    main(spec_in(folder, made, **changes), collector.emitter)
    return collector.events


def run_in_child(folder: Path, **changes: Any) -> Events:
    """A run in a process of its own."""
    spec = spec_in(folder, **changes)
    path = folder / "spec.yaml"
    path.write_text(spec.to_yaml())
    events = list(nursery().run(path))
    assert nursery().code == 0, events[-1:]
    return events


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """The tiny model has nothing to share out, and on a busy machine two threads wait for each other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "1"))
        before = torch.get_num_threads()
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
        yield
        torch.set_num_threads(before)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Events]:
    folder = tmp_path_factory.mktemp("finished")
    return folder / "out", run(folder, epochs=6.0)


def test_events_of_a_run(finished: tuple[Path, Events]) -> None:
    _, events = finished
    [start] = named(events, "start")
    assert (start["total_steps"], start["train_rows"], start["validation_rows"]) == (18, 12, 4)
    assert start["resumed_from"] == 0
    assert start["environment"]["packages"]["torch"]
    assert (start["optimizer"]["optim"], start["optimizer"]["adam_epsilon"]) == ("adamw_torch_fused", 1e-8)
    assert len(start["prompt_sha256"]) == 64
    assert 0 < start["trainable_parameters"] < start["parameters"]
    metrics, validation = named(events, "metrics"), named(events, "validation")
    assert [event["step"] for event in metrics] == list(range(1, 19))
    assert set(metrics[0]) == {
        "event", "step", "epoch", "loss", "learning_rate", "grad_norm", "tokens", "tokens_per_second", "memory_bytes",
        "seconds_left",
    }  # fmt: skip
    steps = [event["step"] for event in validation]
    assert steps[-1] == 18
    for kind in ("samples", "checkpoint"):
        assert [event["step"] for event in named(events, kind)] == steps
    assert metrics[-1]["loss"] < metrics[0]["loss"] / 2
    assert validation[-1]["loss"] < validation[0]["loss"]
    [row] = named(events, "samples")[-1]["rows"]
    assert (row["id"], row["fields"], set(row["outcomes"])) == ("validation-0", 2, {"invoice_id", "total"})
    [done] = named(events, "done")
    assert (done["steps"], done["stopped"], done["stopped_early"]) == (18, False, False)
    assert done["tokens"] == metrics[-1]["tokens"] > 0
    assert done["seconds"] > 0
    assert done["peak_memory_bytes"] >= max(event["memory_bytes"] for event in metrics)


def test_every_adapter_parameter_is_trained_and_the_merged_model_is_base_plus_adapter(
    finished: tuple[Path, Events],
) -> None:
    out, _ = finished
    weights = load_file(out / "adapter" / "adapter_model.safetensors")
    assert len(weights) == 2 * 7 * 2  # layers, linear modules, A and B
    for name, weight in weights.items():
        assert weight.abs().max() > 0, name  # B starts at zero
    tokenizer = AutoTokenizer.from_pretrained(out / "merged")
    ids = torch.tensor([tokenizer("Invoice A-100 total 1.50")["input_ids"]])
    base = AutoModelForCausalLM.from_pretrained(tiny())
    with torch.inference_mode():
        untouched = base(ids).logits
        adapted = PeftModel.from_pretrained(base, out / "adapter")(ids).logits
        merged = AutoModelForCausalLM.from_pretrained(out / "merged")(ids).logits
    assert torch.allclose(merged, adapted, atol=1e-4)
    assert not torch.allclose(merged, untouched, atol=0.1)


def test_artifacts_are_complete_and_hashed(finished: tuple[Path, Events]) -> None:
    out, events = finished
    artifacts = {event["kind"]: event for event in named(events, "artifact")}
    assert set(artifacts) == {"adapter", "merged"}
    for kind, artifact in artifacts.items():
        assert artifact["sha256"] == folder_hash(out / kind)
    files = {file["path"] for file in artifacts["merged"]["files"]}
    assert files >= {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"}
    assert (out / "merged" / "tokenizer.json").read_bytes() == (tiny() / "tokenizer.json").read_bytes()
    assert RunSpec.from_yaml((out / "spec.yaml").read_text()).epochs == 6.0
    environment = json.loads((out / "environment.json").read_text())
    assert environment["precision"] == "fp32"
    assert environment["packages"]["torch"]
    assert str(REPO) not in (out / "adapter" / "adapter_config.json").read_text()


@pytest.mark.slow
def test_same_spec_gives_the_same_bytes(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"precision": "bf16", "max_steps": 3, "sample_documents": 0}
    events = run_in_child(tmp_path / "child", **changes)
    here = run(tmp_path / "here", **changes)
    assert hashes(events) == hashes(here)
    assert hashes(here) != hashes(run(tmp_path / "other", **changes, seed=18))


def test_saved_spec_is_that_of_the_run(tmp_path: Path) -> None:
    few: dict[str, Any] = {"max_steps": 1, "sample_documents": 0}
    run(tmp_path, **few)
    written = tmp_path / "out" / "spec.yaml"
    by_hand = "# why seed 18\n" + written.read_text().replace("seed: 17", "seed: 18")
    run(tmp_path, seed=18, **few)
    assert RunSpec.from_yaml(written.read_text()).seed == 18
    written.write_text(by_hand)
    run(tmp_path, seed=18, **few)
    assert written.read_text() == by_hand


def hashes(events: Events) -> list[str]:
    return [event["sha256"] for event in named(events, "artifact")]


def test_full_fine_tuning_saves_one_model(tmp_path: Path) -> None:
    events = run(tmp_path, method="full", learning_rate=3e-3, epochs=4.0, sample_documents=0)
    assert [event["kind"] for event in named(events, "artifact")] == ["merged"]
    losses = [event["loss"] for event in named(events, "metrics")]
    assert losses[-1] < losses[0] / 2
    before, after = (
        load_file(tiny() / "model.safetensors"),
        load_file(tmp_path / "out" / "merged" / "model.safetensors"),
    )
    assert set(before) == set(after)
    assert all(not torch.equal(before[name], after[name]) for name in before)


def test_accumulated_batches_are_one_step(tmp_path: Path) -> None:
    """Four rows at once, or twice two: the same rows in a step, so the same first losses."""
    few: dict[str, Any] = {"max_steps": 2, "sample_documents": 0}
    whole = run(tmp_path / "whole", batch_size=4, accumulation=1, **few)
    parts = run(tmp_path / "parts", batch_size=2, accumulation=2, **few)
    for at_once, added in zip(named(whole, "metrics"), named(parts, "metrics"), strict=True):
        assert at_once["loss"] == pytest.approx(added["loss"], rel=1e-4)
        assert at_once["grad_norm"] == pytest.approx(added["grad_norm"], rel=1e-3)


def test_rows_over_the_limit_are_rejected_or_left_out(tmp_path: Path) -> None:
    """And rows that teach nothing are warned of: of one output, and none to validate on."""
    made = rows(validation=0)
    made[0]["text"] += " long" * 200
    for row in made:
        row["gold"] = {"total": "1.00", "invoice_id": "A"}
    with pytest.raises(Refused, match="1 of 12 train documents") as caught:
        run(tmp_path, made, max_length=256, too_long="refuse")
    assert caught.value.code == "length"
    events = run(tmp_path, made, max_length=256, too_long="leave_out", max_steps=1)
    [start] = named(events, "start")
    assert [(row["id"], row["split"]) for row in start["left_out"]] == [("train-0", "train")]
    assert start["train_rows"] == 11
    messages = [event["message"] for event in named(events, "warning")]
    assert "no validation document" in messages[0]
    assert sum("All 11 training documents have the same output" in message for message in messages) == 1
    assert not named(events, "validation")


@pytest.mark.parametrize(
    ("made", "changes", "message"),
    [
        (rows(train=0), {}, "no training document"),
        (rows(), {"max_length": 16, "too_long": "leave_out"}, "All 12 train documents are longer than 16 tokens"),
        (rows(validation=0), {"early_stopping": 2}, "early_stopping requires validation documents"),
    ],
)
def test_unusable_dataset_is_rejected(
    tmp_path: Path, made: list[dict[str, Any]], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(Refused, match=message):
        run(tmp_path, made, **changes)


@pytest.mark.parametrize("logs", [{"loss": math.nan, "grad_norm": 1.0}, {"loss": 1.0, "grad_norm": math.inf}])
def test_nan_loss_fails_the_run(logs: dict[str, float]) -> None:
    reporter = ProgressCallback(EventCollector().emitter, StopSignal(), None)
    trainer: Any = SimpleNamespace(args=SimpleNamespace(device=torch.device("cpu"), fp16=False))
    reporter.attach(trainer)
    state = SimpleNamespace(global_step=3, max_steps=9, epoch=0.5)
    reporter.on_log(None, state, None, logs={"loss": 1.0, "grad_norm": 1.0, "learning_rate": 1e-4})
    with pytest.raises(Refused, match="lower learning_rate") as caught:
        reporter.on_log(None, state, None, logs=logs)
    assert caught.value.code == "diverged"


def test_unsupported_setting_is_rejected(tmp_path: Path) -> None:
    settings: list[tuple[dict[str, Any], str]] = [
        ({"method": "qlora"}, "method"),
        ({"precision": "fp16"}, "precision"),
        ({"devices": 2}, "devices"),
        ({"max_length": 4096}, "length"),
        ({"dataset": {"path": "/nowhere.jsonl"}}, "dataset"),
        ({"base_model": {"path": "/nowhere"}}, "model"),
        ({"contract": {"instruction": "x", "schema": {"type": "nonsense"}}}, "schema"),
        ({"contract": {"instruction": "x", "schema": SCHEMA, "schema_sha256": "00"}}, "schema"),
    ]
    for changes, kind in settings:
        with pytest.raises(Refused) as caught:
            run(tmp_path, **changes)
        assert caught.value.code == kind
        assert caught.value.message.endswith(".")
    spec = spec_in(tmp_path)
    write_dataset(tmp_path / "data.jsonl", rows(train=13))
    with pytest.raises(Refused, match="changed"):
        main(spec, EventCollector().emitter)


def test_run_stopped_before_its_first_step_saves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StopSignal, "listen", lambda self: setattr(self, "set", True))
    events = run(tmp_path)
    [done] = named(events, "done")
    assert (done["steps"], done["stopped"]) == (0, True)
    assert not named(events, "checkpoint")
    assert not named(events, "artifact")


def test_evaluation_does_not_change_training(tmp_path: Path) -> None:
    """Validation, samples and checkpoints at every step or hardly ever: the same weights come out."""
    dropout = {"r": 4, "alpha": 8, "dropout": 0.3}
    often = run(tmp_path / "often", lora=dropout, max_steps=3, eval_every=1, sample_documents=1, save_every=1)
    seldom = run(tmp_path / "seldom", lora=dropout, max_steps=3, eval_every=3, sample_documents=0)
    assert hashes(often) == hashes(seldom)


@pytest.mark.slow
@pytest.mark.real_model
def test_packaged_model_learns_short_invoices(tmp_path: Path) -> None:
    changes = {"model": smollm2(), "precision": "auto", "learning_rate": 1e-3, "sample_documents": 2}
    changes |= {"max_steps": 10, "eval_every": 10}
    events = run(tmp_path, rows(train=24), **changes)
    losses = [event["loss"] for event in named(events, "metrics")]
    assert losses[-1] < losses[0] / 4
    weights = load_file(tmp_path / "out" / "adapter" / "adapter_model.safetensors")
    assert len(weights) == 30 * 7 * 2
    assert all(weight.abs().max() > 0 for weight in weights.values())
    last = named(events, "samples")[-1]
    assert (last["schema_valid"], last["field_exact"]) == (1.0, 1.0)
    config = json.loads((tmp_path / "out" / "merged" / "config.json").read_text())
    assert config["dtype"] == "bfloat16"


def test_steps_and_evaluations_are_counted_in_whole_batches(tmp_path: Path) -> None:
    def spec(**changes: Any) -> RunSpec:
        return spec_in(tmp_path, **changes)

    assert spec(batch_size=4, accumulation=2, epochs=1.5).steps(50) == 11  # 13 batches, 7 steps, 1.5 times
    assert spec(max_steps=3).steps(50) == 3
    assert spec(batch_size=4, epochs=2.0).eval_interval(50) == 7  # a quarter of 26
    assert spec(batch_size=4, epochs=20.0).eval_interval(50) == 13  # an epoch
    assert spec(eval_every=5).eval_interval(50) == 5
