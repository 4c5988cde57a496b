"""A base model is prepared in a clean folder, completely or not at all."""

import importlib.util
import json
import re
import shutil
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from slmstudio.errors import Refused
from slmstudio.storage.hashing import folder_hash
from tests.training.ml_data import EventCollector, named, receipts, smollm2, tiny, tiny_encoder
from training.ml import verify
from training.ml.llama_cpp import runtime
from training.ml.llama_cpp.gguf import one_reading, read_header, tokenizer_from_gguf
from training.ml.prepare import ARCHIVED_FILES, PACKAGED, packaged_file, prepare
from training.model_shape import ModelShape
from training.spec import PrepareSpec, VerifySpec


def spec(kind: str, source: str, output: Path, **more: object) -> PrepareSpec:
    return PrepareSpec(kind=kind, source=source, output_dir=str(output), **more)  # type: ignore[arg-type]


def test_local_folder_is_copied_without_extra_files(tmp_path: Path) -> None:
    source = Path(shutil.copytree(tiny(), tmp_path / "source"))
    (source / "notes.txt").write_text("not part of a model")
    done = prepare(spec("local", str(source), tmp_path / "out"))
    assert {entry["path"] for entry in done["files"]} >= {"config.json", "model.safetensors", "tokenizer.json"}
    assert not (tmp_path / "out" / "notes.txt").exists()
    assert done["sha256"] == folder_hash(tmp_path / "out")
    assert done["parameters"] == 147_840
    assert (done["context_length"], done["chat_template"]) == (2048, True)
    assert ModelShape.from_dict(done["shape"]).parameters == 147_840


