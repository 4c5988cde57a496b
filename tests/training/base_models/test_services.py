"""Base models: the catalog, registered folders and hub models, preparation and its rejections."""

import json
import shutil
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from slmstudio.errors import Refused
from slmstudio.storage.hashing import folder_hash
from tests.training.ml_data import tiny_encoder
from training.base_models.preparation import prepare
from training.base_models.services import (
    add_hub_model,
    find_base_model,
    register_folder,
    register_tiny,
    resolve_model,
    sync_catalog,
)
from training.estimates.services import shape_of
from training.models import BaseModel

pytestmark = pytest.mark.django_db


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[Path]:
    """A folder below which local models may lie."""
    settings.MODEL_FOLDERS.append(tmp_path)
    yield tmp_path
    settings.MODEL_FOLDERS.remove(tmp_path)


@pytest.fixture
def own(folders: Path, tiny_folder: Path) -> Path:
    """A model folder of a user."""
    return Path(shutil.copytree(tiny_folder, folders / "own"))


def test_sync_keeps_prepared_models() -> None:
    sync_catalog()
    own = {**find_base_model("gemma-3-270m").shape, "context": 4096}
    BaseModel.objects.update(folder="/models/smol", sha256="a" * 64, shape=own, context=4096)
    sync_catalog()
    assert {(model.is_prepared, model.context) for model in BaseModel.objects.all()} == {(True, 4096)}


def test_sync_keeps_another_model_with_a_catalog_slug(own: Path) -> None:
    mine = register_folder(slug="qwen3-0-6b", name="Our Qwen", folder=own, licence="ours")
    BaseModel.objects.filter(pk=mine.pk).update(folder="/models/qwen3-0-6b", sha256="a" * 64)
    for _ in range(2):
        sync_catalog()
    after = BaseModel.objects.get(pk=mine.pk)
    assert (after.slug, after.name, after.licence, after.source) == ("qwen3-0-6b", "Our Qwen", "ours", "folder")
    assert (after.location, after.reference, after.instruction_tuned) == (str(own), "", False)
    known = BaseModel.objects.get(location="Qwen/Qwen3-0.6B")
    assert (known.slug, known.source, known.is_prepared) == ("qwen3-0-6b-2", "hub", False)


def test_sync_adopts_a_hub_model_added_earlier(own: Path) -> None:
    register_folder(slug="qwen3-0-6b", name="Our Qwen", folder=own)
    added = add_hub_model(hub_id="qwen/qwen3-0.6b", revision="v1")
    sync_catalog()
    added.refresh_from_db()
    assert (added.slug, added.name, added.revision) == ("qwen3-0-6b-2", "Qwen3 0.6B", "v1")
    assert BaseModel.objects.filter(location__iexact="Qwen/Qwen3-0.6B").count() == 1


def test_catalog_has_origin_and_memory_of_each_model() -> None:
    sync_catalog()
    gemma = find_base_model("gemma-3-270m")
    assert (gemma.source, gemma.instruction_tuned, gemma.prompt) == ("packaged", False, "plain")
    llama = find_base_model("llama-3-2-1b-instruct")
    assert (llama.source, llama.location) == ("hub", "meta-llama/Llama-3.2-1B-Instruct")
    for model in BaseModel.objects.all():
        assert model.license_record.commercial_use in ("yes", "limited")
        assert model.parameters
        assert model.context
    assert shape_of(find_base_model("granite-4-0-1b"))
    assert shape_of(find_base_model("lfm2-5-350m")) is None, "unknown until it is prepared"


def test_hub_model_is_registered_before_download() -> None:
    sync_catalog()
    model = add_hub_model(hub_id=" HuggingFaceTB/SmolLM3-3B ", revision="v1.0")
    assert (model.slug, model.location, model.revision) == ("smollm3-3b", "HuggingFaceTB/SmolLM3-3B", "v1.0")
    assert not model.is_prepared
    assert add_hub_model(hub_id="huggingfacetb/smollm3-3b") == model
    assert add_hub_model(hub_id="someone/SmolLM3-3B").slug == "smollm3-3b-2"
    assert resolve_model("Qwen/Qwen3-0.6B@main").slug == "qwen3-0-6b"  # the one of the catalog


def test_invalid_hub_id_and_revision_are_rejected() -> None:
    for hub_id in ("", "Qwen3", "a/b/c", "../x/y", "a b/c", "-a/b", "a/..", "https://h.co/a/b"):
        with pytest.raises(Refused) as caught:
            add_hub_model(hub_id=hub_id)
        assert caught.value.field == "hub_id", hub_id
    with pytest.raises(Refused) as caught:
        add_hub_model(hub_id="a/b", revision="../../etc")
    assert caught.value.field == "revision"
    assert not BaseModel.objects.exists()


def test_other_revision_of_a_prepared_model_is_rejected() -> None:
    model = add_hub_model(hub_id="a/b")
    BaseModel.objects.filter(pk=model.pk).update(folder="/x", sha256="a" * 64, revision="c0ffee")
    assert add_hub_model(hub_id="a/b", revision="c0ffee").is_prepared
    with pytest.raises(Refused) as caught:
        add_hub_model(hub_id="a/b", revision="main")
    assert caught.value.code == "other_revision"


def test_hub_model_is_downloaded_on_request_only_and_an_unreachable_hub_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = add_hub_model(hub_id="a/b")
    with pytest.raises(Refused) as caught:
        prepare(base_model=model, download=False)
    assert caught.value.code == "download_required"
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # no server
    with pytest.raises(Refused, match=r"a/b cannot be downloaded\. Use a packaged model"):
        prepare(base_model=model)


