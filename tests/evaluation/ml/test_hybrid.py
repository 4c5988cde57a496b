"""A hybrid model: the encoder's sure values, and the decoder's for the others."""

import json
from pathlib import Path
from typing import Any

import pytest

from evaluation.hybrids.thresholds import probability_of
from evaluation.inference.spec import EvalSpec
from evaluation.ml.generate import main as generate
from evaluation.ml.hybrid import with_constants
from slmstudio.contract.schema.compiled import compile_schema
from slmstudio.errors import Refused
from slmstudio.storage.hashing import sha256_file
from tests.training.ml_data import EventCollector, named, rows, tiny, train_spec, write_dataset
from tests.training.model_folders import made_once
from training.ml.modeling.tiny_model import build_tiny_encoder
from training.ml.train import main as train
from training.spec import RunSpec
from training.strict_yaml import build

SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["invoice_id", "total", "note"],
    "properties": {
        "invoice_id": {"type": ["string", "null"]},
        "total": {"type": ["string", "null"], "maxLength": 8},
        "note": {"type": "string", "maxLength": 5, "x-slm": {"kind": "free"}},
    },
}


def contract() -> dict[str, Any]:
    return {"instruction": "Extract.", "schema": SCHEMA}


def made_rows() -> list[dict[str, Any]]:
    return [{**row, "gold": {**row["gold"], "note": "x"}} for row in rows(train=24, validation=4)]


def run(spec: RunSpec) -> list[dict[str, Any]]:
    collector = EventCollector()
    train(spec, collector.emitter)
    return collector.events


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoder")
    dataset = write_dataset(folder / "data.jsonl", made_rows())
    base = made_once("tiny-encoder", build_tiny_encoder)
    values = train_spec(base, dataset, folder / "out", method="full", epochs=20.0, learning_rate=2e-3)
    run(build(RunSpec, {**values, "contract": contract()}))
    return folder / "out/merged"


def hybrid(folder: Path, encoder: Path, **thresholds: float) -> Path:
    dataset = write_dataset(folder / "data.jsonl", made_rows())
    values = train_spec(tiny(), dataset, folder / "hybrid")
    refs = {"encoder": {"path": str(encoder)}, "decoder": {"path": str(tiny())}, "thresholds": thresholds}
    events = run(build(RunSpec, {**values, "contract": contract(), "hybrid": refs}))
    assert [event["event"] for event in events] == ["start", "artifact", "done"]
    return folder / "hybrid/merged"


def outputs(folder: Path, model: Path) -> list[dict[str, Any]]:
    values = {
        "model": {"path": str(model)},
        "contract": contract(),
        "documents": {
            "path": str(folder / "data.jsonl"), "split": "validation", "sha256": sha256_file(folder / "data.jsonl"),
        },
        "outputs": str(folder / "outputs.jsonl"),
        "confidence": True,
    }  # fmt: skip
    collector = EventCollector()
    generate(build(EvalSpec, values), collector.emitter)
    return named(collector.events, "output")


def test_sure_values_stay_and_the_decoder_writes_the_others(encoder: Path, tmp_path: Path) -> None:
    model = hybrid(tmp_path, encoder, invoice_id=0.0, total=1.01)
    for output, row in zip(outputs(tmp_path, model), made_rows()[24:], strict=False):
        value = json.loads(output["raw"])
        assert value["invoice_id"] == row["gold"]["invoice_id"]
        assert set(value) == {"invoice_id", "total", "note"}
        assert not compile_schema(SCHEMA).validate(value)
        assert {"invoice_id", "note"} <= set(output["confidence"])
        assert output["output_tokens"] > 0


def test_a_folder_of_another_contract_is_refused(encoder: Path, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="has no heads"):
        hybrid(tmp_path, made_once("tiny-encoder", build_tiny_encoder), total=0.5)
    values = train_spec(tiny(), write_dataset(tmp_path / "d.jsonl"), tmp_path / "other")
    refs = {"encoder": {"path": str(encoder)}, "decoder": {"path": str(encoder)}, "thresholds": {}}
    spec = build(RunSpec, {**values, "hybrid": refs})
    with pytest.raises(Refused, match="does not generate text"):
        run(spec)


def test_given_values_are_constants_and_absent_ones_have_no_place() -> None:
    nested = {
        "type": "object",
        "properties": {
            "due": {"type": "string"},
            "party": {"type": "object", "properties": {"name": {"type": ["string", "null"]}, "id": {"type": "string"}}},
        },
    }
    compiled = compile_schema(nested)
    schema = with_constants(compiled, {"due": None, "party.name": None, "party.id": "7"})
    assert schema["properties"] == {
        "party": {"type": "object", "properties": {"name": {"const": None}, "id": {"const": "7"}}}
    }
    assert compiled.schema == nested


def test_the_probability_of_a_list_is_that_of_its_least_sure_value() -> None:
    confidence = {"rows[0].a": 0.9, "rows[1].a": 0.4, "rowset": 0.1}
    assert probability_of("rows", confidence) == 0.4
    assert probability_of("other", confidence) == 1.0
