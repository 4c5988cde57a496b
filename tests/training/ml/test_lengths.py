"""Token lengths of rows."""

from pathlib import Path

import pytest

from slmstudio.errors import Refused
from tests.training.ml_data import INSTRUCTION, SCHEMA, tiny
from training.ml.data.rows import Row, compiled, read_rows
from training.ml.lengths import answer_limit, encode_rows, load_encoder
from training.spec import ContractRef


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


BROKEN = [
    '{"id":"b"}',
    '{"id":"b","split":"train","text":"x","gold":{},"evidence":{"a":[[0,2]]}}',
    '{"id":"b","split":"train","text":"x","gold":{},"evidence":{"a":[0]}}',
    '{"id":"b","split":"train","text":"x","gold":{},"evidence":[]}',
]


@pytest.mark.parametrize("line", BROKEN)
def test_invalid_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text(f'{{"id":"a","split":"train","text":"x","gold":{{}},"evidence":{{"a":[[0,1]]}}}}\n{line}\n')
    with pytest.raises(Refused, match="Line 2"):
        read_rows(str(path))
