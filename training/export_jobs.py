"""Jobs that make what is taken along: GGUF files with their check, and what other trainers read."""

import sys
from typing import Any

from slmstudio.artifacts import local_path
from slmstudio.hashing import folder_manifest, manifest_hash
from slmstudio.supervisor import supervise
from slmstudio.sweep import sweep_lost
from training.jobs import Explained
from training.models import Export, ModelExport, SpecExport
from training.services import exporting
from training.services.children import ChildCancelled, ChildFailed, spec_file
from training.services.recording import storable

Event = dict[str, Any]
#: what was made before is gone once it is made again, and what was found out about it says nothing of the new files
_NOTHING: dict[str, Any] = {"folder_key": "", "sha256": "", "files": []}


def export_model(pk: int) -> None:
    """Makes a GGUF file of a model version and checks it. At most once per request; a failed one can be asked again."""
    sweep_lost()
    rows = ModelExport.objects.select_related(
        "model_version__training_run__dataset__schema_version", "model_version__training_run__project"
    )
    export = rows.filter(pk=pk).first()
    if export is None or not export.claim(**_NOTHING, parity={}):
        return
    with Explained(export):
        run = export.model_version.training_run
        spec = exporting.gguf_spec(export)
        _make(export, "training.ml.export_gguf", spec.to_yaml(), exporting.folder_of(run, export.kind))


def export_spec(pk: int) -> None:
    """Writes a run's settings and rows for another trainer. At most once per request."""
    sweep_lost()
    rows = SpecExport.objects.select_related(
        "training_run__dataset__schema_version", "training_run__project", "training_run__base_model"
    )
    export = rows.filter(pk=pk).first()
    if export is None or not export.claim(**_NOTHING, validation={}):
        return
    with Explained(export):
        spec = exporting.trainer_spec(export)
        _make(export, "training.ml.export_spec", spec.to_yaml(), exporting.folder_of(export.training_run, export.kind))


def _make(export: Export, module: str, text: str, key: str) -> None:
    """Runs the child and takes over what it made. The row gets the folder only once it is whole."""
    findings: dict[str, Any] = {}

    def on_event(event: Event) -> None:
        event = storable(event)
        if event["event"] == "progress":
            export.record(
                stage=str(event["stage"])[:120], progress_done=int(event["done"]), progress_total=int(event["total"])
            )
        elif event["event"] in ("parity", "validation"):
            findings[event["event"]] = {name: value for name, value in event.items() if name != "event"}
            export.record(**findings)

    spec = spec_file(text)
    # It computes on the processor, as llama.cpp does here: a card stays with whoever trains on it.
    quiet = {"CUDA_VISIBLE_DEVICES": ""}
    try:
        log = local_path(f"{key}.log")
        ending = supervise(export, [sys.executable, "-m", module, str(spec)], on_event=on_event, log=log, env=quiet)
    finally:
        spec.unlink(missing_ok=True)
    if ending.cancelled:
        raise ChildCancelled
    if ending.interrupted:
        export.put_back()
        return
    if not ending.ok:
        raise ChildFailed(ending.error)
    manifest = folder_manifest(local_path(key))
    export.finish(folder_key=key, files=[dict(entry) for entry in manifest], sha256=manifest_hash(manifest))
