"""Register base models, and prepare them in clean, checked folders."""

import fcntl
import json
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from django.conf import settings
from django.core.exceptions import ValidationError
from django.utils.text import slugify

from slmstudio.errors import Refused
from slmstudio.runs.child_environment import DOWNLOADS
from slmstudio.runs.models import BackgroundRun
from slmstudio.storage.hashing import folder_hash
from training.base_models.catalog import CATALOG, CatalogEntry
from training.base_models.downloads import download_required
from training.child_processes import ChildCancelled, ChildFailed, run_child, spec_file
from training.models import BaseModel
from training.spec import PrepareSpec, VerifySpec

TINY = "tiny-random"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
_REVISION = re.compile(r"[A-Za-z0-9][\w./-]{0,63}", re.ASCII)
#: columns that a prepared model keeps: its own configuration knows better than the catalog
PRESERVED_COLUMNS = ("parameters", "context", "shape", "architecture")


def sync_catalog() -> list[BaseModel]:
    """Creates or updates the row of every model of the catalog; prepared models stay prepared.

    Rows are matched by the origin of their weights, not by slug: another model that already has the slug of the catalog
    keeps it.
    """
    existing = _by_origin(BaseModel.objects.order_by("-pk"))  # of several with one origin, the oldest
    rows = []
    for known in CATALOG:
        row, columns = existing.get(_origin(known)), known.columns()
        if row is None:
            columns["slug"] = _free_slug(known.slug)
            rows.append(BaseModel.objects.get_or_create(slug=columns["slug"], defaults=columns)[0])
            continue
        del columns["slug"]
        if row.is_prepared:
            columns = {name: value for name, value in columns.items() if name not in PRESERVED_COLUMNS or not row.shape}
        changed = [name for name, value in columns.items() if getattr(row, name) != value]
        for name in changed:
            setattr(row, name, columns[name])
        if changed:
            row.save(update_fields=changed)
        rows.append(row)
    return rows


def _origin(model: BaseModel | CatalogEntry) -> tuple[str, str]:
    """The origin of the weights. Hub ids are case-insensitive."""
    hub = model.source == BaseModel.Source.HUB
    return str(model.source), model.location.lower() if hub else model.location


def _by_origin(models: Iterable[BaseModel]) -> dict[tuple[str, str], BaseModel]:
    return {_origin(model): model for model in models}


def find_base_model(slug: str) -> BaseModel:
    """The base model with this slug.

    Raises:
        Refused: there is none; the message lists the available ones.
    """
    model = BaseModel.objects.with_slug(slug)
    if model is None:
        known = ", ".join(BaseModel.objects.order_by("slug").values_list("slug", flat=True)) or "none"
        raise Refused(f"There is no base model {slug!r}. Available: {known}.", field="base_model")
    return model


def register_folder(*, slug: str, name: str, folder: Path | str, licence: str = "") -> BaseModel:
    """Registers a local model folder; ``prepare`` checks and copies it before training.

    Raises:
        Refused: not a folder, outside MODEL_FOLDERS, or the slug is invalid or taken.
    """
    path = _resolved(folder)
    allowed = [root.resolve() for root in settings.MODEL_FOLDERS]
    if not any(path.is_relative_to(root) and path != root for root in allowed):
        places = ", ".join(str(root) for root in allowed)
        raise Refused(
            f"{path} is not below {places} (setting MODEL_FOLDERS).", field="folder", code="outside_model_folders"
        )
    if not _is_folder(path):
        raise Refused(f"{path} is not a folder.", field="folder")
    if slugify(slug) != slug or not slug:
        raise Refused("A slug has lowercase letters, digits and hyphens only.", field="slug")
    taken = BaseModel.objects.filter(slug=slug).first()
    if taken is not None and (taken.source != BaseModel.Source.FOLDER or taken.location != str(path)):
        raise Refused(f"{slug} is already {taken.name} from {taken.location}.", field="slug", code="slug_taken")
    model = taken or BaseModel(slug=slug, source=BaseModel.Source.FOLDER, location=str(path))
    model.name, model.licence = name, licence
    try:
        model.full_clean()
    except ValidationError as error:
        field, messages = next(iter(error.message_dict.items()))
        raise Refused(" ".join(messages), field=field) from error
    model.save()
    return model


def _resolved(folder: Path | str) -> Path:
    """The folder of a path with links resolved. ``~`` is not expanded: the path can come from a page."""
    try:
        return Path(folder).resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise Refused(f"{str(folder)[:100]} is not a valid path: {error}.", field="folder") from error


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name of more than 255 bytes, or no permission
        return False


def add_hub_model(*, hub_id: str, revision: str = "", name: str = "") -> BaseModel:
    """Registers a model of the hub, or returns the registered one; the download starts when it is prepared.

    ``revision`` is a branch, tag or commit, ``main`` if empty; a prepared model stores its commit.

    Raises:
        Refused: an invalid id or revision, or the model is already prepared at another revision.
    """
    hub_id, revision = hub_id.strip(), revision.strip()
    if not _HUB_ID.fullmatch(hub_id) or ".." in hub_id:
        raise Refused("A hub id has the form organization/name, such as Qwen/Qwen3-0.6B.", field="hub_id")
    if revision and (not _REVISION.fullmatch(revision) or ".." in revision):
        raise Refused(
            "A revision is a branch, a tag or a commit: letters, digits, dots, dashes, slashes.", field="revision"
        )
    if len(name) > 120:
        raise Refused("A name has at most 120 characters.", field="name")
    model = BaseModel.objects.filter(source=BaseModel.Source.HUB, location__iexact=hub_id).first()
    if model is None:
        model = BaseModel(
            slug=_free_slug(_slug_of(hub_id)), source=BaseModel.Source.HUB, location=hub_id, reference=hub_id
        )
        model.name = name.strip() or hub_id.partition("/")[2]
    elif model.is_prepared and revision not in ("", model.revision):
        raise Refused(
            f"{model} is already prepared at revision {model.revision[:12]}.",
            field="revision",
            code="other_revision",
        )
    model.revision = revision or model.revision
    model.full_clean()
    model.save()
    return model


