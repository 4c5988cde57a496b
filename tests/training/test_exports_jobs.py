"""Exports as background work: asked for once, made by a child, refused with a sentence, made again."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from labeling.models import DatasetVersion, Project
from slmstudio.artifacts import local_path
from slmstudio.hashing import folder_hash, folder_manifest, manifest_hash
from slmstudio.runs import Status
from training import export_jobs
from training.models import BaseModel, LengthReport, ModelExport, ModelVersion, SpecExport, TrainingRun
from training.presets import Knobs
from training.services import exporting
from training.services.runs import Refused, start_training
from training.spec import RunSpec

pytestmark = pytest.mark.usefixtures("queues")
Supervise = Callable[..., Any]


@pytest.fixture
def run(project: Project, dataset: DatasetVersion, lengths: LengthReport, people: dict[str, Any]) -> TrainingRun:
    return start_training(
        project=project, user=people["engineer"], dataset=dataset, base_model=lengths.base_model, knobs=Knobs(epochs=2)
    )


@pytest.fixture
def model(run: TrainingRun) -> ModelVersion:
    """The run is done, and its merged folder is one small file."""
    folder = local_path(f"{run.folder_key}/merged")
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    TrainingRun.objects.filter(pk=run.pk).update(status=Status.DONE)
    manifest = folder_manifest(folder)
    return ModelVersion.objects.create(
        project=run.project,
        number=1,
        training_run=run,
        folder_key=f"{run.folder_key}/merged",
        sha256=manifest_hash(manifest),
        files=[dict(entry) for entry in manifest],
    )


def child(monkeypatch: pytest.MonkeyPatch, events: list[dict[str, Any]], *, error: str = "") -> list[Any]:
    """Puts a child in place that tells these events and leaves a file; returns what it was started with."""
    started: list[Any] = []

    def supervise(export: Any, argv: list[str], *, on_event: Any, log: Path, env: dict[str, str]) -> Any:
        told = yaml.safe_load(Path(argv[-1]).read_text())
        started.append((argv[2], told, env))
        folder = Path(told["output_dir"])
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "out.gguf").write_bytes(b"GGUF")
        for event in events:
            on_event(event)
        from slmstudio.supervisor import Ending

        return Ending(ok=not error, error=error)

    monkeypatch.setattr(export_jobs, "supervise", supervise)
    return started


def test_a_gguf_file_is_asked_for_once_and_made_with_its_check(
    model: ModelVersion, people: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, user = model.training_run, people["engineer"]
    export: Any = exporting.request(run=run, kind="q8_0", user=user)
    assert exporting.request(run=run, kind="q8_0", user=user).pk == export.pk
    assert ModelExport.objects.count() == 1
    parity = {"event": "parity", "documents": 3, "outputs_equal": 2, "examples": [{"id": "a\0", "training": "x"}]}
    progress = {"event": "progress", "stage": "converting", "done": 1, "total": 6}
    started = child(monkeypatch, [progress, parity])
    export_jobs.export_model(export.pk)
    export.refresh_from_db()
    assert (export.status, export.error) == (Status.DONE, "")
    assert export.parity["outputs_equal"] == 2
    assert export.folder_key == f"{run.folder_key}/exports/q8_0"
    assert export.sha256 == folder_hash(local_path(export.folder_key))
    assert [file["path"] for file in export.files] == ["out.gguf"]
    module, told, env = started[0]
    assert module == "training.ml.export_gguf"
    assert (told["kind"], told["model"]["sha256"], told["documents"]) == ("q8_0", model.sha256, 20)
    assert told["stem"] == "receipts-v1-q8_0"
    assert env == {"CUDA_VISIBLE_DEVICES": ""}
    export_jobs.export_model(export.pk)  # delivered a second time
    assert len(started) == 1


def test_a_refused_file_says_why_keeps_what_differed_and_can_be_made_again(
    model: ModelVersion, people: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, user = model.training_run, people["engineer"]
    export: Any = exporting.request(run=run, kind="f16", user=user)
    difference = {"id": "r1", "what": "prompt", "at": 3, "training": "1", "llama_cpp": "2"}
    child(monkeypatch, [{"event": "parity", "tokens_equal": False, "difference": difference}], error="Other tokens.")
    export_jobs.export_model(export.pk)
    export.refresh_from_db()
    assert (export.status, export.error, export.files, export.folder_key) == (Status.FAILED, "Other tokens.", [], "")
    assert export.parity["difference"] == difference
    again: Any = exporting.request(run=run, kind="f16", user=user)
    assert (again.pk, again.status, again.error) == (export.pk, Status.QUEUED, "")


def test_a_run_without_a_model_has_no_gguf_file_but_its_settings(run: TrainingRun, people: dict[str, Any]) -> None:
    with pytest.raises(Refused, match="no model to export"):
        exporting.request(run=run, kind="f16", user=people["engineer"])
    with pytest.raises(Refused, match="no export 'exe'"):
        exporting.request(run=run, kind="exe", user=people["engineer"])
    assert exporting.request(run=run, kind="unsloth", user=people["engineer"]).status == Status.QUEUED


@pytest.mark.slow
def test_settings_and_rows_come_out_of_the_real_child(run: TrainingRun, people: dict[str, Any]) -> None:
    export: Any = exporting.request(run=run, kind="axolotl", user=people["engineer"])
    export_jobs.export_spec(export.pk)
    export.refresh_from_db()
    assert (export.status, export.error) == (Status.DONE, "")
    names = {file["path"] for file in export.files}
    assert names == {"axolotl.yaml", "check.py", "tokens.json", "train.jsonl", "validation.jsonl"}
    written = yaml.safe_load((local_path(export.folder_key) / "axolotl.yaml").read_text())
    assert written["sequence_len"] == RunSpec.from_yaml(run.spec).max_length
    assert written["base_model"] == run.base_model.folder
    assert export.validation == {}  # nobody named an Axolotl


def test_a_model_of_the_hub_is_named_by_its_id_and_commit(run: TrainingRun, people: dict[str, Any]) -> None:
    BaseModel.objects.filter(pk=run.base_model_id).update(source="hub", location="some/model", revision="a" * 40)
    run.refresh_from_db()
    export = SpecExport.objects.create(training_run=TrainingRun.objects.get(pk=run.pk), kind="axolotl")
    spec = exporting.trainer_spec(export)
    assert (spec.base_model, spec.revision) == ("some/model", "a" * 40)


def test_cancelled_while_it_waits_it_is_never_made(model: ModelVersion, people: dict[str, Any]) -> None:
    export: Any = exporting.request(run=model.training_run, kind="f16", user=people["engineer"])
    assert export.cancel()
    export_jobs.export_model(export.pk)
    export.refresh_from_db()
    assert export.status == Status.CANCELLED


def test_made_again_it_says_nothing_that_was_found_out_about_the_files_before(
    model: ModelVersion, people: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, user = model.training_run, people["engineer"]
    for kind, job, event, column in (
        ("axolotl", export_jobs.export_spec, {"event": "validation", "ok": True, "version": "0.19"}, "validation"),
        ("f16", export_jobs.export_model, {"event": "parity", "difference": {"at": 3}}, "parity"),
    ):
        export: Any = exporting.request(run=run, kind=kind, user=user)
        child(monkeypatch, [event])
        job(export.pk)
        export.refresh_from_db()
        assert getattr(export, column) != {}
        export = exporting.request(run=run, kind=kind, user=user)
        assert (export.status, export.progress_done, export.started_at) == (Status.QUEUED, 0, None)
        child(monkeypatch, [])  # nobody has checked this time
        job(export.pk)
        export.refresh_from_db()
        assert (export.status, getattr(export, column)) == (Status.DONE, {})
