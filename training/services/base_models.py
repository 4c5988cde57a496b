"""The models a fine-tuning can start from: which there are, and bringing one into a clean, checked folder."""

import fcntl
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from django.conf import settings
from django.core.exceptions import ValidationError
from django.utils.text import slugify

from slmstudio.hashing import folder_hash
from slmstudio.runs import BackgroundRun
from training.models import BaseModel
from training.services.children import ChildCancelled, ChildFailed, run_child, spec_file
from training.services.runs import Refused
from training.spec import PrepareSpec

TINY = "tiny-random"


@dataclass(frozen=True)
class Known:
    """One model of the catalogue."""

    slug: str
    name: str
    source: str
    location: str
    reference: str
    licence: str
    parameters: int
    context: int
    instruction_tuned: bool


CATALOGUE = (
    Known(
        slug="smollm2-135m-instruct",
        name="SmolLM2 135M Instruct",
        source=BaseModel.Source.PACKAGED,
        location="smollm2-135m-instruct",
        reference="HuggingFaceTB/SmolLM2-135M-Instruct",
        licence="Apache-2.0",
        parameters=134_515_008,
        context=8192,
        instruction_tuned=True,
    ),
)


def sync_catalogue() -> list[BaseModel]:
    """Makes sure that every model of the catalogue has its row; what was prepared stays prepared."""
    return [BaseModel.objects.update_or_create(slug=known.slug, defaults=asdict(known))[0] for known in CATALOGUE]


def find_base_model(slug: str) -> BaseModel:
    """The base model with this slug.

    Raises:
        Refused: there is none; the message names those there are.
    """
    found = BaseModel.objects.filter(slug=slug).first()
    if found is None:
        known = ", ".join(BaseModel.objects.order_by("slug").values_list("slug", flat=True)) or "none"
        raise Refused("base_model", f"There is no base model {slug!r}. Known are: {known}.")
    return found


def register_folder(*, slug: str, name: str, folder: Path | str, licence: str = "") -> BaseModel:
    """Makes a local model folder known; ``prepare`` checks and copies it before anything is trained from it.

    Raises:
        Refused: the folder is none, lies outside MODEL_FOLDERS, or the slug cannot be used.
    """
    path = Path(folder).expanduser().resolve()
    allowed = [root.resolve() for root in settings.MODEL_FOLDERS]
    if not any(path.is_relative_to(root) and path != root for root in allowed):
        places = ", ".join(str(root) for root in allowed)
        raise Refused("folder", f"Model folders lie under {places} (setting MODEL_FOLDERS); {path} does not.")
    if not path.is_dir():
        raise Refused("folder", f"{path} is not a folder.")
    if slugify(slug) != slug or not slug:
        raise Refused("slug", "A slug has small letters, digits and hyphens only.")
    taken = BaseModel.objects.filter(slug=slug).first()
    if taken is not None and (taken.source != BaseModel.Source.FOLDER or taken.location != str(path)):
        raise Refused("slug", f"{slug} is already {taken.name} from {taken.location}.")
    model = taken or BaseModel(slug=slug, source=BaseModel.Source.FOLDER, location=str(path))
    model.name, model.licence = name, licence
    try:
        model.full_clean()
    except ValidationError as error:
        field, messages = next(iter(error.message_dict.items()))
        raise Refused(field, " ".join(messages)) from error
    model.save()
    return model


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


def prepare(*, base_model: BaseModel, run: BackgroundRun | None = None) -> BaseModel:
    """Brings a model into ``$SLM_HOME/models/<slug>`` and notes its hash, size and context. Blocks; a minute or so.

    Two callers at once do the work once. Nothing half done is ever seen: the folder is made under another name first.
    With a ``run`` its heart beats meanwhile.

    Raises:
        Refused: the model cannot be prepared, with the reason.
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
        draft = home / f".{base_model.slug}.new"
        shutil.rmtree(draft, ignore_errors=True)
        try:
            done = _prepare_into(draft, base_model, run)
            sha256 = folder_hash(draft)
            shutil.rmtree(target, ignore_errors=True)
            draft.rename(target)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        base_model.folder, base_model.sha256 = str(target), sha256
        _note_facts(base_model, done)
        base_model.save(update_fields=["folder", "sha256", "parameters", "context", "licence", "instruction_tuned"])
    return base_model


def _is_whole(base_model: BaseModel) -> bool:
    """Prepared, and the files are still those that were prepared."""
    return base_model.ready and Path(base_model.folder).is_dir() and folder_hash(base_model.folder) == base_model.sha256


def _prepare_into(draft: Path, base_model: BaseModel, run: BackgroundRun | None) -> dict[str, Any]:
    spec = spec_file(_prepare_spec(base_model, draft).to_yaml())
    log = draft.with_suffix(".log")
    try:
        return run_child("training.ml.prepare", spec, log, run=run).get("done", {})
    except ChildFailed as failure:
        raise Refused("base_model", f"{base_model} cannot be prepared. {failure}") from failure
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
    return PrepareSpec(kind=kind, source=base_model.location, output_dir=str(output))


def _note_facts(base_model: BaseModel, done: dict[str, Any]) -> None:
    """Takes over what the child found in the model's own configuration."""
    base_model.parameters = int(done.get("parameters") or base_model.parameters)
    base_model.context = int(done.get("context_length") or base_model.context)
    base_model.licence = base_model.licence or str(done.get("license") or "")[:80]
    if "chat_template" in done and (base_model.source != BaseModel.Source.PACKAGED or base_model.slug == TINY):
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
                if run is not None and not run.beat():
                    raise ChildCancelled from None
                time.sleep(0.5)
        yield
