"""Exports in the background: requests, the child process, rejected files, repetitions."""

import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.conf import settings
from django.db import OperationalError
from django.utils import timezone

from slmstudio.runs.models import Status
from slmstudio.runs.reaper import reap_lost_runs
from slmstudio.runs.supervisor import ChildExit
from slmstudio.storage.artifacts import local_path
from slmstudio.storage.hashing import folder_hash, folder_manifest, manifest_hash
from tests.shared_rows import shared_fixture
from tests.training.fakes import WaitFor, wait_for_heartbeats
from training.exports import downloads
from training.exports import jobs as export_jobs
from training.exports import services as export_services
from training.models import BaseModel, ModelExport, ModelVersion, SpecExport, TrainingRun
from training.spec import RunSpec

pytestmark = pytest.mark.usefixtures("queues")
Supervise = Callable[..., Any]


@shared_fixture
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


def child(
    monkeypatch: pytest.MonkeyPatch,
    events: list[dict[str, Any]],
    *,
    error: str = "",
    cancelled: bool = False,
    content: bytes = b"GGUF",
) -> list[Any]:
    """Puts a child in place that tells these events and leaves a file; returns what it was started with."""
    started: list[Any] = []

    def supervise(export: Any, argv: list[str], *, on_event: Any, log: Path, env: dict[str, str]) -> Any:
        child_spec = yaml.safe_load(Path(argv[-1]).read_text())
        started.append((argv[2], child_spec, env))
        folder = Path(child_spec["output_dir"])
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "out.gguf").write_bytes(content)
        for event in events:
            on_event(event)
        return ChildExit(ok=not error and not cancelled, error=error, cancelled=cancelled)

    monkeypatch.setattr(export_jobs, "supervise", supervise)
    return started


MEASURED = {"documents": 3, "outputs_equal": 3}


