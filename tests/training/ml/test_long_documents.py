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
        {"id": f"s{number}", "split": "validation" if number == 2 else "train", "text": one.text,
         "gold": json.loads(dumps(one.gold))}
        for number, one in enumerate(made)
    ]  # fmt: skip
    dataset = write_dataset(folder / "data.jsonl", rows)
    contract = {"instruction": INSTRUCTION, "schema": SCHEMA}
    values = train_spec(tiny(), dataset, folder / "run", contract=contract, max_length=LIMIT, **changes)
    return load_dataset(build(RunSpec, values), compile_schema(SCHEMA), load_encoder(str(tiny()), "chat"))


def test_each_window_is_a_row_with_its_part_of_gold(tmp_path: Path, statements: list[Statement]) -> None:
    found = loaded(tmp_path, statements)
    assert all(one.length <= LIMIT for one in [*found.train, *found.validation])
    assert found.left_out == []
    for number, made in enumerate(statements[:2]):
        parts = [one for one in found.train if one.document.id == f"s{number}"]
        assert len(parts) > 2
        for one in parts:
            assert one.of is not None
            assert one.row.gold["transactions"] == made.read(one.of.window)["transactions"]
    [whole] = [one for one in found.train if one.of is None]
    facts = found.window_facts()
    assert facts is not None
    assert (facts["documents"], facts["rows"]) == (2, len(found.train) - 1)
    assert (facts["whole"], facts["answer"]) == (len(whole.prompt), max(len(one.completion) for one in found.train))
    [document] = found.validation_documents()
    assert "".join(dict.fromkeys(one.document.text for one in document)) == statements[2].text
    assert len(document) > 2


def test_a_share_is_of_documents_not_of_windows(tmp_path: Path, statements: list[Statement]) -> None:
    every, part = loaded(tmp_path, statements), loaded(tmp_path, statements, train_share=0.34)
    assert len({one.document.id for one in part.train}) == 1
    assert {one.row.id for one in part.train} < {one.row.id for one in every.train}


def test_documents_can_be_left_out_instead(tmp_path: Path, statements: list[Statement]) -> None:
    found = loaded(tmp_path, statements, too_long="leave_out")
    assert [one["id"] for one in found.left_out] == ["s0", "s1", "s2"]
    assert found.windows is not None
    assert found.windows.whole is None
