"""The models a fine-tuning can start from: which there are, and bringing one into a clean, checked folder."""

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
from training.base_models.catalog import CATALOGUE, Known
from training.models import BaseModel
from training.runs.child_processes import ChildCancelled, ChildFailed, run_child, spec_file
from training.runs.services import unfetched
from training.spec import PrepareSpec, VerifySpec

TINY = "tiny-random"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
_REVISION = re.compile(r"[A-Za-z0-9][\w./-]{0,63}", re.ASCII)
#: what a model itself says better than the catalogue, once it is prepared
_OWN_FACTS = ("parameters", "context", "shape", "architecture")


def sync_catalogue() -> list[BaseModel]:
    """Makes sure that every model of the catalogue has its row; what was prepared stays prepared.

    A row is the catalogue's by where its weights come from. Its slug may be another one: a model of somebody's own that
    has the slug of the catalogue keeps it, and everything else.
    """
    there = _by_origin(BaseModel.objects.order_by("-pk"))  # of several with one origin the first
    rows = []
    for known in CATALOGUE:
        row, columns = there.get(_origin(known)), known.columns()
        if row is None:
            columns["slug"] = _free_slug(known.slug)
            rows.append(BaseModel.objects.get_or_create(slug=columns["slug"], defaults=columns)[0])
            continue
        del columns["slug"]
        if row.ready:
            columns = {name: value for name, value in columns.items() if name not in _OWN_FACTS or not row.shape}
        changed = [name for name, value in columns.items() if getattr(row, name) != value]
        for name in changed:
            setattr(row, name, columns[name])
        if changed:
            row.save(update_fields=changed)
        rows.append(row)
    return rows


def _origin(model: BaseModel | Known) -> tuple[str, str]:
    """Where weights come from. The hub takes its ids in any case."""
    hub = model.source == BaseModel.Source.HUB
    return str(model.source), model.location.lower() if hub else model.location


def _by_origin(models: Iterable[BaseModel]) -> dict[tuple[str, str], BaseModel]:
    return {_origin(model): model for model in models}


def find_base_model(slug: str) -> BaseModel:
    """The base model with this slug.

    Raises:
        Refused: there is none; the message names those there are.
    """
    found = BaseModel.objects.filter(slug=slug).first()
    if found is None:
        known = ", ".join(BaseModel.objects.order_by("slug").values_list("slug", flat=True)) or "none"
        raise Refused(f"There is no base model {slug!r}. Known are: {known}.", field="base_model")
    return found


def register_folder(*, slug: str, name: str, folder: Path | str, licence: str = "") -> BaseModel:
    """Makes a local model folder known; ``prepare`` checks and copies it before anything is trained from it.

    Raises:
        Refused: the folder is none, lies outside MODEL_FOLDERS, or the slug cannot be used.
    """
    path = _resolved(folder)
    allowed = [root.resolve() for root in settings.MODEL_FOLDERS]
    if not any(path.is_relative_to(root) and path != root for root in allowed):
        places = ", ".join(str(root) for root in allowed)
        raise Refused(f"Model folders lie under {places} (setting MODEL_FOLDERS); {path} does not.", field="folder")
    if not _is_folder(path):
        raise Refused(f"{path} is not a folder.", field="folder")
    if slugify(slug) != slug or not slug:
        raise Refused("A slug has small letters, digits and hyphens only.", field="slug")
    taken = BaseModel.objects.filter(slug=slug).first()
    if taken is not None and (taken.source != BaseModel.Source.FOLDER or taken.location != str(path)):
        raise Refused(f"{slug} is already {taken.name} from {taken.location}.", field="slug")
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
    """The folder that a text names, links followed. A ``~`` is a letter like others: the text may be of a page."""
    try:
        return Path(folder).resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise Refused(f"{str(folder)[:100]} cannot be a folder: {error}.", field="folder") from error


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name of more than 255 bytes, a folder that may not be looked into
        return False


