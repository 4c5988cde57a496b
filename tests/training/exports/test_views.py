"""The exports section of a run's page: options, checks, downloads, permissions."""

import io
import zipfile
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from slmstudio.runs.models import Status
from slmstudio.storage.artifacts import local_path
from slmstudio.storage.hashing import folder_manifest, manifest_hash
from tests.shared_rows import shared_fixture
from training.exports import downloads
from training.models import ModelExport, ModelVersion, TrainingRun

pytestmark = pytest.mark.usefixtures("queues")
URL = "/p/receipts/training/1/"
HTMX: Any = {"HX-Request": "true"}
Login = Callable[[str], Client]
PARITY = {
    "documents": 20,
    "split": "validation",
    "prompt_tokens": 9100,
    "tokens_equal": True,
    "outputs_equal": 19,
    "training": {"field_exact": 0.78, "schema_valid": 1.0, "median_ms": 900.0},
    "llama_cpp": {"field_exact": 0.77, "schema_valid": 1.0, "median_ms": 300.0},
    "examples": [{"id": "r7", "training": "<script>alert(1)</script>", "llama_cpp": '{"total":"2"}'}],
}


def fill(key: str, files: dict[str, bytes]) -> tuple[list[dict[str, Any]], str]:
    """Writes a folder of the artifact store; returns its manifest and hash."""
    folder = local_path(key)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    manifest = folder_manifest(folder)
    return [dict(entry) for entry in manifest], manifest_hash(manifest)


@shared_fixture
def model(run: TrainingRun) -> ModelVersion:
    TrainingRun.objects.filter(pk=run.pk).update(status=Status.DONE)
    files, sha256 = fill(f"{run.folder_key}/merged", {"model.safetensors": b"w" * 3_000_000, "README.md": b"# card"})
    return ModelVersion.objects.create(
        project=run.project, number=1, training_run=run, folder_key=f"{run.folder_key}/merged", sha256=sha256,
        files=files,
    )  # fmt: skip


@shared_fixture
def gguf(model: ModelVersion) -> ModelExport:
    key = f"{model.training_run.folder_key}/exports/f16"
    files, sha256 = fill(key, {"receipts-v1-f16.gguf": b"GGUF", "parity.json": b"{}"})
    return ModelExport.objects.create(
        model_version=model, kind="f16", status=Status.DONE, folder_key=key, files=files, sha256=sha256, parity=PARITY
    )


def text(answer: Any) -> str:
    return " ".join(answer.content.decode().split())


def test_previous_export_can_be_downloaded_during_a_repetition(gguf: ModelExport, login: Login) -> None:
    reader, client = login("annotator"), login("engineer")
    assert "Export again" not in text(reader.get(URL))
    assert reader.get(f"{URL}files/f16.zip").status_code == 200
    client.post(f"{URL}exports/f16/", headers=HTMX)
    for status in (Status.QUEUED, Status.RUNNING):
        ModelExport.objects.filter(pk=gguf.pk).update(status=status)
        page = text(client.get(f"{URL}exports/?kind=f16", headers=HTMX))
        assert 'id="download-f16"' in page
        assert "The previous export stays available until the new one is complete." in page
        assert 'id="cancel-f16"' in page
        assert client.get(f"{URL}files/f16.zip").status_code == 200
    row = ModelExport.objects.get(pk=gguf.pk)
    worse = {**PARITY, "outputs_equal": 1, "llama_cpp": {"field_exact": 0.31, "schema_valid": 0.4, "median_ms": 300.0}}
    assert row.fail("It answers worse.", parity={**PARITY, "refused": worse})
    page = text(client.get(f"{URL}exports/?kind=f16", headers=HTMX))
    assert "The new export failed; the previous one is still available. It answers worse." in page
    assert "Rejected by the parity check: 20 validation documents" in page
    for shown in ("31%", ">1 of 20<", "77%", ">19 of 20<", 'id="download-f16"', "Export again"):
        assert shown in page, shown
    assert client.get(f"{URL}files/f16.zip").status_code == 200


def test_export_button_queues_and_section_refreshes(model: ModelVersion, login: Login) -> None:
    client = login("engineer")
    answer = client.post(f"{URL}exports/q8_0/", headers=HTMX)
    assert answer.status_code == 200
    assert 'hx-trigger="every 2s"' in text(answer)
    export = ModelExport.objects.get(kind="q8_0")
    assert (export.status, export.created_by) == (Status.QUEUED, client.get("/").wsgi_request.user)
    assert client.post(f"{URL}exports/q8_0/").status_code == 302  # without htmx, and nothing twice
    assert ModelExport.objects.count() == 1
    drawn = text(client.get(f"{URL}exports/", headers=HTMX))
    assert 'id="cancel-q8_0"' in drawn  # focus stays on what has an id while the section draws itself again
    assert 'id="make-axolotl"' in drawn
    client.post(f"{URL}exports/q8_0/cancel/", headers=HTMX)
    export.refresh_from_db()
    assert export.status == Status.CANCELLED


def test_settings_can_be_exported_without_a_model(run: TrainingRun, login: Login) -> None:
    client = login("engineer")
    answer = client.post(f"{URL}exports/f16/", headers=HTMX)
    assert answer.status_code == 422
    assert "The run has no model to export" in text(answer)
    assert client.post(f"{URL}exports/axolotl/", headers=HTMX).status_code == 200
    assert client.post(f"{URL}exports/exe/", headers=HTMX).status_code == 404


def test_folder_is_streamed_as_a_reproducible_zip(model: ModelVersion, login: Login) -> None:
    client = login("engineer")
    answer: Any = client.get(f"{URL}files/merged.zip")
    assert answer["Content-Disposition"] == 'attachment; filename="receipts-run-1-merged.zip"'
    pieces = list(answer.streaming_content)
    assert max(map(len, pieces)) <= downloads.CHUNK_BYTES
    whole = b"".join(pieces)
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["receipts-run-1-merged/README.md", "receipts-run-1-merged/model.safetensors"]
        assert archive.read("receipts-run-1-merged/model.safetensors") == b"w" * 3_000_000
    again: Any = client.get(f"{URL}files/merged.zip")
    assert b"".join(again.streaming_content) == whole


def test_recorded_file_is_downloaded_unchanged_and_no_other_is_found(model: ModelVersion, login: Login) -> None:
    (local_path(model.folder_key) / "notes.txt").write_text("not recorded")
    (local_path(model.training_run.folder_key) / "spec.yaml").write_text("spec")
    client = login("annotator")
    answer: Any = client.get(f"{URL}files/merged/README.md")
    assert b"".join(answer.streaming_content) == b"# card"
    assert answer["Content-Disposition"] == 'attachment; filename="README.md"'
    for path in (
        "merged/../spec.yaml", "merged/%2e%2e/spec.yaml", "merged//etc/passwd", "merged/notes.txt", "adapter/x",
        "q8_0/x.gguf", "log/log.txt",
    ):  # fmt: skip
        assert client.get(f"{URL}files/{path}").status_code == 404, path


def test_file_replaced_by_a_link_is_not_followed(model: ModelVersion, login: Login) -> None:
    card = local_path(model.folder_key) / "README.md"
    card.unlink()
    card.symlink_to("/etc/hostname")
    assert login("owner").get(f"{URL}files/merged/README.md").status_code == 404
    assert login("owner").get(f"{URL}files/merged.zip").status_code == 404
