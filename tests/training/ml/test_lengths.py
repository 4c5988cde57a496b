"""Token lengths of rows."""

import json
from pathlib import Path

import pytest

from tests.training.ml_data import INSTRUCTION, SCHEMA, named, run_child, tiny, write_dataset
from training.ml.data.rows import Row, compiled
from training.ml.lengths import answer_limit, encode_rows, load_encoder
from training.spec import ContractRef, DatasetRef, LengthsSpec, ModelRef


def test_completion_is_gold_in_schema_order_and_end_token() -> None:
    encoder = load_encoder(str(tiny()), "chat")
    schema = compiled(ContractRef(instruction=INSTRUCTION, schema=SCHEMA))
    row = Row(id="a", split="train", text="x", gold={"total": None, "invoice_id": "A-1"})
    [encoded] = encode_rows([row], instruction=INSTRUCTION, schema=schema, encoder=encoder)
    assert encoder.decode(encoded.completion) == '{"invoice_id":"A-1","total":null}'
    assert encoded.length == len(encoded.prompt) + len(encoded.completion)


def test_output_limit_is_half_above_the_longest() -> None:
    assert answer_limit([10, 21]) == 48  # 31.5 rounded up, and 16
    assert answer_limit([]) == 512


@pytest.mark.slow
def test_child_measures_every_row(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "data.jsonl")
    spec = LengthsSpec(
        base_model=ModelRef(path=str(tiny())),
        dataset=DatasetRef(path=str(dataset)),
        contract=ContractRef(instruction=INSTRUCTION, schema=SCHEMA),
        output=str(tmp_path / "lengths.jsonl"),
    )
    code, events, errors = run_child("training.ml.lengths", spec.to_yaml(), tmp_path)
    assert code == 0, errors
    [done] = named(events, "done")
    measured = [json.loads(line) for line in (tmp_path / "lengths.jsonl").read_text().splitlines()]
    assert [(one["id"], one["split"]) for one in measured] == [
        (row["id"], row["split"]) for row in map(json.loads, dataset.read_text().splitlines())
    ]
    assert done["rows"] == len(measured) > 0


def test_invalid_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").write_text('{"id":"a","split":"train","text":"x","gold":{}}\n{"id":"b"}\n')
    spec = LengthsSpec(
        base_model=ModelRef(path=str(tiny())),
        dataset=DatasetRef(path=str(tmp_path / "data.jsonl")),
        contract=ContractRef(instruction=INSTRUCTION, schema=SCHEMA),
        output=str(tmp_path / "lengths.jsonl"),
    )
    code, events, _ = run_child("training.ml.lengths", spec.to_yaml(), tmp_path)
    assert code == 2
    assert "Line 2" in events[-1]["message"]
