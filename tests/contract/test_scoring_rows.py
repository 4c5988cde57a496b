"""Rows of a list are paired by similarity before their fields are compared."""

import time
from collections import Counter
from typing import Any
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from slmstudio.contract.schema.compiled import compile_schema, dumps
from slmstudio.contract.scoring import pairing
from slmstudio.contract.scoring.pairing import align_rows
from slmstudio.contract.scoring.scorer import FieldOutcome, Outcome, score_document
from tests.contract.samples import object_schema

ROW = object_schema({"name": {"type": "string"}, "qty": {"type": "integer"}, "amount": {"type": "number"}})
ROWS = compile_schema(object_schema({"rows": {"type": "array", "items": ROW}}))
ORDERED = compile_schema(object_schema({"rows": {"type": "array", "items": ROW, "x-slm": {"order": "ordered"}}}))
TAGS = compile_schema(object_schema({"tags": {"type": "array", "items": {"type": "string"}}}))

APPLE = {"name": "apple", "qty": 1, "amount": 3}
PEAR = {"name": "pear", "qty": 2, "amount": 8}
PLUM = {"name": "plum", "qty": 3, "amount": 7}
TEXT = "apple 1 3 pear 2 8 plum 3 7"


def _fields(gold: Any, output: Any, compiled: Any = ROWS) -> tuple[FieldOutcome, ...]:
    return score_document(compiled, text=TEXT, gold={"rows": gold}, raw=dumps({"rows": output})).fields


def test_order_does_not_matter_unless_declared() -> None:
    assert {field.outcome for field in _fields([APPLE, PEAR], [PEAR, APPLE])} == {Outcome.CORRECT}
    assert {field.outcome for field in _fields([APPLE, PEAR], [PEAR, APPLE], ORDERED)} == {Outcome.WRONG}


def test_a_missing_row_is_one_error() -> None:
    fields = _fields([APPLE, PEAR, PLUM], [APPLE, PLUM])
    wrong = [(field.path, field.outcome, field.error) for field in fields if field.outcome != Outcome.CORRECT]
    assert wrong == [(f"rows[1].{name}", Outcome.MISSING, "missing") for name in ("name", "qty", "amount")]


def test_an_extra_row_follows_after_the_last_and_an_invented_row_is_hallucinated() -> None:
    fields = _fields([APPLE], [PEAR, APPLE])
    assert [(field.path, field.outcome) for field in fields if field.outcome != Outcome.CORRECT] == [
        (f"rows[1].{name}", Outcome.EXTRA) for name in ("name", "qty", "amount")
    ]
    fields = _fields([APPLE], [APPLE, {"name": "melon", "qty": 99, "amount": 55}])
    assert [field.outcome for field in fields[3:]] == [Outcome.HALLUCINATED] * 3


def test_a_wrong_or_invalid_cell_stays_in_its_row() -> None:
    fields = _fields([APPLE, PEAR], [{**PEAR, "amount": 7}, APPLE])
    wrong = [(field.path, field.gold, field.output) for field in fields if field.outcome != Outcome.CORRECT]
    assert wrong == [("rows[1].amount", 8, 7)]
    fields = _fields([APPLE, PEAR], [{**PEAR, "qty": "two"}, APPLE])
    assert [(field.path, field.error) for field in fields if field.error] == [("rows[1].qty", "format")]


def test_lists_of_texts() -> None:
    score = score_document(
        TAGS, text="red green", gold={"tags": ["red", "green"]}, raw='{"tags":["green","blue","red"]}'
    )
    assert [(field.path, field.outcome) for field in score.fields] == [
        ("tags[0]", Outcome.CORRECT),
        ("tags[1]", Outcome.CORRECT),
        ("tags[2]", Outcome.HALLUCINATED),
    ]


def test_no_rows_on_either_side() -> None:
    absent: tuple[dict[str, Any], ...] = ({}, {"rows": []}, {"rows": None})
    for raw in ("{}", '{"rows":[]}', '{"rows":null}'):
        for gold in absent:
            assert score_document(ROWS, text="", gold=gold, raw=raw).fields == ()


_cells = st.tuples(st.sampled_from(["a", "b", "c", None]), st.integers(0, 3))


@given(st.lists(_cells, max_size=6), st.lists(_cells, max_size=6), st.booleans())
def test_every_row_is_in_exactly_one_pair(gold: list[Any], output: list[Any], ordered: bool) -> None:
    pairs = align_rows(gold, output, ordered=ordered)
    assert sorted(left for left, _ in pairs if left is not None) == list(range(len(gold)))
    assert sorted(right for _, right in pairs if right is not None) == list(range(len(output)))


@given(st.lists(_cells, max_size=6), st.randoms())
def test_shuffled_rows_are_matched(gold: list[Any], random: Any) -> None:
    output = list(gold)
    random.shuffle(output)
    for left, right in align_rows(gold, output, ordered=False):
        assert left is not None
        assert right is not None
        assert gold[left] == output[right]


