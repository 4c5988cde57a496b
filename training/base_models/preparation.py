"""Prepare base models in clean, checked folders, and verify prepared ones."""

import fcntl
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from django.conf import settings

from slmstudio.errors import Refused
from slmstudio.runs.child_environment import DOWNLOADS
from slmstudio.runs.models import BackgroundRun
from slmstudio.runs.reaper import reap_lost_runs
from slmstudio.storage.hashing import folder_hash
from slmstudio.storage.installation import PROGRAM
from slmstudio.web import outbound
from training.base_models.catalog import CATALOG
from training.base_models.downloads import download_required
from training.base_models.services import TINY, origin_of
from training.child_processes import ChildCancelled, ChildFailed, run_child, spec_file
from training.job_failures import FailureHandler
from training.models import BaseModel, ModelDownload
from training.spec import PrepareSpec, VerifySpec


def download_model(pk: int) -> None:
    """The job of a ``ModelDownload``. At most once per request; a deleted or claimed one is skipped."""
    reap_lost_runs()
    download = ModelDownload.objects.select_related("base_model").filter(pk=pk).first()
    if download is None or not download.claim():
        return
    with FailureHandler(download):
        prepare(base_model=download.base_model, run=download)
        download.finish()


def prepare(*, base_model: BaseModel, run: BackgroundRun | None = None, download: bool = True) -> BaseModel:
    """Prepares a model in ``$SLM_HOME/models/<slug>`` and stores its hash, size and context. Blocks for a minute.

    Concurrent callers do the work once. The folder is built under a temporary name and appears whole. With a ``run``,
    it sends heartbeats. Without ``download``, nothing is downloaded.

    Raises:
        Refused: the model cannot be prepared, or must be downloaded first.
        ChildCancelled: the run was cancelled.
    """
    home = Path(settings.HOME) / "models"
    target = home / base_model.slug
    if base_model.source == BaseModel.Source.FOLDER and Path(base_model.location) == target.resolve():
        target = home / f"{base_model.slug}-prepared"  # never overwrites the registered folder
    with _preparation_lock(home / f".{base_model.slug}.lock", run):
        base_model.refresh_from_db()
        if _is_intact(base_model):
            return base_model
        if base_model.source == BaseModel.Source.HUB and not download:
            raise download_required(base_model)
        if not base_model.is_prepared and _is_already_prepared(target, base_model):
            done, sha256 = _prepare_into(target, base_model, run), folder_hash(target)  # only verified
        else:
            done, sha256 = _build_folder(home / f".{base_model.slug}.new", target, base_model, run)
        base_model.folder, base_model.sha256 = str(target), sha256
        _store_config_facts(base_model, done)
        base_model.save(
            update_fields=[
                "folder", "sha256", "parameters", "context", "licence", "instruction_tuned", "architecture", "shape",
                "size_bytes", "revision", "family",
            ]
        )  # fmt: skip
    return base_model