@pytest.fixture
def made(model: ModelVersion, people: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> ModelExport:
    """The model as a GGUF file, whole and checked."""
    export: Any = export_services.request_export(run=model.training_run, key="f16", user=people["engineer"])
    child(monkeypatch, [{"event": "parity", **MEASURED}])
    export_jobs.export_model(export.pk)
    export.refresh_from_db()
    assert export.status == Status.DONE
    return export


def asked_again(export: ModelExport) -> ModelExport:
    """The export, queued once more."""
    run = export.model_version.training_run
    assert export.created_by is not None
    again: Any = export_services.request_export(run=run, key=export.kind, user=export.created_by)
    assert (again.pk, again.status) == (export.pk, Status.QUEUED)
    return again


def is_as_it_was(export: ModelExport) -> None:
    """The row has the reported files; they exist and can be downloaded."""
    now = ModelExport.objects.select_related("model_version__training_run").get(pk=export.pk)
    assert (now.folder_key, now.sha256, now.files) == (export.folder_key, export.sha256, export.files)
    assert folder_hash(local_path(now.folder_key)) == export.sha256
    folder = downloads.find_folder(now.model_version.training_run, now.kind)
    assert folder is not None
    assert (folder.names, folder.missing) == (("out.gguf",), [])


def test_gguf_export_is_created_once_with_its_parity_check(
    model: ModelVersion, people: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, user = model.training_run, people["engineer"]
    export: Any = export_services.request_export(run=run, key="q8_0", user=user)
    assert export_services.request_export(run=run, key="q8_0", user=user).pk == export.pk
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
    module, child_spec, env = started[0]
    assert module == "training.ml.export_gguf"
    assert (child_spec["kind"], child_spec["model"]["sha256"], child_spec["documents"]) == ("q8_0", model.sha256, 20)
    assert child_spec["stem"] == "receipts-v1-q8_0"
    assert env == {"CUDA_VISIBLE_DEVICES": ""}
    export_jobs.export_model(export.pk)  # delivered a second time
    assert len(started) == 1


def test_the_other_weights_of_a_run_have_exports_of_their_own(
    model: ModelVersion, made: ModelExport, people: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, user = model.training_run, people["engineer"]
    other = ModelVersion.objects.create(
        project=model.project, number=2, training_run=run, is_alternative=True, checkpoint="last", step=9,
        folder_key=model.folder_key, sha256=model.sha256, files=model.files,
    )  # fmt: skip
    export: Any = export_services.request_export(run=run, key="f16-v2", user=user)
    assert (export.model_version, export.pk == made.pk) == (other, False)
    started = child(monkeypatch, [{"event": "parity", **MEASURED}], content=b"GGUF of the last step")
    export_jobs.export_model(export.pk)
    export.refresh_from_db()
    assert export.folder_key == f"{run.folder_key}/exports/f16-v2"
    assert started[0][1]["stem"] == "receipts-v2-f16"
    is_as_it_was(made)
    assert export_services.find(run, "f16-v2") == export
    assert [option.key for option in export_services.export_options(run) if option.is_ready] == ["f16", "f16-v2"]
    folder = downloads.find_folder(run, "f16-v2")
    assert folder is not None
    assert folder.file("out.gguf") == local_path(export.folder_key) / "out.gguf"
    assert [export_services.is_key(run, key) for key in ("q8_0-v2", "q8_0-v1", "exe", "exe-v2")] == [
        True, False, False, False,
    ]  # fmt: skip


def test_rejected_file_stores_its_reason_and_can_be_repeated(
    model: ModelVersion, people: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, user = model.training_run, people["engineer"]
    export: Any = export_services.request_export(run=run, key="f16", user=user)
    difference = {"id": "r1", "what": "prompt", "at": 3, "training": "1", "llama_cpp": "2"}
    child(monkeypatch, [{"event": "parity", "tokens_equal": False, "difference": difference}], error="Other tokens.")
    export_jobs.export_model(export.pk)
    export.refresh_from_db()
    assert (export.status, export.error, export.files, export.folder_key) == (Status.FAILED, "Other tokens.", [], "")
    assert export.parity["difference"] == difference
    assert export.created_by is not None
    again: Any = export_services.request_export(run=run, key="f16", user=user)
    assert (again.pk, again.status, again.error) == (export.pk, Status.QUEUED, "")


@pytest.mark.slow
def test_child_writes_settings_and_rows(run: TrainingRun, people: dict[str, Any]) -> None:
    export: Any = export_services.request_export(run=run, key="axolotl", user=people["engineer"])
    export_jobs.export_spec(export.pk)
    export.refresh_from_db()
    assert (export.status, export.error) == (Status.DONE, "")
    names = {file["path"] for file in export.files}
    assert names == {"axolotl.yaml", "check.py", "tokens.json", "train.jsonl", "validation.jsonl"}
    written = yaml.safe_load((local_path(export.folder_key) / "axolotl.yaml").read_text())
    assert written["sequence_len"] == RunSpec.from_yaml(run.spec).max_length
    assert written["base_model"] == run.base_model.folder
    assert export.validation == {}  # no Axolotl is configured


def test_hub_model_is_named_by_id_and_commit(run: TrainingRun, people: dict[str, Any]) -> None:
    BaseModel.objects.filter(pk=run.base_model_id).update(source="hub", location="some/model", revision="a" * 40)
    run.refresh_from_db()
    export = SpecExport.objects.create(training_run=TrainingRun.objects.get(pk=run.pk), kind="axolotl")
    spec = export_services.trainer_spec(export)
    assert (spec.base_model, spec.revision) == ("some/model", "a" * 40)


# -- made again ------------------------------------------------------------------------------------------------------


def test_cancelled_repetition_keeps_the_previous_export(made: ModelExport, monkeypatch: pytest.MonkeyPatch) -> None:
    again = asked_again(made)
    assert again.cancel()
    export_jobs.export_model(made.pk)  # the job is in the queue all the same
    again.refresh_from_db()
    assert (again.status, again.error, again.parity) == (Status.DONE, "", MEASURED)
    is_as_it_was(made)

    again = asked_again(made)
    started = child(monkeypatch, [], cancelled=True, content=b"half")
    export_jobs.export_model(made.pk)  # it is cancelled while it runs
    again.refresh_from_db()
    assert (again.status, again.error, again.parity) == (Status.DONE, "", MEASURED)
    is_as_it_was(made)
    assert not Path(started[0][1]["output_dir"]).exists()


def test_rejected_repetition_keeps_the_previous_export_and_its_findings(
    made: ModelExport, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = asked_again(made)
    worse = {"documents": 3, "outputs_equal": 0}
    started = child(monkeypatch, [{"event": "parity", **worse}], error="It answers worse.", content=b"other")
    export_jobs.export_model(made.pk)
    again.refresh_from_db()
    assert (again.status, again.error) == (Status.DONE, "It answers worse.")
    assert again.parity == {**MEASURED, "refused": worse}
    is_as_it_was(made)
    assert not Path(started[0][1]["output_dir"]).exists()

    again = asked_again(made)
    child(monkeypatch, [], error="The disk is full.")
    export_jobs.export_model(made.pk)
    again.refresh_from_db()
    assert (again.error, again.parity) == ("The disk is full.", MEASURED)  # nothing of the attempt before


def test_lost_worker_keeps_the_previous_export_and_fails_a_first_attempt(
    made: ModelExport, people: dict[str, Any]
) -> None:
    first: Any = export_services.request_export(
        run=made.model_version.training_run, key="q8_0", user=people["engineer"]
    )
    again = asked_again(made)
    assert again.claim()
    assert first.claim()
    silent = timezone.now() - timedelta(seconds=settings.RUN_LOST_AFTER_SECONDS + 5)
    ModelExport.objects.update(heartbeat_at=silent)
    assert {lost.pk for lost in reap_lost_runs()} == {made.pk, first.pk}
    again.refresh_from_db()
    first.refresh_from_db()
    assert (first.status, again.status) == (Status.FAILED, Status.DONE)
    assert again.error.startswith("No heartbeat")
    is_as_it_was(made)


def test_new_file_replaces_the_previous_one_when_complete(made: ModelExport, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [made.folder_key]
    for content, parity in ((b"other", {"documents": 2}), (b"third", {})):  # the last one is not checked
        again = asked_again(made)
        assert (again.progress_done, again.started_at) == (0, None)
        child(monkeypatch, [{"event": "parity", **parity}] if parity else [], content=content)
        export_jobs.export_model(made.pk)
        again.refresh_from_db()
        assert (again.status, again.parity) == (Status.DONE, parity)
        assert (local_path(again.folder_key) / "out.gguf").read_bytes() == content
        assert again.sha256 == folder_hash(local_path(again.folder_key))
        assert not local_path(keys[-1]).exists()
        keys.append(again.folder_key)
    assert keys == [keys[0], f"{keys[0]}-2", keys[0]]


def test_equal_file_keeps_its_folder_unless_missing_or_changed(
    made: ModelExport, monkeypatch: pytest.MonkeyPatch
) -> None:
    spare = local_path(f"{made.folder_key}-2")
    again = asked_again(made)
    child(monkeypatch, [{"event": "parity", "documents": 3, "outputs_equal": 2}])
    export_jobs.export_model(made.pk)
    again.refresh_from_db()
    assert again.parity["outputs_equal"] == 2
    is_as_it_was(made)
    assert not spare.exists()

    shutil.rmtree(local_path(made.folder_key))
    asked_again(made)
    export_jobs.export_model(made.pk)
    again.refresh_from_db()
    assert (again.folder_key, again.sha256) == (f"{made.folder_key}-2", made.sha256)
    assert folder_hash(spare) == made.sha256


@pytest.mark.django_db(transaction=True)
def test_export_sends_heartbeats_while_hashing_and_survives_a_database_outage(
    model: ModelVersion, people: dict[str, Any], monkeypatch: pytest.MonkeyPatch, settings: Any, wait_for: WaitFor
) -> None:
    settings.RUN_HEARTBEAT_SECONDS = 0.05
    export: Any = export_services.request_export(run=model.training_run, key="q8_0", user=people["engineer"])
    child(monkeypatch, [])
    finish = ModelExport.finish
    tries: list[int] = []

    def slowly(path: Path) -> Any:
        wait_for_heartbeats(export, wait_for)
        return folder_manifest(path)

    def flaky(self: ModelExport, **changes: Any) -> bool:
        tries.append(1)
        if len(tries) == 1:
            raise OperationalError("the server closed the connection unexpectedly")
        return finish(self, **changes)

    monkeypatch.setattr(export_jobs, "folder_manifest", slowly)
    monkeypatch.setattr(ModelExport, "finish", flaky)
    export_jobs.export_model(export.pk)
    export.refresh_from_db()
    assert (len(tries), export.status, export.error) == (2, Status.DONE, "")