def _slug_of(hub_id: str) -> str:
    return slugify(hub_id.partition("/")[2].replace(".", "-").replace("_", "-"))[:70] or "model"


def _free_slug(slug: str) -> str:
    taken = set(BaseModel.objects.filter(slug__startswith=slug).values_list("slug", flat=True))
    candidates = [slug, *(f"{slug}-{number}" for number in range(2, 10_000))]
    return next(candidate for candidate in candidates if candidate not in taken)


def resolve_model(text: str) -> BaseModel:
    """The model that a command line names: a slug, or a hub id with or without ``@revision``.

    Raises:
        Refused: unknown slug, or invalid hub id.
    """
    if "/" not in text:
        return find_base_model(text)
    hub_id, _, revision = text.partition("@")
    return add_hub_model(hub_id=hub_id, revision=revision)


def register_tiny() -> BaseModel:
    """Registers the tiny model with random weights, for tests and demonstrations."""
    return BaseModel.objects.update_or_create(
        slug=TINY,
        defaults={
            "name": "Tiny random (for tests)",
            "source": BaseModel.Source.PACKAGED,
            "location": TINY,
            "licence": "none",
        },
    )[0]


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
                "size_bytes", "revision",
            ]
        )  # fmt: skip
    return base_model


def _build_folder(
    draft: Path, target: Path, base_model: BaseModel, run: BackgroundRun | None
) -> tuple[dict[str, Any], str]:
    """Builds the folder under a temporary name, then moves it; returns the child's ``done`` event and the hash."""
    _remove_draft(draft)
    try:
        done = _prepare_into(draft, base_model, run)
        sha256 = folder_hash(draft)
        shutil.rmtree(target, ignore_errors=True)
        draft.rename(target)
    finally:
        _remove_draft(draft)
    return done, sha256


def _remove_draft(draft: Path) -> None:
    """Removes a draft and the leftovers of a killed child, for example a download."""
    for folder in (draft, *draft.parent.glob(f".{draft.name}.*")):
        shutil.rmtree(folder, ignore_errors=True)


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
    try:
        return run_child("training.ml.prepare", spec, log, run=run, on_event=_report_progress(run), also=DOWNLOADS).get(
            "done", {}
        )
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
        kind = "hub"
    else:
        kind = "tiny" if base_model.slug == TINY else "packaged"
    return PrepareSpec(
        kind=kind,
        source=base_model.location,
        output_dir=str(output),
        revision=base_model.revision or "main",
        most_gb=float(settings.MODEL_MOST_GB),
    )


def _report_progress(run: BackgroundRun | None) -> Callable[[dict[str, Any]], None]:
    """Shows the stage of the child on the run."""

    def tell(event: dict[str, Any]) -> None:
        if run is not None and event["event"] == "stage":
            run.record(stage=str(event.get("text", ""))[:120])

    return tell


def _store_config_facts(base_model: BaseModel, done: dict[str, Any]) -> None:
    """Stores what the child read from the model's configuration."""
    base_model.parameters = int(done.get("parameters") or base_model.parameters)
    base_model.context = int(done.get("context_length") or base_model.context)
    base_model.architecture = str(done.get("architecture") or base_model.architecture)[:80]
    base_model.shape = done.get("shape") or base_model.shape
    base_model.size_bytes = int(done.get("size_bytes") or 0)
    base_model.revision = str(done.get("revision") or base_model.revision)[:64]
    base_model.licence = base_model.licence or str(done.get("license") or "")[:80]
    known = _origin(base_model) in {_origin(one) for one in CATALOG}
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


@dataclass(frozen=True)
class CheckResult:
    """The result of one check of a prepared model."""

    name: str
    ok: bool
    detail: str


def check_model(*, base_model: BaseModel, gguf: Path | None = None) -> list[CheckResult]:
    """Verifies a prepared model: files, tokenizer, weights and, with a GGUF file, parity with llama.cpp. Blocks.

    A packaged model is compared with the file of its package.

    Raises:
        Refused: it is not prepared, or the verification failed.
    """
    if not base_model.is_prepared:
        raise Refused(f"{base_model} is not prepared. Run: manage.py models pull {base_model.slug}", field="base_model")
    packaged = base_model.source == BaseModel.Source.PACKAGED and base_model.slug != TINY and gguf is None
    verify = VerifySpec(
        path=base_model.folder,
        sha256=base_model.sha256,
        prompt="chat" if base_model.instruction_tuned else "plain",
        gguf=str(gguf.expanduser().resolve()) if gguf else "",
        package=base_model.location if packaged else "",
    )
    spec, results = spec_file(verify.to_yaml()), list[CheckResult]()

    def note(event: dict[str, Any]) -> None:
        if event["event"] == "check":
            results.append(CheckResult(event["name"], bool(event["ok"]), str(event["detail"])))

    log = Path(settings.HOME) / "models" / f".{base_model.slug}.check.log"
    try:
        run_child("training.ml.verify", spec, log, on_event=note)
    except ChildFailed as failure:
        raise Refused(f"{base_model} could not be verified. {failure}", field="base_model") from failure
    finally:
        spec.unlink(missing_ok=True)
        log.unlink(missing_ok=True)
    return results
