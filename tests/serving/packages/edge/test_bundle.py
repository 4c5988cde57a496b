"""Packages as static folders for browsers, without a browser: what is in them, and which ones are refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from serving.engines import PROMPT
from serving.ml.pack import prompt_template
from serving.packages.edge.bundle import write_bundle
from serving.packages.spec import FILE, Grounding
from slmstudio.contract.decoding.gbnf import gbnf
from slmstudio.errors import Refused
from tests.serving.ml.engine_rig import served


def decoder(folder: Path, **changes: Any) -> Path:
    """A package with the prompt of the tiny model, and a file in place of its weights."""
    folder.mkdir()
    spec, builder = served("llama_cpp", gguf="model.gguf", **changes)
    (folder / FILE).write_text(spec.to_yaml())
    (folder / PROMPT).write_text(json.dumps(prompt_template(builder), default=vars))
    (folder / "model.gguf").write_bytes(b"GGUF")
    return folder


def test_a_bundle_has_model_prompt_grammar_and_runtime(tmp_path: Path) -> None:
    package = decoder(tmp_path / "package", mode="grounded", grounding=Grounding(held={"total": ("1.50",)}))
    size = write_bundle(package, tmp_path / "edge", title="Invoices <1>")
    contract = json.loads((tmp_path / "edge/contract.json").read_text())
    assert contract["prompt"]["first"] == 1
    assert contract["prompt"]["start"] + contract["prompt"]["prefix"] == (
        "<|im_start|>system\nExtract invoice fields into the JSON schema.<|im_end|>\n<|im_start|>user\n"
    )
    assert (contract["reserved"], contract["maximum"], contract["context"]) == (40, 60, 512)
    assert contract["grammar"].startswith("root ::= ")
    assert (tmp_path / "edge/model/model.gguf").read_bytes() == b"GGUF"
    assert (tmp_path / "edge/runtime/wllama.wasm").stat().st_size < size < 13e6
    page = (tmp_path / "edge/index.html").read_text()
    assert "<title>Invoices &lt;1&gt;</title>" in page
    assert "grounded decoding" in page
    readme = (tmp_path / "edge/README.txt").read_text()
    assert "grounded decoding" in readme
    assert "@wllama/wllama 3." in readme


def test_what_no_browser_can_run_is_refused(tmp_path: Path) -> None:
    package = decoder(tmp_path / "package", context=None)
    write_bundle(package, tmp_path / "long", title="")
    assert json.loads((tmp_path / "long/contract.json").read_text())["context"] == 4096
    (tmp_path / "edge").mkdir()
    with pytest.raises(Refused, match="already exists"):
        write_bundle(package, tmp_path / "edge", title="")
    (package / PROMPT).unlink()
    with pytest.raises(Refused, match="needs the GGUF file"):
        write_bundle(package, tmp_path / "other", title="")
    assert not (tmp_path / "other").exists()


def test_what_gbnf_cannot_express_is_left_to_the_validation() -> None:
    def rule_of(**field: Any) -> str:
        grammar = gbnf({"type": "object", "properties": {"a": field}, "required": ["a"]})
        [line] = [line for line in grammar.splitlines() if line.startswith("p0-0-pair")]
        return line.removeprefix(r'p0-0-pair ::= "\"a\":" ').removesuffix(' ""')

    assert rule_of(type="string", pattern="^a.b$") == r'"\"" "a" char "b" "\""'
    assert rule_of(type="string", pattern="^(?=a)b") == "string"
    assert rule_of(type="string", pattern="^[!-~]+$") == "string"  # the range has a quotation mark
    assert rule_of(type="string", maxLength=5000) == r'"\"" char{0,} "\""'
    assert rule_of(type="number", minimum=3) == "number"
    assert rule_of(type="object", additionalProperties={"type": "string"}) == "p1"
