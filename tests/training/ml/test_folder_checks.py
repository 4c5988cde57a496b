"""A model folder is checked before it is loaded."""

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


def test_clean_folder_is_accepted(folder: Path) -> None:
    assert check_folder(folder)["model_type"] == "llama"


@pytest.mark.parametrize("name", ["pytorch_model.bin", "optimizer.pt", "sub/old.pkl", "modeling_own.py"])
def test_pickle_and_code_are_rejected(folder: Path, name: str) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"x")
    assert name in reason(folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_reference_to_code_is_rejected(folder: Path, name: str) -> None:
    edit(folder / name, auto_map={"AutoModelForCausalLM": "modeling_own.Own"})
    assert "auto_map" in reason(folder)


def test_link_out_of_the_folder_is_rejected(folder: Path) -> None:
    (folder / "extra.safetensors").symlink_to("/etc/hostname")
    assert "link" in reason(folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_incomplete_folder_is_rejected(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert reason(folder)


def test_missing_or_changed_folder_is_rejected(folder: Path) -> None:
    assert "does not exist" in reason(folder / "nowhere")
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
        (header(a=tensor(0, 16, [2**40])) + bytes(16), "a has a different length"),
        (header(a=tensor(0, 16, [4], "PICKLE")) + bytes(16), "a has a different length"),
        (header(a=tensor(-16, 0, [4])) + bytes(16), "a has a different length"),
        (header(a=tensor(0, 16, [4]), b=tensor(8, 24, [4])) + bytes(24), "overlap or leave gaps"),
        (header(a=tensor(8, 24, [4])) + bytes(24), "overlap or leave gaps"),
    ],
)
def test_weights_with_an_inconsistent_header_are_rejected(folder: Path, data: bytes, why: str) -> None:
    (folder / "model.safetensors").write_bytes(data)
    assert why in reason(folder)


def test_index_outside_the_folder_is_rejected(folder: Path) -> None:
    def write_index(name: object) -> None:
        index = {"weight_map": {"model.embed_tokens.weight": name}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))

    for name in ("../model.safetensors", "/etc/passwd", "gone.safetensors", 3):
        write_index(name)
        assert "model.safetensors.index.json" in reason(folder), name
    write_index("model.safetensors")
    check_folder(folder)


def test_configuration_larger_than_its_weights_is_rejected(folder: Path) -> None:
    edit(folder / "config.json", num_hidden_layers=10**9)
    assert "describes" in reason(folder)


def test_linked_folder_and_pipe_are_rejected(folder: Path) -> None:
    (folder / "more").symlink_to("/etc")
    assert "more links to a file outside the folder" in reason(folder)
    (folder / "more").unlink()
    os.mkfifo(folder / "notes")
    assert "notes is not a plain file" in reason(folder)


def test_deeply_nested_json_is_rejected(folder: Path) -> None:
    (folder / "config.json").write_text("[" * 100_000)
    assert "config.json is not valid JSON" in reason(folder)


def test_unknown_architecture_and_quantized_weights_are_rejected(folder: Path) -> None:
    for architectures in (None, 7, "LlamaForCausalLM", [None]):
        edit(folder / "config.json", architectures=architectures)
        assert "neither a causal language model nor a known encoder" in reason(folder)
    edit(folder / "config.json", architectures=["BertForSequenceClassification"])
    assert "BertForSequenceClassification" in reason(folder)
    edit(folder / "config.json", architectures=["LlamaForCausalLM"], quantization_config={"bits": 4})
    assert "quantized" in reason(folder)


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
def test_settings_with_code_are_rejected(folder: Path, name: str, change: dict[str, object]) -> None:
    if not (folder / name).is_file():
        (folder / name).write_text("{}")
    edit(folder / name, **change)
    assert reason(folder)


def test_torch_kernels_are_allowed(folder: Path) -> None:
    for value in (None, "eager", "sdpa"):
        edit(folder / "config.json", _attn_implementation=value, use_kernels=False)
        assert check_folder(folder)


def test_adapter_folder_is_rejected(folder: Path) -> None:
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "someone/model"}')
    assert "adapter" in reason(folder)
