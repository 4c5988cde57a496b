"""A fine-tuning run, from spec to files: it learns, repeats, refuses, stops."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from slmstudio.hashing import folder_hash
from tests.training.ml_data import REPO, named, rows, run_child, tiny, train_spec, write_dataset
from training.ml.train import eval_interval, total_steps
from training.spec import RunSpec
from training.strict import build

Events = list[dict[str, Any]]


def run(folder: Path, made: list[dict[str, Any]] | None = None, **changes: Any) -> tuple[int, Events, str]:
    folder.mkdir(exist_ok=True)
    dataset = write_dataset(folder / "data.jsonl", made)
    spec = build(RunSpec, train_spec(tiny(), dataset, folder / "out", **changes))
    return run_child("training.ml.train", spec.to_yaml(), folder)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Events]:
    folder = tmp_path_factory.mktemp("finished")
    code, events, errors = run(folder, epochs=10.0)
    assert code == 0, errors
    return folder / "out", events


def test_the_events_of_a_run(finished: tuple[Path, Events]) -> None:
    _, events = finished
    [start] = named(events, "start")
    assert (start["total_steps"], start["train_rows"], start["validation_rows"]) == (30, 12, 4)
    assert 0 < start["trainable_parameters"] < start["parameters"]
    assert [one["step"] for one in named(events, "metrics")] == list(range(1, 31))
    assert set(named(events, "metrics")[0]) == {
        "event", "step", "epoch", "loss", "learning_rate", "grad_norm", "tokens_per_second", "memory_bytes",
        "seconds_left",
    }  # fmt: skip
    looks = [one["step"] for one in named(events, "validation")]
    assert looks[-1] == 30
    assert [one["step"] for one in named(events, "samples")] == looks
    [done] = named(events, "done")
    assert (done["steps"], done["stopped"]) == (30, False)
    assert done["tokens"] > 0


def test_the_loss_falls(finished: tuple[Path, Events]) -> None:
    _, events = finished
    losses = [one["loss"] for one in named(events, "metrics")]
    assert losses[-1] < losses[0] / 2
    validation = [one["loss"] for one in named(events, "validation")]
    assert validation[-1] < validation[0]


def test_samples_are_scored_by_the_contract(finished: tuple[Path, Events]) -> None:
    _, events = finished
    [row] = named(events, "samples")[-1]["rows"]
    assert row["id"] == "validation-0"
    assert set(row["outcomes"]) == {"invoice_id", "total"}
    assert row["fields"] == 2


def test_every_parameter_of_the_adapter_has_moved(finished: tuple[Path, Events]) -> None:
    weights = load_file(finished[0] / "adapter" / "adapter_model.safetensors")
    assert len(weights) == 2 * 7 * 2  # layers, linear modules, A and B
    for name, one in weights.items():
        assert one.abs().max() > 0, name  # B starts at zero


def test_the_merged_model_is_the_base_with_its_adapter(finished: tuple[Path, Events]) -> None:
    out, _ = finished
    tokenizer = AutoTokenizer.from_pretrained(out / "merged")
    ids = torch.tensor([tokenizer("Invoice A-100 total 1.50")["input_ids"]])
    base = AutoModelForCausalLM.from_pretrained(tiny())
    with torch.inference_mode():
        untouched = base(ids).logits
        adapted = PeftModel.from_pretrained(base, out / "adapter")(ids).logits
        merged = AutoModelForCausalLM.from_pretrained(out / "merged")(ids).logits
    assert torch.allclose(merged, adapted, atol=1e-4)
    assert not torch.allclose(merged, untouched, atol=0.1)


def test_the_artifacts_are_whole_and_hashed(finished: tuple[Path, Events]) -> None:
    out, events = finished
    artifacts = {one["kind"]: one for one in named(events, "artifact")}
    assert set(artifacts) == {"adapter", "merged"}
    for kind, one in artifacts.items():
        assert one["sha256"] == folder_hash(out / kind)
    files = {one["path"] for one in artifacts["merged"]["files"]}
    assert files >= {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"}
    assert (out / "merged" / "tokenizer.json").read_bytes() == (tiny() / "tokenizer.json").read_bytes()
    assert RunSpec.from_yaml((out / "spec.yaml").read_text()).epochs == 10.0
    environment = json.loads((out / "environment.json").read_text())
    assert environment["precision"] == "fp32"
    assert environment["packages"]["torch"]
    assert str(REPO) not in (out / "adapter" / "adapter_config.json").read_text()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_same_spec_gives_the_same_bytes(tmp_path: Path, precision: str) -> None:
    hashes = []
    for name in ("one", "two"):
        code, events, errors = run(tmp_path / name, precision=precision)
        assert code == 0, errors
        hashes.append([one["sha256"] for one in named(events, "artifact")])
    assert hashes[0] == hashes[1]


def test_another_seed_gives_other_bytes(tmp_path: Path) -> None:
    hashes = []
    for seed in (1, 2):
        _, events, _ = run(tmp_path / str(seed), seed=seed, epochs=1.0)
        hashes.append(named(events, "artifact")[0]["sha256"])
    assert hashes[0] != hashes[1]


def test_full_fine_tuning_learns_and_saves_one_model(tmp_path: Path) -> None:
    code, events, errors = run(tmp_path, method="full", learning_rate=3e-3, epochs=6.0)
    assert code == 0, errors
    assert [one["kind"] for one in named(events, "artifact")] == ["merged"]
    losses = [one["loss"] for one in named(events, "metrics")]
    assert losses[-1] < losses[0] / 2
    before, after = (
        load_file(tiny() / "model.safetensors"),
        load_file(tmp_path / "out" / "merged" / "model.safetensors"),
    )
    assert set(before) == set(after)
    assert all(not torch.equal(before[name], after[name]) for name in before)


def test_rows_over_the_limit_stop_the_run(tmp_path: Path) -> None:
    made = rows()
    made[0]["text"] += " long" * 200
    code, events, _ = run(tmp_path, made, max_length=256)
    assert code == 2
    [error] = named(events, "error")
    assert error["kind"] == "length"
    assert "1 of 12 train documents" in error["message"]


def test_rows_over_the_limit_are_left_out_where_that_was_chosen(tmp_path: Path) -> None:
    made = rows()
    made[0]["text"] += " long" * 200
    code, events, errors = run(tmp_path, made, max_length=256, too_long="leave_out", epochs=1.0)
    assert code == 0, errors
    [start] = named(events, "start")
    assert [(one["id"], one["split"]) for one in start["left_out"]] == [("train-0", "train")]
    assert start["train_rows"] == 11


def test_without_validation_documents_the_run_says_so(tmp_path: Path) -> None:
    code, events, errors = run(tmp_path, rows(validation=0), epochs=1.0)
    assert code == 0, errors
    assert "no validation document" in named(events, "warning")[0]["message"]
    assert not named(events, "validation")


def test_a_loss_that_is_no_number_ends_the_run(tmp_path: Path) -> None:
    code, events, _ = run(
        tmp_path, method="full", learning_rate=1.0, epochs=40.0, scheduler="constant", warmup_ratio=0.0
    )
    if code == 0:
        pytest.skip("even this learning rate did not diverge")
    assert named(events, "error")[0]["kind"] == "diverged"


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"method": "qlora"}, "method"),
        ({"max_length": 4096}, "length"),
        ({"dataset": {"path": "/nowhere.jsonl"}}, "dataset"),
        ({"base_model": {"path": "/nowhere"}}, "model"),
        ({"contract": {"instruction": "x", "schema": {"type": "nonsense"}}}, "schema"),
        ({"contract": {"instruction": "x", "schema": {"type": "object"}, "schema_sha256": "00"}}, "schema"),
    ],
)
def test_what_cannot_run_is_refused_with_a_reason(tmp_path: Path, changes: dict[str, Any], kind: str) -> None:
    code, events, errors = run(tmp_path, **changes)
    assert code == 2, errors
    assert named(events, "error")[0]["kind"] == kind


def test_a_dataset_that_has_changed_is_refused(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "data.jsonl")
    spec = build(RunSpec, train_spec(tiny(), dataset, tmp_path / "out"))
    write_dataset(dataset, rows(train=13))
    code, events, _ = run_child("training.ml.train", spec.to_yaml(), tmp_path)
    assert code == 2
    assert "changed" in events[-1]["message"]


def test_a_run_that_is_stopped_saves_what_it_has(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "data.jsonl")
    spec = build(RunSpec, train_spec(tiny(), dataset, tmp_path / "out", max_steps=100_000, eval_every=50_000))
    (tmp_path / "spec.yaml").write_text(spec.to_yaml())
    child = subprocess.Popen(
        [sys.executable, "-m", "training.ml.train", str(tmp_path / "spec.yaml")],
        cwd=REPO,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert child.stdout is not None
    events: Events = []
    for line in child.stdout:
        events.append(json.loads(line))
        if events[-1]["event"] == "metrics":
            child.send_signal(signal.SIGTERM)
            break
    events += [json.loads(line) for line in child.stdout]
    assert child.wait(timeout=60) == 0
    [done] = named(events, "done")
    assert done["stopped"] is True
    assert 0 < done["steps"] < 100_000
    for artifact in named(events, "artifact"):
        assert artifact["sha256"] == folder_hash(tmp_path / "out" / artifact["kind"])
    assert "Stopped on request" in named(events, "warning")[-1]["message"]


def test_steps_and_looks_are_counted_in_whole_batches(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "data.jsonl")

    def spec(**changes: Any) -> RunSpec:
        return build(RunSpec, train_spec(tiny(), dataset, tmp_path, **changes))

    assert total_steps(spec(batch_size=4, accumulation=2, epochs=1.5), 50) == 11  # 13 batches, 7 steps, 1.5 times
    assert total_steps(spec(max_steps=3), 50) == 3
    assert eval_interval(spec(batch_size=4, epochs=2.0), 50) == 7  # a quarter of 26
    assert eval_interval(spec(batch_size=4, epochs=20.0), 50) == 13  # an epoch
    assert eval_interval(spec(eval_every=5), 50) == 5
