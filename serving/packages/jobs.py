"""The job that builds a package."""

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.conf import settings

from serving.engines import VARIABLES
from serving.models import Package
from serving.packages import services
from serving.packages.calibrations import calibration_documents, store
from serving.packages.documents.services import write_documents
from serving.packages.exchange import place_of, push
from slmstudio.database.transactions import with_retries
from slmstudio.runs.heartbeat import keep_alive
from slmstudio.runs.reaper import reap_lost_runs
from slmstudio.storage.artifacts import local_path
from slmstudio.storage.hashing import folder_manifest, manifest_hash
from training.child_processes import run_child, spec_file
from training.job_failures import FailureHandler


def build_package(pk: int) -> None:
    """Builds a package. At most once per request; it can be requested again."""
    reap_lost_runs()
    package = Package.objects.with_content().filter(pk=pk).first()
    if package is None or not package.claim():
        return
    with FailureHandler(package):
        _build(package)


def _build(package: Package) -> None:
    key = services.folder_key(package)
    spec = spec_file(services.pack_spec(package).to_yaml())
    parity: dict[str, Any] = {}
    package.variants = [{**asdict(variant), "parity": {}, "problem": ""} for variant in package.all_variants]
    calibrations: dict[str, Path] = {}

    def on_event(event: dict[str, Any]) -> None:
        if event["event"] == "progress":
            package.record(
                stage=str(event["stage"])[:120], progress_done=int(event["done"]), progress_total=int(event["total"])
            )
        elif event["event"] == "parity":
            figures = {name: value for name, value in event.items() if name not in ("event", "variant")}
            variant = _variant(package, event.get("variant", ""))
            variant["parity"] = figures
            if variant is package.variants[0]:
                parity.update(figures)
        elif event["event"] == "variant_failed":
            _variant(package, event["variant"])["problem"] = str(event["message"])
        elif event["event"] == "calibration":
            calibrations[str(event["variant"])] = local_path(key) / str(event["file"])

    try:
        run_child("serving.ml.pack", spec, local_path(f"{key}.log"), run=package, on_event=on_event, also=VARIABLES)
        with keep_alive(package):  # gigabytes are hashed
            write_documents(package, local_path(key), parity)
            manifest = folder_manifest(local_path(key))
            if settings.PACKAGE_STORE:
                place = place_of(package.project.slug, package.number)
                push(local_path(key), place, files=[entry["path"] for entry in manifest], message="")
    except BaseException:
        shutil.rmtree(local_path(key), ignore_errors=True)
        raise
    finally:
        spec.unlink(missing_ok=True)
    with_retries(lambda: store(package, calibration_documents(package.eval_run), calibrations))
    with_retries(
        lambda: package.finish(
            folder_key=key,
            files=[dict(entry) for entry in manifest],
            sha256=manifest_hash(manifest),
            parity=parity,
            variants=package.variants,
        )
    )


def _variant(package: Package, key: str) -> dict[str, Any]:
    """The row of a variant; "": the first one."""
    return next((variant for variant in package.variants if variant["key"] == key), package.variants[0])
