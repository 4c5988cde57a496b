"""A hybrid model from its two models to a replica: combined, evaluated, gated and packaged by real programs."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evaluation.gates.policy.services import current_policy, gates_of, set_policy
from evaluation.gates.services import create_report
from evaluation.hybrids.services import start_hybrid
from evaluation.models import EvalRun
from evaluation.runs.jobs import run_evaluation
from evaluation.runs.services import start_evaluation
from labeling.datasets.queries import rows
from labeling.models import Split
from serving.models import Package
from serving.packages.jobs import build_package
from serving.packages.services import choices, request_package
from slmstudio.runs import child_environment
from slmstudio.runs.models import Status
from slmstudio.storage.artifacts import local_path
from slmstudio.storage.hashing import folder_hash, folder_manifest, sha256_file
from tests.evaluation.encoders import train_encoder
from tests.evaluation.factories import World, copied, make_base_model, make_version, rewrite
from tests.serving.ml.test_replica import client, replica
from tests.training.ml_data import tiny
from training.ml.hardware import device
from training.model_cards import card
from training.models import ModelVersion, TrainingRun
from training.runs.jobs import run_training
from training.spec import CARD_FILES

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("forked_children")]


@pytest.fixture
def in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    """No process times bf16: the result differs on a busy machine, and so would outputs."""
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx2")
    monkeypatch.setattr(child_environment, "_PREFIXES", (*child_environment._PREFIXES, "ATEN_"))
    monkeypatch.setattr(device, "_has_bf16", lambda: False)  # for forked children


def trained_encoder(world: World, folder: Path) -> World:
    """The world with another training run, whose encoder has a head for the vendor alone; as far as the run knows."""
    base = make_base_model(folder, slug="small-encoder", name="Small encoder")
    run, version = make_version(world.project, world.engineer, world.dataset, base)
    made = replace(world, base_model=base, training_run=run, version=version)
    train_encoder(made)
    rewrite(run, facts={"heads": [{"field": "vendor", "kind": "span", "located": [1, 1]}]})
    run.refresh_from_db()
    return made


def saved(world: World) -> World:
    """The model version as training leaves it, with its card and its hashes."""
    folder = local_path(world.version.folder_key)
    world.training_run.refresh_from_db()
    card.write(world.training_run, folder)
    tokenizer = sha256_file(folder / "tokenizer.json")
    rewrite(world.version, sha256=folder_hash(folder), tokenizer_sha256=tokenizer, files=folder_manifest(folder))
    world.version.refresh_from_db()
    return world


def evaluated(world: World, run: TrainingRun, mode: str, split: str = Split.VALIDATION) -> EvalRun:
    started = start_evaluation(
        project=world.project, user=world.engineer, dataset=world.dataset, model=run, mode=mode, split=split,
        confirm_holdout=True,
    )  # fmt: skip
    run_evaluation(started.pk)
    made = EvalRun.objects.with_model().get(pk=started.pk)
    assert (made.status, made.error) == (Status.DONE, "")
    return made


def test_a_hybrid_model_answers_as_its_evaluation_did(world: World, tmp_path: Path, in_fp32: None) -> None:
    gates = gates_of(current_policy(project=world.project)).to_json()["gates"]
    copied(world)
    rewrite(world.training_run, dataset=world.dataset)
    decoder_folder = local_path(world.version.folder_key)
    shutil.rmtree(decoder_folder)
    shutil.copytree(tiny(), decoder_folder)
    encoder = saved(trained_encoder(world, tmp_path / "encoder"))
    decoder = saved(world)
    hybrid = start_hybrid(
        encoder=evaluated(world, encoder.training_run, "constrained"),
        decoder=evaluated(world, decoder.training_run, "grounded"),
        user=world.engineer,
    )
    run_training(hybrid.pk)
    hybrid.refresh_from_db()
    assert (hybrid.status, hybrid.error) == (Status.DONE, "")
    version = ModelVersion.objects.get(training_run=hybrid)
    names = {entry["path"] for entry in version.files}
    assert {"hybrid.json", "encoder/heads.json", "model.safetensors", *CARD_FILES} <= names
    assert "encoder/README.md" not in names
    assert "A hybrid model" in (local_path(version.folder_key) / "README.md").read_text()

    run = evaluated(world, hybrid, "grounded", Split.HOLDOUT)
    assert run.facts["precision"] == "fp32"
    set_policy(project=world.project, user=world.manager, gates=[gate for gate in gates if gate["key"] == "memory"])
    assert create_report(eval_run=run, baseline=None, user=world.engineer).passed

    assert [choice.key for choice in choices(run) if not choice.problem] == ["transformers"]
    package = request_package(run=run, user=world.engineer)
    build_package(package.pk)
    package = Package.objects.with_content().get(pk=package.pk)
    assert (package.status, package.error) == (Status.DONE, "")
    assert package.parity["different_fields"] == 0
    folder = local_path(package.folder_key)
    assert {"model/hybrid.json", "model/encoder/heads.json"} <= {entry["path"] for entry in package.files}

    texts = {row["id"]: row["text"] for row in rows(world.dataset, Split.HOLDOUT)}
    stored = [json.loads(line) for line in local_path(run.outputs_key).read_text().splitlines()]
    (tmp_path / "package").symlink_to(folder)
    assert all(output["output_tokens"] for output in stored)  # of fields that the encoder has no head for
    with replica(tmp_path, sha256=package.sha256), client(tmp_path) as http:
        for output in stored:
            answer: dict[str, Any] = http.post("/answer", json={"text": texts[output["id"]]}).json()
            same = ("raw", "finish_reason", "output_tokens", "prompt_tokens", "confidence")
            assert {name: answer[name] for name in same} == {name: output[name] for name in same}