def add_hub_model(*, hub_id: str, revision: str = "", name: str = "") -> BaseModel:
    """Makes a model of the hub known; nothing is downloaded before it is prepared. One that is known is given back.

    ``revision`` is a branch, tag or commit, ``main`` where none is named; a prepared model keeps the commit it was
    taken from.

    Raises:
        Refused: the id or the revision cannot be one, or the model is prepared at another revision already.
    """
    hub_id, revision = hub_id.strip(), revision.strip()
    if not _HUB_ID.fullmatch(hub_id) or ".." in hub_id:
        raise Refused("A hub id has the form organisation/name, such as Qwen/Qwen3-0.6B.", field="hub_id")
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
    elif model.ready and revision not in ("", model.revision):
        raise Refused(
            f"{model} is prepared at {model.revision[:12]}. Another revision is another model.", field="revision"
        )
    model.revision = revision or model.revision
    model.full_clean()
    model.save()
    return model


def _slug_of(hub_id: str) -> str:
    return slugify(hub_id.partition("/")[2].replace(".", "-").replace("_", "-"))[:70] or "model"


def _free_slug(wanted: str) -> str:
    taken = set(BaseModel.objects.filter(slug__startswith=wanted).values_list("slug", flat=True))
    return next(slug for slug in [wanted, *(f"{wanted}-{n}" for n in range(2, 10_000))] if slug not in taken)


def named_model(text: str) -> BaseModel:
    """The model that somebody names on a command line: a slug, or a hub id with or without ``@revision``.

    Raises:
        Refused: no such slug, or no hub id.
    """
    if "/" not in text:
        return find_base_model(text)
    hub_id, _, revision = text.partition("@")
    return add_hub_model(hub_id=hub_id, revision=revision)


def register_tiny() -> BaseModel:
    """The tiny model with random weights, for tests and trials of the machinery; it learns nothing of use."""
    return BaseModel.objects.update_or_create(
        slug=TINY,
        defaults={
            "name": "Tiny random (for trials)",
            "source": BaseModel.Source.PACKAGED,
            "location": TINY,
            "licence": "none",
        },
    )[0]


def prepare(*, base_model: BaseModel, run: BackgroundRun | None = None, fetch: bool = True) -> BaseModel:
    """Brings a model into ``$SLM_HOME/models/<slug>`` and notes its hash, size and context. Blocks; a minute or so.

    Two callers at once do the work once. Nothing half done is ever seen: the folder is made under another name first.
    With a ``run`` its heart beats meanwhile. Without ``fetch`` nothing is downloaded.

    Raises:
        Refused: the model cannot be prepared, with the reason; it is not here, and is not to be fetched.
        ChildCancelled: the run was cancelled.
    """
    home = Path(settings.HOME) / "models"
    target = home / base_model.slug
    if base_model.source == BaseModel.Source.FOLDER and Path(base_model.location) == target.resolve():
        target = home / f"{base_model.slug}-prepared"  # never over what somebody put there
    with _alone(home / f".{base_model.slug}.lock", run):
        base_model.refresh_from_db()
        if _is_whole(base_model):
            return base_model
        if base_model.source == BaseModel.Source.HUB and not fetch:
            raise unfetched(base_model)
        if not base_model.ready and _was_made(target, base_model):
            done, sha256 = _prepare_into(target, base_model, run), folder_hash(target)  # only looked over
        else:
            done, sha256 = _make(home / f".{base_model.slug}.new", target, base_model, run)
        base_model.folder, base_model.sha256 = str(target), sha256
        _note_facts(base_model, done)
        base_model.save(
            update_fields=[
                "folder", "sha256", "parameters", "context", "licence", "instruction_tuned", "architecture", "shape",
                "size_bytes", "revision",
            ]
        )  # fmt: skip
    return base_model


def _make(draft: Path, target: Path, base_model: BaseModel, run: BackgroundRun | None) -> tuple[dict[str, Any], str]:
    """Makes the folder under another name, then puts it in its place; what the child said, and the folder's hash."""
    _clear(draft)
    try:
        done = _prepare_into(draft, base_model, run)
        sha256 = folder_hash(draft)
        shutil.rmtree(target, ignore_errors=True)
        draft.rename(target)
    finally:
        _clear(draft)
    return done, sha256


