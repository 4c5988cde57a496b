"""Documents over the sequence length are trained on in windows."""

import json
from pathlib import Path
from typing import Any

import pytest

from slmstudio.contract.json_text import dumps
from slmstudio.contract.schema.compiled import compile_schema
from tests.contract.windows.statements import SCHEMA, Statement, statement
from tests.training.ml_data import INSTRUCTION, tiny, train_spec, write_dataset
from training.ml.data.encoded_dataset import EncodedDataset, load_dataset
from training.ml.lengths import load_encoder
from training.spec import RunSpec
from training.strict_yaml import build

LIMIT = 1200


@pytest.fixture(scope="module")
def statements() -> list[Statement]:
    return [statement(seed, pages=2, lines=10) for seed in range(3)] + [statement(9, pages=1, lines=2)]


def loaded(folder: Path, made: list[Statement], **changes: Any) -> EncodedDataset:
    rows = [
        {"id": f"s{number}", "split": "validation" if number == 2 else "train", "text": document.text,
         "gold": json.loads(dumps(document.gold))}
        for number, document in enumerate(made)
    ]  # fmt: skip
    dataset = write_dataset(folder / "data.jsonl", rows)
    contract = {"instruction": INSTRUCTION, "schema": SCHEMA}
    values = train_spec(tiny(), dataset, folder / "run", contract=contract, max_length=LIMIT, **changes)
    return load_dataset(build(RunSpec, values), compile_schema(SCHEMA), load_encoder(str(tiny()), "chat"))


def test_each_window_is_a_row_with_its_part_of_gold(tmp_path: Path, statements: list[Statement]) -> None:
    data = loaded(tmp_path, statements)
    assert all(row.length <= LIMIT for row in [*data.train, *data.validation])
    assert data.left_out == []
    for number, made in enumerate(statements[:2]):
        parts = [row for row in data.train if row.document.id == f"s{number}"]
        assert len(parts) > 2
        for part in parts:
            assert part.of is not None
            assert part.row.gold["transactions"] == made.read(part.of.window)["transactions"]
    [whole] = [row for row in data.train if row.of is None]
    facts = data.window_facts()
    assert facts is not None
    assert (facts["documents"], facts["rows"]) == (2, len(data.train) - 1)
    assert (facts["whole"], facts["answer"]) == (len(whole.prompt), max(len(row.completion) for row in data.train))
    [windows] = data.validation_documents()
    assert "".join(dict.fromkeys(window.document.text for window in windows)) == statements[2].text
    assert len(windows) > 2


def test_a_share_is_of_documents_not_of_windows(tmp_path: Path, statements: list[Statement]) -> None:
    every, part = loaded(tmp_path, statements), loaded(tmp_path, statements, train_share=0.34)
    assert len({row.document.id for row in part.train}) == 1
    assert {row.row.id for row in part.train} < {row.row.id for row in every.train}


def test_documents_can_be_left_out_instead(tmp_path: Path, statements: list[Statement]) -> None:
    data = loaded(tmp_path, statements, too_long="leave_out")
    assert [row["id"] for row in data.left_out] == ["s0", "s1", "s2"]
    assert data.windows is not None
    assert data.windows.whole is None
