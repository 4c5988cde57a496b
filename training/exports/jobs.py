"""Jobs of exports: GGUF files with their parity check, and files for other trainers.

A repeated export is created in another folder; the row switches to it once it is complete.
"""

import shutil
import sys
from collections.abc import Iterable
from typing import Any

from slmstudio.database.fields import storable
from slmstudio.database.transactions import with_retries
from slmstudio.runs.heartbeat import keep_alive
from slmstudio.runs.reaper import reap_lost_runs
from slmstudio.runs.supervisor import supervise
from slmstudio.storage.artifacts import local_path
from slmstudio.storage.hashing import FileEntry, folder_hash, folder_manifest, manifest_hash
from training.child_processes import ChildCancelled, ChildFailed, spec_file
from training.exports import services
from training.job_failures import FailureHandler
from training.models import ModelExport, SpecExport

Event = dict[str, Any]
AnyExport = ModelExport | SpecExport


def export_model(pk: int) -> None:
    """Creates a GGUF file of a model version and checks it. At most once per request; it can be requested again."""
    reap_lost_runs()
    rows = ModelExport.objects.select_related(
        "model_version__training_run__dataset__schema_version", "model_version__training_run__project"
    )
    export = rows.filter(pk=pk).first()
    if export is None or not export.claim(parity=_previous_findings(export, export.parity)):
        return
    with FailureHandler(export):
        _run_export(export, "parity", "training.ml.export_gguf", services.gguf_spec(export).to_yaml())


def export_spec(pk: int) -> None:
    """Writes a run's settings and rows for another trainer. At most once per request."""
    reap_lost_runs()
    rows = SpecExport.objects.select_related(
        "training_run__dataset__schema_version", "training_run__project", "training_run__base_model"
    )
    export = rows.filter(pk=pk).first()
    if export is None or not export.claim(validation=_previous_findings(export, export.validation)):
        return
    with FailureHandler(export):
        _run_export(export, "validation", "training.ml.export_spec", services.trainer_spec(export).to_yaml())


def _previous_findings(export: AnyExport, findings: dict[str, Any]) -> dict[str, Any]:
    """The findings about the current files, without those about rejected ones."""
    return {name: value for name, value in findings.items() if name != "refused"} if export.folder_key else {}


def _run_export(export: AnyExport, column: str, module: str, text: str) -> None:
    """Runs the child and stores its files, and its findings: the event with the name of the ``column``."""
    key = services.next_folder_key(export)
    findings: dict[str, Any] = {}

    def on_event(event: Event) -> None:
        event = storable(event)
        if event["event"] == "progress":
            export.record(
                stage=str(event["stage"])[:120], progress_done=int(event["done"]), progress_total=int(event["total"])
            )
        elif event["event"] == column:
            findings.update((name, value) for name, value in event.items() if name != "event")

    spec = spec_file(text)
    # It runs on the CPU, as llama.cpp does here, and leaves the GPUs to training.
    quiet = {"CUDA_VISIBLE_DEVICES": ""}
    try:
        log = local_path(f"{key}.log")
        ending = supervise(export, [sys.executable, "-m", module, str(spec)], on_event=on_event, log=log, env=quiet)
    finally:
        spec.unlink(missing_ok=True)
    if ending.interrupted and not ending.cancelled:
        with_retries(export.return_to_queue)
        return
    if not ending.ok:
        _discard(export, column, key, findings)
        raise ChildCancelled if ending.cancelled else ChildFailed(ending.error)
    _replace_folder(export, column, key, findings)


def _discard(export: AnyExport, column: str, key: str, findings: dict[str, Any]) -> None:
    """Deletes the files of a failed export, and stores its findings next to those about the previous files."""
    if not with_retries(export.is_owned):
        return  # it was reaped, and another worker may be using that folder
    shutil.rmtree(local_path(key), ignore_errors=True)
    if findings:
        stored = {**getattr(export, column), "refused": findings} if export.folder_key else findings
        with_retries(lambda: export.record(**{column: stored}))


def _replace_folder(export: AnyExport, column: str, key: str, findings: dict[str, Any]) -> None:
    """Switches the row to the new folder and deletes the previous one. A folder with the same GGUF file stays as it is,
    with its hash: approvals depend on it.
    """
    before = export.folder_key
    with keep_alive(export):  # some gigabytes are hashed
        manifest = folder_manifest(local_path(key))
        same = _same_gguf(export, manifest)
    new = {"folder_key": key, "files": [dict(entry) for entry in manifest], "sha256": manifest_hash(manifest)}
    changes: dict[str, Any] = {column: findings} if same else {column: findings, **new}
    if not with_retries(lambda: export.finish(**changes)):
        return  # it was reaped, or the response of the database was lost: the next export clears the unused folder
    unused = key if same else before
    if unused:
        shutil.rmtree(local_path(unused), ignore_errors=True)


def _same_gguf(export: AnyExport, manifest: list[FileEntry]) -> bool:
    """Whether the current GGUF file is the same file, in an unchanged folder."""
    new = _gguf(manifest)
    is_same = bool(new) and new == _gguf(export.files)
    return is_same and folder_hash(local_path(export.folder_key)) == export.sha256


def _gguf(files: Iterable[Any]) -> list[tuple[str, str]]:
    return [(str(file["path"]), str(file["sha256"])) for file in files if str(file["path"]).endswith(".gguf")]
