"""A hybrid model: the encoder's sure values, and the decoder's for the others."""

import json
from pathlib import Path
from typing import Any

import pytest

from evaluation.hybrids.thresholds import probability_of
from evaluation.inference.spec import EvalSpec
from evaluation.ml.generate import main as generate
from evaluation.ml.generator import Generator
from evaluation.ml.prompts import DocumentOutput
from slmstudio.contract.decoding.grounding import is_accepted
from slmstudio.contract.schema.compiled import compile_schema
from slmstudio.errors import Refused
from slmstudio.storage.hashing import sha256_file
from tests.training.ml_data import EventCollector, named, rows, tiny, train_spec, write_dataset
from tests.training.model_folders import made_once
from training.ml.decoding.constraint import Constraint, Grammar
from training.ml.modeling.tiny_model import build_tiny_encoder
from training.ml.train import main as train
from training.spec import RunSpec
from training.strict_yaml import build

SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["invoice_id", "total", "note"],
    "properties": {
        "invoice_id": {"type": ["string", "null"], "x-slm": {"evidence": "required"}},
        "total": {"type": ["string", "null"], "maxLength": 8, "x-slm": {"evidence": "required"}},
        "note": {"type": "string", "maxLength": 5, "x-slm": {"kind": "free"}},
    },
}


def contract() -> dict[str, Any]:
    return {"instruction": "Extract.", "schema": SCHEMA}


def made_rows() -> list[dict[str, Any]]:
    return [{**row, "gold": {**row["gold"], "note": "x"}} for row in rows(train=24, validation=4)]


@pytest.fixture
def grammars(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The grammars of documents and windows, in order."""
    made: list[str] = []
    other = Grammar.other

    def noted(self: Grammar, text: str) -> Constraint:
        made.append(text)
        return other(self, text)

    monkeypatch.setattr(Grammar, "other", noted)
    return made


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


def hybrid(folder: Path, encoder: Path, documents: list[dict[str, Any]] | None = None, /, **thresholds: float) -> Path:
    dataset = write_dataset(folder / "data.jsonl", documents or made_rows())
    values = train_spec(tiny(), dataset, folder / "hybrid")
    refs = {"encoder": {"path": str(encoder)}, "decoder": {"path": str(tiny())}, "thresholds": thresholds}
    events = run(build(RunSpec, {**values, "contract": contract(), "hybrid": refs}))
    assert [event["event"] for event in events] == ["start", "artifact", "done"]
    return folder / "hybrid/merged"


def outputs(folder: Path, model: Path, **changes: Any) -> list[dict[str, Any]]:
    values = {
        "model": {"path": str(model)},
        "contract": contract(),
        "documents": {
            "path": str(folder / "data.jsonl"), "split": "validation", "sha256": sha256_file(folder / "data.jsonl"),
        },
        "outputs": str(folder / "outputs.jsonl"),
        "confidence": True,
        **changes,
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


def test_an_output_of_the_decoder_that_cannot_be_read_is_left_out(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unreadable = '{"invoice_id":null,"total":null,"note":' + "9" * 70 + "}"
    monkeypatch.setattr(
        Generator, "answer", lambda self, row: DocumentOutput(row.id, unreadable, "stop", 1.0, 9, 9, "", {})
    )
    for output in outputs(tmp_path, hybrid(tmp_path, encoder, invoice_id=0.0, total=1.01)):
        assert set(json.loads(output["raw"])) >= {"invoice_id", "total"}
        assert (output["finish_reason"], output["output_tokens"]) == ("stop", 9)


def test_a_folder_of_another_contract_is_refused(encoder: Path, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="has no heads"):
        hybrid(tmp_path, made_once("tiny-encoder", build_tiny_encoder), total=0.5)
    values = train_spec(tiny(), write_dataset(tmp_path / "d.jsonl"), tmp_path / "other")
    refs = {"encoder": {"path": str(encoder)}, "decoder": {"path": str(encoder)}, "thresholds": {}}
    spec = build(RunSpec, {**values, "hybrid": refs})
    with pytest.raises(Refused, match="does not generate text"):
        run(spec)


@pytest.mark.parametrize("mode", ["constrained", "grounded"])
def test_sure_values_are_constants_for_the_decoder(
    encoder: Path, tmp_path: Path, grammars: list[str], mode: str
) -> None:
    model = hybrid(tmp_path, encoder, invoice_id=0.0, total=1.01)
    values = [json.loads(output["raw"]) for output in outputs(tmp_path, model, mode=mode)]
    assert len(grammars) == len(values)
    for made, value in zip(grammars, values, strict=True):
        assert is_accepted(made, f'{{"invoice_id":{json.dumps(value["invoice_id"])},"total":')
        assert not is_accepted(made, '{"invoice_id":"Invoice"')
        # only grounding decides on the other values
        other = f'{{"invoice_id":{json.dumps(value["invoice_id"])},"total":"xyz"'
        assert is_accepted(made, other) == (mode == "constrained")


def test_a_window_is_given_the_values_that_it_contains(encoder: Path, tmp_path: Path, grammars: list[str]) -> None:
    padding = "\n" + "a line of words\n" * 12
    made = [{**row, "text": row["text"].replace("\n", padding, 1)} for row in made_rows()]
    model = hybrid(tmp_path, encoder, made, invoice_id=0.0, total=1.01)
    windows = {"size": 30, "whole": 60, "answer": 20}
    for output in outputs(tmp_path, model, windows=windows):
        first, *others = grammars[: output["windows"]]
        del grammars[: output["windows"]]
        assert others
        name = json.loads(output["raw"])["invoice_id"]
        assert name is not None
        assert (is_accepted(first, f'{{"invoice_id":"{name}"'), is_accepted(first, '{"invoice_id":null')) == (
            True,
            False,
        )
        for window in others:
            assert is_accepted(window, '{"invoice_id":null')
            assert not is_accepted(window, '{"invoice_id":"')


def test_the_probability_of_a_list_is_that_of_its_least_sure_value() -> None:
    confidence = {"rows[0].a": 0.9, "rows[1].a": 0.4, "rowset": 0.1}
    assert probability_of("rows", confidence) == 0.4
    assert probability_of("other", confidence) == 1.0
