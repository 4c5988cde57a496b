"""A model folder is looked at before it is loaded."""

import json
import os
import shutil
import struct
from pathlib import Path

import pytest

from slmstudio.errors import Refused
from slmstudio.storage.hashing import folder_hash
from tests.training.ml_data import tiny
from training.ml.modeling.folder_checks import check_folder, check_ref
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
    assert "quantized" in reason(folder)


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


def header(**tensors: object) -> bytes:
    text = json.dumps(tensors).encode()
    return struct.pack("<Q", len(text)) + text


def tensor(start: int, stop: int, shape: list[int], dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "truncated"),
        (b"\xff" * 8, "truncated"),
        (struct.pack("<Q", 10) + b"{}", "truncated"),
        (struct.pack("<Q", 2) + b"[[", "not JSON"),
        (struct.pack("<Q", 40_000) + b"[" * 40_000, "not JSON"),
        (struct.pack("<Q", 2) + b"[]", "no tensors"),
        (header(a=tensor(0, 16, [4])) + bytes(8), "incomplete"),
        (header(a=tensor(0, 16, [4])) + bytes(400), "incomplete"),
        (header(a=tensor(0, 16, [2**40])) + bytes(16), "a has another length"),
        (header(a=tensor(0, 16, [4], "PICKLE")) + bytes(16), "a has another length"),
        (header(a=tensor(-16, 0, [4])) + bytes(16), "a has another length"),
        (header(a=tensor(0, 16, [4]), b=tensor(8, 24, [4])) + bytes(24), "overlap or leave gaps"),
        (header(a=tensor(8, 24, [4])) + bytes(24), "overlap or leave gaps"),
    ],
)
def test_weights_whose_header_does_not_agree_with_the_file_are_refused(folder: Path, data: bytes, why: str) -> None:
    (folder / "model.safetensors").write_bytes(data)
    assert why in reason(folder)


@pytest.mark.parametrize("name", ["../model.safetensors", "/etc/passwd", "gone.safetensors", 3])
def test_an_index_may_only_name_what_lies_in_the_folder(folder: Path, name: object) -> None:
    index = {"weight_map": {"model.embed_tokens.weight": name}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "model.safetensors.index.json" in reason(folder)


def test_an_index_of_what_is_there_passes(folder: Path) -> None:
    index = {"weight_map": {"model.embed_tokens.weight": "model.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    check_folder(folder)


def test_a_configuration_of_more_weights_than_there_are_is_refused(folder: Path) -> None:
    edit(folder / "config.json", num_hidden_layers=10**9)
    assert "describes" in reason(folder)


def test_a_linked_folder_and_a_pipe_are_refused(folder: Path) -> None:
    (folder / "more").symlink_to("/etc")
    assert "more is a link out of the folder" in reason(folder)
    (folder / "more").unlink()
    os.mkfifo(folder / "notes")
    assert "notes is not a plain file" in reason(folder)


def test_json_that_is_nested_without_end_is_refused(folder: Path) -> None:
    (folder / "config.json").write_text("[" * 100_000)
    assert "config.json is not valid JSON" in reason(folder)


@pytest.mark.parametrize("named", [None, 7, "LlamaForCausalLM", [None]])
def test_an_architecture_that_is_no_list_of_names_is_refused(folder: Path, named: object) -> None:
    edit(folder / "config.json", architectures=named)
    assert "not a causal language model" in reason(folder)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("config.json", {"attn_implementation": "someone/kernel"}),
        ("config.json", {"_attn_implementation": "someone/kernel@main:attention"}),
        ("config.json", {"_attn_implementation_internal": "flash_attention_2"}),
        ("config.json", {"attn_implementation": {"": "eager", "text_config": "someone/kernel"}}),
        ("config.json", {"text_config": {"_experts_implementation": "someone/kernel"}}),
        ("config.json", {"text_config": {"auto_map": {"AutoModel": "x--modeling.X"}}}),
        ("config.json", {"sub": [{"quantization_config": {"quant_method": "gptq"}}]}),
        ("config.json", {"use_kernels": True}),
        ("config.json", {"trust_remote_code": True}),
        ("generation_config.json", {"custom_generate": "someone/decoding"}),
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["x.X", None]}}),
    ],
)
def test_settings_that_name_code_are_refused(folder: Path, name: str, change: dict[str, object]) -> None:
    if not (folder / name).is_file():
        (folder / name).write_text("{}")
    edit(folder / name, **change)
    assert reason(folder)


@pytest.mark.parametrize("value", [None, "eager", "sdpa"])
def test_the_kernels_of_torch_may_be_named(folder: Path, value: str | None) -> None:
    edit(folder / "config.json", _attn_implementation=value, use_kernels=False)
    assert check_folder(folder)


def test_an_adapter_is_no_model(folder: Path) -> None:
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "someone/model"}')
    assert "adapter" in reason(folder)
