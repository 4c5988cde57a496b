"""Jobs that make what is taken along: GGUF files with their check, and what other trainers read.

What was made before stays until the new one is whole: that is made in another folder, and the row turns to it at once.
"""

import shutil
import sys
from collections.abc import Iterable
from typing import Any

from slmstudio.database.retries import with_retries
from slmstudio.runs.heartbeat import keep_alive
from slmstudio.runs.reaper import reap_lost_runs
from slmstudio.runs.supervisor import supervise
from slmstudio.storage.artifacts import local_path
from slmstudio.storage.hashing import FileEntry, folder_hash, folder_manifest, manifest_hash
from training.exports import services
from training.models import ModelExport, SpecExport
from training.runs.child_processes import ChildCancelled, ChildFailed, spec_file
from training.runs.event_recorder import storable
from training.runs.jobs import Explained

Event = dict[str, Any]
Made = ModelExport | SpecExport


def export_model(pk: int) -> None:
    """Makes a GGUF file of a model version and checks it. At most once per request; a failed one can be asked again."""
    reap_lost_runs()
    rows = ModelExport.objects.select_related(
        "model_version__training_run__dataset__schema_version", "model_version__training_run__project"
    )
    export = rows.filter(pk=pk).first()
    if export is None or not export.claim(parity=_known(export, export.parity)):
        return
    with Explained(export):
        _make(export, "parity", "training.ml.export_gguf", services.gguf_spec(export).to_yaml())


def export_spec(pk: int) -> None:
    """Writes a run's settings and rows for another trainer. At most once per request."""
    reap_lost_runs()
    rows = SpecExport.objects.select_related(
        "training_run__dataset__schema_version", "training_run__project", "training_run__base_model"
    )
    export = rows.filter(pk=pk).first()
    if export is None or not export.claim(validation=_known(export, export.validation)):
        return
    with Explained(export):
        _make(export, "validation", "training.ml.export_spec", services.trainer_spec(export).to_yaml())


def _known(export: Made, found: dict[str, Any]) -> dict[str, Any]:
    """What was found out about the files that lie there; nothing of files that were thrown away."""
    return {name: value for name, value in found.items() if name != "refused"} if export.folder_key else {}


def _make(export: Made, column: str, module: str, text: str) -> None:
    """Runs the child and takes over what it made, with what it found out: the event that is named as the ``column``."""
    key = services.folder_of(export)
    found: dict[str, Any] = {}

    def on_event(event: Event) -> None:
        event = storable(event)
        if event["event"] == "progress":
            export.record(
                stage=str(event["stage"])[:120], progress_done=int(event["done"]), progress_total=int(event["total"])
            )
        elif event["event"] == column:
            found.update((name, value) for name, value in event.items() if name != "event")

    spec = spec_file(text)
    # It computes on the processor, as llama.cpp does here: a card stays with whoever trains on it.
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
        _throw_away(export, column, key, found)
        raise ChildCancelled if ending.cancelled else ChildFailed(ending.error)
    _take_over(export, column, key, found)


def _throw_away(export: Made, column: str, key: str, found: dict[str, Any]) -> None:
    """Removes what came to nothing, and keeps what was found out about it beside what is known of the files before."""
    if not with_retries(export.is_owned):
        return  # it was swept, and another worker may be at work in that folder
    shutil.rmtree(local_path(key), ignore_errors=True)
    if found:
        told = {**getattr(export, column), "refused": found} if export.folder_key else found
        with_retries(lambda: export.record(**{column: told}))


def _take_over(export: Made, column: str, key: str, found: dict[str, Any]) -> None:
    """The row turns to the new folder, and the one of before goes. One with the same GGUF file stays as it is, with its
    hash: approvals rest on that.
    """
    before = export.folder_key
    with keep_alive(export):  # some gigabytes are hashed
        manifest = folder_manifest(local_path(key))
        same = _same_gguf(export, manifest)
    new = {"folder_key": key, "files": [dict(entry) for entry in manifest], "sha256": manifest_hash(manifest)}
    changes: dict[str, Any] = {column: found} if same else {column: found, **new}
    if not with_retries(lambda: export.finish(**changes)):
        return  # it was swept, or it is done and the answer was lost: whatever is made next clears the spare folder
    spare = key if same else before
    if spare:
        shutil.rmtree(local_path(spare), ignore_errors=True)


def _same_gguf(export: Made, manifest: list[FileEntry]) -> bool:
    """Whether the GGUF file that lies there is this very file, in a folder that is as it was recorded."""
    found = _gguf(manifest)
    there = bool(found) and found == _gguf(export.files)
    return there and folder_hash(local_path(export.folder_key)) == export.sha256


def _gguf(files: Iterable[Any]) -> list[tuple[str, str]]:
    return [(str(one["path"]), str(one["sha256"])) for one in files if str(one["path"]).endswith(".gguf")]