def _clear(draft: Path) -> None:
    """Takes away a draft and what a child that was killed left beside it, a download perhaps."""
    for folder in (draft, *draft.parent.glob(f".{draft.name}.*")):
        shutil.rmtree(folder, ignore_errors=True)


def _was_made(target: Path, base_model: BaseModel) -> bool:
    """Whether this very model lies there already, made before the database was: the child then only looks it over."""
    spec = _prepare_spec(base_model, target)
    try:
        source = json.loads((target / "source.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    same = isinstance(source, dict) and (source.get("kind"), source.get("source")) == (spec.kind, spec.source)
    # a folder of somebody's own may have changed since, and a branch moves on
    return same and spec.kind in ("packaged", "tiny")


def _is_whole(base_model: BaseModel) -> bool:
    """Prepared, and the files are still those that were prepared."""
    return base_model.ready and Path(base_model.folder).is_dir() and folder_hash(base_model.folder) == base_model.sha256


def _prepare_into(draft: Path, base_model: BaseModel, run: BackgroundRun | None) -> dict[str, Any]:
    spec = spec_file(_prepare_spec(base_model, draft).to_yaml())
    log = draft.with_suffix(".log")
    try:
        return run_child("training.ml.prepare", spec, log, run=run, on_event=_telling(run), also=DOWNLOADS).get(
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


def _telling(run: BackgroundRun | None) -> Callable[[dict[str, Any]], None]:
    """Shows on the run's row what the child is at."""

    def tell(event: dict[str, Any]) -> None:
        if run is not None and event["event"] == "stage":
            run.record(stage=str(event.get("text", ""))[:120])

    return tell


def _note_facts(base_model: BaseModel, done: dict[str, Any]) -> None:
    """Takes over what the child found in the model's own configuration."""
    base_model.parameters = int(done.get("parameters") or base_model.parameters)
    base_model.context = int(done.get("context_length") or base_model.context)
    base_model.architecture = str(done.get("architecture") or base_model.architecture)[:80]
    base_model.shape = done.get("shape") or base_model.shape
    base_model.size_bytes = int(done.get("size_bytes") or 0)
    base_model.revision = str(done.get("revision") or base_model.revision)[:64]
    base_model.licence = base_model.licence or str(done.get("license") or "")[:80]
    known = _origin(base_model) in {_origin(one) for one in CATALOGUE}
    if "chat_template" in done and not known:
        base_model.instruction_tuned = bool(done["chat_template"])


@contextmanager
def _alone(lock: Path, run: BackgroundRun | None) -> Iterator[None]:
    """Holds a file lock: one preparation of a model at a time, across processes. Beats while it waits."""
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
class Look:
    """One thing that was looked at in a prepared model."""

    name: str
    ok: bool
    said: str


def check(*, base_model: BaseModel, gguf: Path | None = None) -> list[Look]:
    """Looks a prepared model over: files, tokenizer, weights and, against a GGUF file, llama.cpp. Blocks.

    A packaged model is held against the file of its package.

    Raises:
        Refused: it is not prepared, or the looking itself broke off.
    """
    if not base_model.ready:
        raise Refused(f"{base_model} is not prepared. Run: manage.py models pull {base_model.slug}", field="base_model")
    packaged = base_model.source == BaseModel.Source.PACKAGED and base_model.slug != TINY and gguf is None
    wanted = VerifySpec(
        path=base_model.folder,
        sha256=base_model.sha256,
        prompt="chat" if base_model.instruction_tuned else "plain",
        gguf=str(gguf.expanduser().resolve()) if gguf else "",
        package=base_model.location if packaged else "",
    )
    spec, looks = spec_file(wanted.to_yaml()), list[Look]()

    def note(event: dict[str, Any]) -> None:
        if event["event"] == "look":
            looks.append(Look(event["name"], bool(event["ok"]), str(event["said"])))

    log = Path(settings.HOME) / "models" / f".{base_model.slug}.check.log"
    try:
        run_child("training.ml.verify", spec, log, on_event=note)
    except ChildFailed as failure:
        raise Refused(f"{base_model} could not be looked over. {failure}", field="base_model") from failure
    finally:
        spec.unlink(missing_ok=True)
        log.unlink(missing_ok=True)
    return looks
