"""Base models: the catalogue, folders of one's own, and what may not be prepared."""

import json
import shutil
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from slmstudio.hashing import folder_hash
from training.models import BaseModel
from training.services.base_models import find_base_model, prepare, register_folder, sync_catalogue
from training.services.runs import Refused

pytestmark = pytest.mark.django_db


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[Path]:
    """A folder below which local models may lie."""
    settings.MODEL_FOLDERS.append(tmp_path)
    yield tmp_path
    settings.MODEL_FOLDERS.remove(tmp_path)


@pytest.fixture
def own(folders: Path, tiny_folder: Path) -> Path:
    """A model folder as somebody puts it there."""
    return Path(shutil.copytree(tiny_folder, folders / "own"))


def test_the_catalogue_says_what_the_packaged_model_is() -> None:
    sync_catalogue()
    model = find_base_model("smollm2-135m-instruct")
    assert (model.parameters, model.context, model.licence) == (134_515_008, 8192, "Apache-2.0")
    assert model.instruction_tuned
    assert not model.ready


def test_syncing_again_keeps_what_was_prepared() -> None:
    sync_catalogue()
    BaseModel.objects.update(folder="/models/smol", sha256="a" * 64)
    sync_catalogue()
    assert BaseModel.objects.get().ready


def test_a_folder_of_ones_own_is_copied_clean(own: Path) -> None:
    (own / "notes.txt").write_text("not part of a model")
    model = prepare(base_model=register_folder(slug="mine", name="Mine", folder=own))
    target = Path(model.folder)
    assert target == Path(settings.HOME) / "models" / "mine"
    assert model.sha256 == folder_hash(target)
    assert not (target / "notes.txt").exists()
    assert model.context == 2048
    assert model.parameters > 0
    assert model.instruction_tuned  # it has a chat template
    shutil.rmtree(target)


def test_a_model_with_code_is_refused_with_the_reason_and_leaves_nothing(own: Path) -> None:
    config = json.loads((own / "config.json").read_text())
    (own / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModel": "evil.Model"}}))
    model = register_folder(slug="evil", name="Evil", folder=own)
    with pytest.raises(Refused, match="Evil cannot be prepared") as caught:
        prepare(base_model=model)
    assert caught.value.field == "base_model"
    model.refresh_from_db()
    assert not model.ready
    assert not list((Path(settings.HOME) / "models").glob("*evil*/*"))


def test_folders_outside_the_allowed_ones_are_refused(folders: Path, tiny_folder: Path) -> None:
    for path in (tiny_folder, folders / ".." / "x", folders, Path("/etc")):
        with pytest.raises(Refused) as caught:
            register_folder(slug="x", name="X", folder=path)
        assert caught.value.field == "folder"
    assert not BaseModel.objects.exists()


def test_a_link_out_of_the_allowed_folders_is_refused(folders: Path, tiny_folder: Path) -> None:
    (folders / "link").symlink_to(tiny_folder)
    with pytest.raises(Refused, match="MODEL_FOLDERS"):
        register_folder(slug="x", name="X", folder=folders / "link")


@pytest.mark.parametrize("slug", ["", "Has Space", "../up", "UPPER"])
def test_slugs_that_cannot_be_used_are_refused(own: Path, slug: str) -> None:
    with pytest.raises(Refused) as caught:
        register_folder(slug=slug, name="X", folder=own)
    assert caught.value.field == "slug"


def test_a_slug_that_is_taken_is_refused(own: Path) -> None:
    sync_catalogue()
    with pytest.raises(Refused, match="already SmolLM2"):
        register_folder(slug="smollm2-135m-instruct", name="X", folder=own)


def test_a_prepared_folder_that_is_whole_is_not_made_again(tiny_base_model: BaseModel) -> None:
    before = Path(tiny_base_model.folder).stat().st_mtime_ns
    assert prepare(base_model=tiny_base_model).folder == tiny_base_model.folder
    assert Path(tiny_base_model.folder).stat().st_mtime_ns == before


def test_the_command_lists_and_names_the_unknown(tiny_base_model: Any) -> None:
    said = StringIO()
    call_command("models", "list", stdout=said)
    lines = said.getvalue().splitlines()
    assert any(line.startswith("smollm2-135m-instruct") and "not prepared" in line for line in lines)
    assert any(line.startswith("tiny-random") and " prepared" in line for line in lines)
    with pytest.raises(CommandError, match="no base model 'gpt-17'"):
        call_command("models", "prepare", "gpt-17")
