"""A model folder is looked at before it is loaded."""

import json
import shutil
from pathlib import Path

import pytest

from slmstudio.hashing import folder_hash
from tests.training.ml_data import tiny
from training.ml.checks import check_folder, check_ref
from training.ml.events import Refused
from training.spec import ModelRef


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny(), tmp_path / "model"))


def reason(folder: Path) -> str:
    with pytest.raises(Refused) as caught:
        check_folder(folder)
    return caught.value.message


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_clean_folder_passes(folder: Path) -> None:
    assert check_folder(folder)["model_type"] == "llama"


@pytest.mark.parametrize("name", ["pytorch_model.bin", "optimizer.pt", "sub/old.pkl", "weights.ckpt"])
def test_pickles_are_refused(folder: Path, name: str) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"x")
    assert name in reason(folder)


def test_code_is_refused(folder: Path) -> None:
    (folder / "modeling_own.py").write_text("print()")
    assert "modeling_own.py" in reason(folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_a_pointer_to_code_is_refused(folder: Path, name: str) -> None:
    edit(folder / name, auto_map={"AutoModelForCausalLM": "modeling_own.Own"})
    assert "auto_map" in reason(folder)


def test_a_link_out_of_the_folder_is_refused(folder: Path) -> None:
    (folder / "extra.safetensors").symlink_to("/etc/hostname")
    assert "link" in reason(folder)


def test_other_architectures_are_refused(folder: Path) -> None:
    edit(folder / "config.json", architectures=["BertForSequenceClassification"])
    assert "BertForSequenceClassification" in reason(folder)


def test_quantised_weights_are_refused(folder: Path) -> None:
    edit(folder / "config.json", quantization_config={"bits": 4})
    assert "quantised" in reason(folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_an_incomplete_folder_is_refused(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert reason(folder)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    assert "does not exist" in reason(tmp_path / "nowhere")


def test_a_changed_folder_is_refused(folder: Path) -> None:
    ref = ModelRef(path=str(folder), sha256=folder_hash(folder))
    check_ref(ref)
    edit(folder / "generation_config.json", temperature=0.5)
    with pytest.raises(Refused, match="changed"):
        check_ref(ref)
