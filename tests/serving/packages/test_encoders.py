"""An encoder as a package: exported, checked, deployed and answered by real child processes."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from evaluation.inference import local
from evaluation.models import EvalOutput, EvalRun
from evaluation.runs.jobs import run_evaluation
from evaluation.runs.services import start_evaluation
from labeling.models import Split
from serving.models import Package
from serving.packages.jobs import build_package
from serving.packages.services import build_again, choices
from slmstudio.errors import Refused
from slmstudio.runs.models import Status
from slmstudio.storage.artifacts import local_path
from tests.evaluation.encoders import answer_here, train_encoder
from tests.evaluation.factories import World
from tests.serving.ml.test_replica import client, replica
from tests.training.ml_data import minilm

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("forked_children")]


def test_an_encoder_is_packaged_and_answers(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MiniLM, trained for some epochs on the documents of the world."""
    train_encoder(world, minilm(), epochs=8.0)
    monkeypatch.setattr(local, "supervise", answer_here)
    run = start_evaluation(
        project=world.project, user=world.engineer, dataset=world.dataset, model=world.training_run,
        split=Split.HOLDOUT, confirm_holdout=True,
    )  # fmt: skip
    run_evaluation(run.pk)
    run = EvalRun.objects.with_model().get(pk=run.pk)
    assert [choice.key for choice in choices(run)] == ["encoder", "encoder_fp32"]
    with pytest.raises(Refused, match="transformers cannot run"):
        build_again(run=run, user=world.engineer, variants=["transformers"])
    package = build_again(run=run, user=world.engineer, variants=["encoder", "encoder_fp32"])
    build_package(package.pk)
    package = Package.objects.with_content().get(pk=package.pk)
    assert (package.status, package.error) == (Status.DONE, "")
    int8, exact = package.all_variants
    assert (exact.parity["different_fields"], exact.parity["documents"]) == (0, 12)
    assert int8.parity["different_fields"] <= 0.2 * int8.parity["fields"]  # of a model that is often unsure
    sizes = {entry["path"]: entry["size"] for entry in package.files}
    assert sizes["model/model.onnx"] < 0.27 * sizes["model/model-fp32.onnx"]

    folder = local_path(package.folder_key)
    names = {entry["path"] for entry in package.files}
    assert {"model/model.onnx", "model/model-fp32.onnx", "model/heads.json", "serve.yaml", "extract.pyz"} <= names
    assert not {"vllm.sh", "Modelfile", "prompt.json"} & names
    assert not any(name.endswith(".safetensors") for name in names)
    assert json.loads((folder / "model/heads.json").read_text())["line_break"] == 102  # [SEP]
    assert "onnxruntime==" in (folder / "requirements.txt").read_text()
    card = (folder / "README.md").read_text()
    assert ("library_name: onnx" in card, "With vLLM:" in card, "ONNX Runtime, fp32" in card) == (True, False, True)
    assert "onnxruntime" in {part["name"] for part in json.loads((folder / "bom.json").read_text())["components"]}

    document = EvalOutput.objects.filter(eval_run=run).select_related("document").order_by("pk")[0]
    text = document.document.text
    (tmp_path / "package").symlink_to(folder)
    with (
        replica(tmp_path, sha256=package.sha256, variant="encoder_fp32") as process,
        client(tmp_path) as http,
    ):
        answer: dict[str, Any] = http.post("/answer", json={"text": text}).json()
        libraries = {line.split("/")[-1] for line in Path(f"/proc/{process.pid}/maps").read_text().split("\n")}
    assert (answer["raw"], answer["finish_reason"], answer["output_tokens"]) == (document.raw, "stop", 0)
    assert set(answer["confidence"]) >= set(json.loads(document.raw)) - {"lines"}
    assert not any("torch" in library for library in libraries)
    (tmp_path / "document.txt").write_text(text)
    command = [sys.executable, "-I", str(folder / "extract.pyz")]
    done = subprocess.run(command, input=text, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert set(json.loads(done.stdout)) == set(json.loads(document.raw))