def _build_folder(
    draft: Path, target: Path, base_model: BaseModel, run: BackgroundRun | None
) -> tuple[dict[str, Any], str]:
    """Builds the folder under a temporary name, then moves it; returns the child's ``done`` event and the hash."""
    shutil.rmtree(draft, ignore_errors=True)  # of a killed child
    try:
        done = _prepare_into(draft, base_model, run)
        sha256 = folder_hash(draft)
        shutil.rmtree(target, ignore_errors=True)
        draft.rename(target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return done, sha256


def _is_already_prepared(target: Path, base_model: BaseModel) -> bool:
    """Whether the folder of this model exists without a row in the database: the child then only verifies it."""
    spec = _prepare_spec(base_model, target)
    try:
        source = json.loads((target / "source.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    same = isinstance(source, dict) and (source.get("kind"), source.get("source")) == (spec.kind, spec.source)
    # a local folder can have changed, and a branch moves
    return same and spec.kind in ("packaged", "tiny")


def _is_intact(base_model: BaseModel) -> bool:
    """Whether it is prepared and its files are unchanged."""
    return (
        base_model.is_prepared
        and Path(base_model.folder).is_dir()
        and folder_hash(base_model.folder) == base_model.sha256
    )


def _prepare_into(draft: Path, base_model: BaseModel, run: BackgroundRun | None) -> dict[str, Any]:
    spec = spec_file(_prepare_spec(base_model, draft).to_yaml())
    log = draft.with_suffix(".log")

    def show_stage(event: dict[str, Any]) -> None:
        if run is not None and event["event"] == "stage":
            run.record(stage=str(event.get("text", ""))[:120])

    try:
        events = run_child("training.ml.prepare", spec, log, run=run, on_event=show_stage, also=DOWNLOADS)
        return events.get("done", {})
    except ChildFailed as failure:
        raise Refused(f"{base_model} cannot be prepared. {failure}", field="base_model") from failure
    finally:
        spec.unlink(missing_ok=True)
        log.unlink(missing_ok=True)


def _prepare_spec(base_model: BaseModel, output: Path) -> PrepareSpec:
    kind: Literal["packaged", "local", "hub", "tiny"]
    if base_model.source == BaseModel.Source.FOLDER:
        kind = "local"
    elif base_model.source == BaseModel.Source.HUB:
        outbound.require_hub()
        kind = "hub"
    else:
        kind = "tiny" if base_model.slug == TINY else "packaged"
    return PrepareSpec(
        kind=kind,
        source=base_model.location,
        output_dir=str(output),
        revision=base_model.revision or "main",
        max_gb=float(settings.MODEL_MAX_GB),
    )


def _store_config_facts(base_model: BaseModel, done: dict[str, Any]) -> None:
    """Stores what the child read from the model's configuration."""
    base_model.parameters = int(done.get("parameters") or base_model.parameters)
    base_model.context = int(done.get("context_length") or base_model.context)
    base_model.architecture = str(done.get("architecture") or base_model.architecture)[:80]
    base_model.shape = done.get("shape") or base_model.shape
    base_model.family = str(done.get("family") or base_model.family)
    base_model.size_bytes = int(done.get("size_bytes") or 0)
    base_model.revision = str(done.get("revision") or base_model.revision)[:64]
    base_model.licence = base_model.licence or str(done.get("license") or "")[:80]
    known = origin_of(base_model) in {origin_of(entry) for entry in CATALOG}
    if "chat_template" in done and not known:
        base_model.instruction_tuned = bool(done["chat_template"])


@contextmanager
def _preparation_lock(lock: Path, run: BackgroundRun | None) -> Iterator[None]:
    """A file lock for one preparation of a model at a time, across processes. Sends heartbeats while it waits."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if run is not None and not run.send_heartbeat():
                    raise ChildCancelled from None
                time.sleep(0.5)
        yield


def check_model(*, base_model: BaseModel, gguf: Path | None = None) -> list[dict[str, Any]]:
    """Verifies a prepared model: files, tokenizer, weights and, with a GGUF file, parity with llama.cpp. Blocks.

    Returns the ``check`` events of ``training.ml.verify``: name, ok, detail.

    A packaged decoder is compared with the file of its package.

    Raises:
        Refused: it is not prepared, or the verification failed.
    """
    if not base_model.is_prepared:
        raise Refused(
            f"{base_model} is not prepared. Run: {PROGRAM} models download {base_model.slug}", field="base_model"
        )
    packaged = base_model.source == BaseModel.Source.PACKAGED and base_model.slug != TINY and gguf is None
    if base_model.is_encoder:
        if gguf is not None:
            raise Refused(f"{base_model} is an encoder: llama.cpp does not run it. Leave out --gguf.", field="gguf")
        packaged = False
    verify = VerifySpec(
        path=base_model.folder,
        sha256=base_model.sha256,
        prompt=base_model.prompt,
        gguf=str(gguf.expanduser().resolve()) if gguf else "",
        package=base_model.location if packaged else "",
    )
    spec, results = spec_file(verify.to_yaml()), list[dict[str, Any]]()

    def note(event: dict[str, Any]) -> None:
        if event["event"] == "check":
            results.append(event)

    log = Path(settings.HOME) / "models" / f".{base_model.slug}.check.log"
    try:
        run_child("training.ml.verify", spec, log, on_event=note)
    except ChildFailed as failure:
        raise Refused(f"{base_model} could not be verified. {failure}", field="base_model") from failure
    finally:
        spec.unlink(missing_ok=True)
        log.unlink(missing_ok=True)
    return results
