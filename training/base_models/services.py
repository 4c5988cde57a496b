"""Register and remove base models: the catalog, folders, hub models."""

import re
import shutil
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import ProtectedError
from django.utils.text import slugify

from slmstudio.errors import Refused
from training.base_models.catalog import CATALOG, CatalogEntry
from training.models import BaseModel, ModelDownload

TINY = "tiny-random"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
_REVISION = re.compile(r"[A-Za-z0-9][\w./-]{0,63}", re.ASCII)
#: columns that a prepared model keeps: its own configuration knows better than the catalog
PRESERVED_COLUMNS = ("parameters", "context", "shape", "architecture", "family")


def sync_catalog() -> list[BaseModel]:
    """Creates or updates the row of every model of the catalog; prepared models stay prepared.

    Rows are matched by the origin of their weights, not by slug: another model that already has the slug of the catalog
    keeps it.
    """
    existing = _by_origin(BaseModel.objects.order_by("-pk"))  # of several with one origin, the oldest
    rows = []
    for known in CATALOG:
        row, columns = existing.get(origin_of(known)), known.columns()
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


def fill_catalog() -> None:
    """Registers the catalog where there is no base model yet: the page of base models was not opened yet."""
    if not BaseModel.objects.exists():
        sync_catalog()


def origin_of(model: BaseModel | CatalogEntry) -> tuple[str, str]:
    """The origin of the weights. Hub ids are case-insensitive."""
    hub = model.source == BaseModel.Source.HUB
    return str(model.source), model.location.lower() if hub else model.location


def _by_origin(models: Iterable[BaseModel]) -> dict[tuple[str, str], BaseModel]:
    return {origin_of(model): model for model in models}


def find_base_model(slug: str) -> BaseModel:
    """The base model with this slug.

    Raises:
        Refused: there is none; the message lists the available ones.
    """
    model = BaseModel.objects.with_slug(slug)
    if model is None:
        known = ", ".join(BaseModel.objects.order_by("slug").values_list("slug", flat=True)) or "none"
        raise Refused(f"Base model {slug!r} not found. Available: {known}.", field="base_model")
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
            f"{path} is not inside {places}. An administrator can add a folder to MODEL_FOLDERS.",
            field="folder",
            code="outside_model_folders",
        )
    if not _is_folder(path):
        raise Refused(f"{path} is not a folder.", field="folder")
    if slugify(slug) != slug or not slug:
        raise Refused("A slug can contain only lowercase letters, digits and hyphens.", field="slug")
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
        raise Refused("A hub ID has the form organization/name, such as Qwen/Qwen3-0.6B.", field="hub_id")
    if revision and (not _REVISION.fullmatch(revision) or ".." in revision):
        raise Refused(
            "A revision is a branch, tag or commit. Use only letters, digits, dots, dashes and slashes.",
            field="revision",
        )
    if len(name) > 120:
        raise Refused("A name can have at most 120 characters.", field="name")
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


def is_removable(model: BaseModel) -> bool:
    """Whether it was registered by a user: models of the catalog come back."""
    return origin_of(model) not in {origin_of(known) for known in CATALOG}


def remove_base_model(*, base_model: BaseModel) -> None:
    """Removes a registered model that nothing uses, with its prepared folder and token lengths.

    Raises:
        Refused: it is of the catalog, it is being prepared, or a run, a search or an evaluation uses it.
    """
    if not is_removable(base_model):
        raise Refused(f"{base_model} is in the catalog and cannot be removed.", field="base_model", code="catalog")
    if ModelDownload.objects.live().filter(base_model=base_model).exists():
        raise Refused(f"{base_model} is being prepared. Cancel that first.", field="base_model", code="running")
    try:
        base_model.delete()
    except ProtectedError as error:
        users = ", ".join(sorted({str(row._meta.verbose_name) for row in error.protected_objects}))
        raise Refused(f"{base_model} is in use ({users}).", field="base_model", code="in_use") from error
    is_ours = base_model.folder != base_model.location  # not the folder that a user registered
    if base_model.folder and is_ours and Path(base_model.folder).is_relative_to(Path(settings.HOME) / "models"):
        transaction.on_commit(partial(shutil.rmtree, base_model.folder, ignore_errors=True))


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
