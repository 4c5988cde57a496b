"""A trained encoder in a child process: events, errors of single documents, and batches."""

import json
from pathlib import Path
from typing import Any

import pytest

from evaluation.inference.backend import Output
from evaluation.inference.completion import ResponseStatus
from evaluation.inference.spec import EvalSpec
from evaluation.ml import answer_encoder
from slmstudio.contract.schema.compiled import compile_schema
from slmstudio.errors import Refused
from slmstudio.storage.hashing import folder_hash, sha256_file
from tests.training.ml_data import (
    INSTRUCTION,
    SCHEMA,
    EventCollector,
    named,
    rows,
    tiny,
    trained_tiny_encoder,
    write_dataset,
)
from training.ml.encoders import predictor
from training.strict_yaml import build

Outputs = dict[str, dict[str, Any]]


def run(folder: Path, made: list[dict[str, Any]] | None = None, **changes: Any) -> list[dict[str, Any]]:
    folder.mkdir(exist_ok=True)
    dataset = write_dataset(folder / "data.jsonl", made)
    model = changes.pop("model", trained_tiny_encoder())
    values: dict[str, Any] = {
        "model": {"path": str(model), "sha256": folder_hash(model)},
        "contract": {"instruction": INSTRUCTION, "schema": SCHEMA},
        "documents": {"path": str(dataset), "sha256": sha256_file(dataset), "split": "holdout"},
        "outputs": str(folder / "outputs.jsonl"),
        "precision": "fp32",
        **changes,
    }
    collector = EventCollector()
    answer_encoder.main(build(EvalSpec, values), collector.emitter)
    return collector.events


def by_id(events: list[dict[str, Any]]) -> Outputs:
    return {output["id"]: output for output in named(events, "output")}


def documents(*texts: str) -> list[dict[str, Any]]:
    """Hold-out documents with these texts."""
    made = rows(holdout=len(texts))
    for row, text in zip(made[-len(texts) :], texts, strict=True):
        row["text"] = text
    return made


def test_every_document_has_an_output_with_the_probability_of_each_field(tmp_path: Path) -> None:
    events = run(tmp_path)
    assert [event["event"] for event in events] == ["start", "output", "output", "output", "done"]
    [start], [done] = named(events, "start"), named(events, "done")
    assert (start["documents"], start["at_once"], start["precision"]) == (3, 1, "fp32")
    assert start["environment"]["packages"]["torch"]
    assert done["peak_memory_bytes"] > 1e6
    assert done["sha256"] == sha256_file(tmp_path / "outputs.jsonl")
    for output in named(events, "output"):
        assert set(output["confidence"]) == {"invoice_id", "total"}
        assert all(low == mean and 0 < low <= 1 for low, mean in output["confidence"].values())
        completion = Output(output).completion(compile_schema(SCHEMA))
        assert completion.status == ResponseStatus.VALID
        assert set(completion.confidence) == {"invoice_id", "total"}


def test_a_batch_answers_what_each_document_alone_does(tmp_path: Path) -> None:
    made = documents(*(f"Invoice A-{number}\n{'again ' * number * 9}\ntotal {number}.50" for number in range(1, 8)))
    alone, events = by_id(run(tmp_path / "alone", made)), run(tmp_path / "together", made, at_once=3)
    assert named(events, "start")[0]["at_once"] == 3
    together = by_id(events)
    assert {name: output["raw"] for name, output in together.items()} == {
        name: output["raw"] for name, output in alone.items()
    }
    for name, output in together.items():
        for path, values in output["confidence"].items():
            assert values == pytest.approx(alone[name]["confidence"][path], abs=1e-3)
    assert next(output["id"] for output in named(events, "output")) == "holdout-6", "the longest first"


@pytest.mark.parametrize("at_once", [1, 3])
def test_a_document_that_cannot_be_read_leaves_the_others_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(answer_encoder, "MAX_CHARACTERS", 100)
    scored = predictor.Predictor.predict_together

    def fails(self: Any, texts: list[str]) -> Any:
        if "broken" in texts:
            raise ValueError("it broke")
        return scored(self, texts)

    monkeypatch.setattr(predictor.Predictor, "predict_together", fails)
    outputs = by_id(run(tmp_path, documents("a" * 101, " \n", "broken", "Invoice A-1"), at_once=at_once))
    assert [outputs[f"holdout-{number}"]["error"] for number in range(4)] == [
        "The document has 101 characters, more than 100.",
        "There is no text in the document.",
        "ValueError: it broke",
        "",
    ]
    statuses = [Output(outputs[f"holdout-{number}"]).completion(compile_schema(SCHEMA)).status for number in range(3)]
    assert statuses == [ResponseStatus.TOO_LONG, ResponseStatus.MODEL_ERROR, ResponseStatus.MODEL_ERROR]
    assert json.loads(outputs["holdout-3"]["raw"]).keys() == {"invoice_id", "total"}


def test_other_models_and_other_schemas_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="not an encoder"):
        run(tmp_path, model=tiny())
    with pytest.raises(Refused, match="another version of the schema"):
        run(tmp_path, contract={"instruction": INSTRUCTION, "schema": {**SCHEMA, "title": "Other"}})