def test_rejected_source_leaves_no_files(tmp_path: Path) -> None:
    source = Path(shutil.copytree(tiny(), tmp_path / "source"))
    (source / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(Refused, match="pickled"):
        prepare(spec("local", str(source), tmp_path / "out"))
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_prepared_folder_is_reused_and_other_contents_are_kept(tmp_path: Path) -> None:
    first = prepare(spec("tiny", "tiny-random", tmp_path / "out"))
    again = prepare(spec("tiny", "tiny-random", tmp_path / "out"))
    assert first["sha256"] == again["sha256"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "mine.txt").write_text("keep")
    with pytest.raises(Refused, match="different contents"):
        prepare(spec("tiny", "tiny-random", tmp_path / "mine"))
    assert (tmp_path / "mine" / "mine.txt").read_text() == "keep"


def test_an_encoder_is_unpacked_from_the_archive_of_its_package_without_its_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(
        "training.ml.prepare.importlib", SimpleNamespace(util=SimpleNamespace(find_spec=lambda _: package))
    )
    monkeypatch.setattr("training.ml.prepare.metadata", SimpleNamespace(version=lambda _: "1.0"))
    with zipfile.ZipFile(tmp_path / "model.zip", "w") as archive:
        for path in tiny_encoder().iterdir():
            archive.write(path, path.name)
        archive.writestr("special_tokens_map.json", "{}")
        archive.writestr("modeling.py", "raise SystemExit")
    done = prepare(spec("packaged", "all-minilm-l6-v2", tmp_path / "out"))
    assert (done["family"], done["context_length"], done["license"]) == ("encoder", 256, "Apache-2.0")
    assert {entry["path"] for entry in done["files"]} == {*ARCHIVED_FILES, "source.json"}
    shape = ModelShape.from_dict(done["shape"])
    assert (shape.encoder, len(shape.linear_sizes)) == (True, 6)
    (tmp_path / "model.zip").write_bytes(b"PK")
    with pytest.raises(Refused, match="is damaged"):
        prepare(spec("packaged", "all-minilm-l6-v2", tmp_path / "other"))
    assert not (tmp_path / "other").exists()


def test_verification_of_an_encoder_checks_offsets_and_that_no_weight_is_random(tmp_path: Path) -> None:
    def checked(folder: Path) -> dict[str, bool]:
        collector = EventCollector()
        verify.main(VerifySpec(path=str(folder), prompt="plain"), collector.emitter)
        return {event["name"]: event["ok"] for event in named(collector.events, "check")}

    assert checked(tiny_encoder()) == {"files": True, "tokenizer": True, "weights": True}
    deeper = Path(shutil.copytree(tiny_encoder(), tmp_path / "deeper"))
    config = json.loads((deeper / "config.json").read_text())
    (deeper / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    assert checked(deeper) == {"files": True, "tokenizer": True, "weights": False}


def test_hub_id_is_rejected_offline(tmp_path: Path) -> None:
    with pytest.raises(Refused) as caught:
        prepare(spec("hub", "someone/some-model", tmp_path / "out", offline=True))
    assert caught.value.code == "offline"
    assert "someone/some-model" in caught.value.message


@pytest.mark.slow
@pytest.mark.real_model
def test_packaged_model_is_converted_with_its_tokenizer() -> None:
    from transformers import AutoTokenizer

    folder = smollm2()
    config = json.loads((folder / "config.json").read_text())
    assert "quantization_config" not in config
    assert config["dtype"] == "bfloat16"
    assert "_model_name_or_path" not in config
    tokenizer = AutoTokenizer.from_pretrained(folder)
    # The tokenizer that transformers makes from the GGUF writes 14, 2026 and 248 as one token each.
    assert tokenizer.tokenize("Jan 14, 2026 1,248.50") == [
        "Jan", "Ġ", "1", "4", ",", "Ġ", "2", "0", "2", "6", "Ġ", "1", ",", "2", "4", "8", ".", "5", "0",
    ]  # fmt: skip
    assert tokenizer.tokenize("<repo_name><|im_end|>") == ["<repo_name>", "<|im_end|>"]
    assert tokenizer.chat_template
    assert tokenizer.model_max_length == 8192


@pytest.mark.slow
@pytest.mark.real_model
@pytest.mark.parametrize("slug", ["gemma-3-270m"])
def test_packaged_tokenizer_matches_llama_cpp(slug: str, tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp")
    packaged = PACKAGED[slug]
    if importlib.util.find_spec(packaged.module) is None:
        pytest.skip("the packaged model is not installed")
    with packaged_file(packaged, tmp_path) as path, one_reading():
        tokenizer = tokenizer_from_gguf(path, read_header(path))
        runtime.compare(path, tokenizer, None, [*runtime.TEXTS, *(row["text"] for row in receipts(20))])


@pytest.mark.slow
@pytest.mark.real_model
def test_packaged_model_matches_llama_cpp() -> None:
    pytest.importorskip("xllamacpp")
    from tokenizers import pre_tokenizers
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = smollm2()
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    with packaged_file(PACKAGED["smollm2-135m-instruct"], folder.parent) as path:
        texts = [*runtime.TEXTS, *(row["text"] for row in receipts(20))]
        sentence = runtime.compare(path, tokenizer, model, texts, count=4)
        figures = re.findall(r"of (\d+) documents .* (\d+) begin .* (\d+) of (\d+) tokens", sentence)
        documents, firsts, shared, total = map(int, figures[0])
        assert firsts == documents
        assert shared > total / 2
        splitter = tokenizer.backend_tokenizer.pre_tokenizer
        byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Split("o", "isolated"), byte_level]
        )
        with pytest.raises(ValueError, match="Token IDs differ"):  # another way to split words is found out
            runtime.compare(path, tokenizer, None)
        tokenizer.backend_tokenizer.pre_tokenizer = splitter
        for parameter in model.model.layers[3].parameters():
            parameter.data.zero_()
        model.model.norm.weight.data.neg_()
        with pytest.raises(ValueError, match="differ from llama"):
            runtime.compare(path, tokenizer, model, count=1)


def test_unknown_package_and_missing_file_are_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Refused, match="smollm2-135m-instruct"):
        prepare(spec("packaged", "no-such-model", tmp_path / "out"))
    with pytest.raises(Refused, match=r"make gemma \(238 MB, under Google's terms of use"):
        prepare(spec("packaged", "gemma-3-270m", tmp_path / "out"))
    assert list(tmp_path.iterdir()) == []