def test_a_missing_row_in_a_long_list_is_one_error() -> None:
    gold = [{"name": f"item {i}", "qty": i, "amount": i * 2} for i in range(250)]
    fields = _fields(gold, [*gold[1:9], {**gold[9], "amount": -1}, *gold[10:]])
    wrong = [(field.path, field.output) for field in fields if field.outcome != Outcome.CORRECT]
    assert wrong == [*((f"rows[0].{name}", None) for name in ("name", "qty", "amount")), ("rows[9].amount", -1)]
    assert {field.outcome for field in _fields(gold, gold[::-1])} == {Outcome.CORRECT}
    assert Outcome.CORRECT not in {field.outcome for field in _fields(gold, gold[1:], ORDERED)}


@given(st.lists(_cells, max_size=8), st.lists(_cells, max_size=8))
def test_alignment_beyond_the_limit(gold: list[Any], output: list[Any]) -> None:
    with patch.object(pairing, "MAX_CELLS", 6):
        pairs = align_rows(gold, output, ordered=False)
    assert [left for left, _ in pairs if left is not None] == list(range(len(gold)))
    assert sorted(right for _, right in pairs if right is not None) == list(range(len(output)))
    if len(gold) * len(output) > 6:
        equal = [None not in (left, right) and gold[left or 0] == output[right or 0] for left, right in pairs]
        assert sum(equal) == (Counter(gold) & Counter(output)).total()


def test_a_row_of_nulls_is_empty() -> None:
    row = object_schema({"name": {"type": ["string", "null"]}, "amount": {"type": ["number", "null"]}})
    compiled = compile_schema(object_schema({"rows": {"type": "array", "items": row}}))
    nothing = dumps({"rows": [{"name": None, "amount": None}]})
    assert score_document(compiled, text="", gold={"rows": []}, raw=nothing).exact


def test_many_rows_take_bounded_time() -> None:
    gold = [{"name": f"item {i}", "qty": i, "amount": i * 2} for i in range(200)]
    start = time.process_time()
    assert len(_fields(gold, gold[::-1])) == 600
    many = [{"name": f"item {i}", "qty": i} for i in range(2000)]
    _fields(many, [{"name": "x", "qty": 1}] * 2000)
    assert time.process_time() - start < 30


TEA, POT = {"name": "green tea", "qty": 1, "amount": 350}, {"name": "clay pot", "qty": 2, "amount": 899}
CUP = {"name": "glass cup", "qty": 3, "amount": 120}


def _errors(gold: Any, output: Any) -> dict[str, str]:
    return {field.path: field.error for field in _fields(gold, output) if field.error}


def test_two_rows_merged_into_one() -> None:
    merged = {"name": "green tea clay pot", "qty": 1, "amount": 350}
    errors = _errors([TEA, POT, CUP], [merged, CUP])
    assert set(errors.values()) == {"row"}
    assert {path.split(".")[0] for path in errors} == {"rows[0]", "rows[1]"}


def test_one_row_split_into_two() -> None:
    whole = {"name": "green tea, clay pot", "qty": 3, "amount": 1249}
    errors = _errors([whole, CUP], [TEA, POT, CUP])
    assert errors["rows[0].name"] == "row"
    assert {error for path, error in errors.items() if path.startswith("rows[2]")} == {"row"}
    assert not any(path.startswith("rows[1]") for path in errors)


def test_summed_amounts_are_merged_rows() -> None:
    errors = _errors([TEA, POT], [{**TEA, "amount": 350 + 899}])
    assert errors["rows[0].amount"] == "row"
    assert errors["rows[1].amount"] == "row"


def test_texts_of_a_list_merged() -> None:
    score = score_document(TAGS, text="red green", gold={"tags": ["red", "green"]}, raw='{"tags":["red green"]}')
    assert [field.error for field in score.fields] == ["row", "row", "row"]


def test_missing_or_similar_rows_are_not_merged() -> None:
    assert set(_errors([APPLE, PEAR], [APPLE]).values()) == {"missing"}
    longer = {"name": "green tea pot", "qty": 1, "amount": 350}
    # The pot's row is right; the tea is missing, though its name is part of the other's.
    assert set(_errors([TEA, longer], [longer]).values()) <= {"missing", "ocr_damaged"}


def test_a_non_list_is_a_format_error() -> None:
    score = score_document(ROWS, text=TEXT, gold={"rows": [APPLE]}, raw='{"rows":"apple 1 3"}')
    assert {(field.outcome, field.error) for field in score.fields} == {(Outcome.MISSING, "format")}


_row = st.fixed_dictionaries({"name": st.sampled_from(["tea", "green tea", "pot"]), "amount": st.integers(0, 3)})
_lists = st.lists(_row, max_size=5)


@given(_lists, _lists, st.randoms())
def test_row_order_does_not_change_counts(gold: list[Any], output: list[Any], random: Any) -> None:
    def counts(rows: list[Any]) -> tuple[int, int]:
        fields = _fields(gold, rows)
        return sum(field.gold is not None for field in fields), sum(field.output is not None for field in fields)

    shuffled = list(output)
    random.shuffle(shuffled)
    assert counts(output) == counts(shuffled) == (2 * len(gold), 2 * len(output))
    random.shuffle(gold)
    assert not any(field.error for field in _fields(gold, sorted(gold, key=str)))