def test_a_hub_that_is_not_listed_is_not_asked(settings: Any) -> None:
    settings.OUTBOUND_HOSTS = ["api.example"]
    with pytest.raises(Refused) as caught:
        prepare(base_model=add_hub_model(hub_id="a/b"))
    assert caught.value.code == "host_not_allowed"


@pytest.mark.slow
def test_registered_folder_is_copied_clean(own: Path) -> None:
    (own / "notes.txt").write_text("not part of a model")
    left = Path(settings.HOME) / "models" / ".mine.new"  # by a killed child
    left.mkdir(parents=True)
    (left / "model.safetensors").write_bytes(b"x")
    model = prepare(base_model=register_folder(slug="mine", name="Mine", folder=own))
    target = Path(model.folder)
    assert target == Path(settings.HOME) / "models" / "mine"
    assert model.sha256 == folder_hash(target)
    assert not left.exists()
    assert not (target / "notes.txt").exists()
    assert model.context == 2048
    assert model.parameters > 0
    assert model.instruction_tuned  # it has a chat template
    assert (model.architecture, model.shape["layers"]) == ("LlamaForCausalLM", 2)
    assert model.size_bytes > 4 * model.parameters
    shutil.rmtree(target)


def test_model_with_code_is_rejected_and_leaves_no_files(own: Path) -> None:
    config = json.loads((own / "config.json").read_text())
    (own / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModel": "evil.Model"}}))
    model = register_folder(slug="evil", name="Evil", folder=own)
    with pytest.raises(Refused, match="Evil cannot be prepared") as caught:
        prepare(base_model=model)
    assert caught.value.field == "base_model"
    model.refresh_from_db()
    assert not model.is_prepared
    assert not list((Path(settings.HOME) / "models").glob("*evil*/*"))


def test_folder_outside_the_allowed_roots_is_rejected(folders: Path, tiny_folder: Path) -> None:
    (folders / "link").symlink_to(tiny_folder)
    outside: list[Path | str] = [tiny_folder, folders / ".." / "x", folders, Path("/etc"), folders / "link"]
    invalid = ("~nosuchuser/x", "~", "x" * 300, "a\0b")
    for folder in [*outside, *invalid, *(folders / name for name in invalid)]:
        with pytest.raises(Refused) as caught:
            register_folder(slug="x", name="X", folder=folder)
        assert caught.value.field == "folder", folder
        assert folder not in outside or caught.value.code == "outside_model_folders", folder
    assert not BaseModel.objects.exists()


def test_invalid_or_taken_slug_is_rejected(own: Path) -> None:
    sync_catalog()
    for slug in ("", "Has Space", "../up", "UPPER"):
        with pytest.raises(Refused) as caught:
            register_folder(slug=slug, name="X", folder=own)
        assert caught.value.field == "slug", slug
    with pytest.raises(Refused) as caught:
        register_folder(slug="smollm2-135m-instruct", name="X", folder=own)
    assert caught.value.code == "slug_taken"


@pytest.mark.slow
def test_a_registered_encoder_is_recognized(folders: Path) -> None:
    source = Path(shutil.copytree(tiny_encoder(), folders / "encoder"))
    model = prepare(base_model=register_folder(slug="reader", name="Reader", folder=source))
    assert (model.family, model.is_encoder, model.prompt, model.context) == ("encoder", True, "plain", 256)
    shutil.rmtree(model.folder)


def test_a_new_run_starts_from_a_decoder_even_if_only_an_encoder_is_prepared(tiny_encoder_model: BaseModel) -> None:
    sync_catalog()
    default = BaseModel.objects.default()
    assert default is not None
    assert (default.family, default.is_prepared) == ("decoder", False)
    assert find_base_model("all-minilm-l6-v2").is_encoder


@pytest.mark.slow
def test_existing_folder_is_only_verified_and_an_intact_one_not_prepared_again(tiny_folder: Path) -> None:
    target = Path(settings.HOME) / "models" / "tiny-random"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(tiny_folder, target)
    made = (target / "model.safetensors").stat().st_mtime_ns
    try:
        model = prepare(base_model=register_tiny())
        assert (model.folder, model.sha256) == (str(target), folder_hash(target))
        assert prepare(base_model=model).folder == model.folder
        assert (target / "model.safetensors").stat().st_mtime_ns == made
    finally:
        shutil.rmtree(target)


def test_models_list_shows_models_and_rejects_unknown_slugs(tiny_base_model: Any) -> None:
    output = StringIO()
    call_command("models", "list", stdout=output)
    lines = {line.split()[0]: line for line in output.getvalue().splitlines()}
    assert lines["smollm2-135m-instruct"].split()[1] == "no"
    assert lines["tiny-random"].split()[1] == "yes"
    assert lines["qwen3-1-7b"].endswith("Apache-2.0")
    with pytest.raises(CommandError, match="'gpt-17' not found"):
        call_command("models", "download", "gpt-17")


@pytest.mark.slow
def test_models_check_verifies_a_prepared_model_and_lists_problems(tiny_base_model: BaseModel, own: Path) -> None:
    output = StringIO()
    call_command("models", "check", "tiny-random", stdout=output)
    assert [line[:4] for line in output.getvalue().splitlines()[:3]] == ["ok  "] * 3
    with pytest.raises(CommandError, match="is not prepared"):
        call_command("models", "check", "gemma-3-270m")
    (own / "config.json").write_text(json.dumps({**json.loads((own / "config.json").read_text()), "auto_map": {}}))
    BaseModel.objects.create(slug="own", name="Own", source="folder", location=str(own), folder=str(own), sha256="a")
    output = StringIO()
    with pytest.raises(CommandError, match="own failed a check"):
        call_command("models", "check", "own", stdout=output)
    assert output.getvalue().startswith("NOT files: config.json names code")
