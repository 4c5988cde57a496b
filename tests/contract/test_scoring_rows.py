"""Rows of a list are paired by likeness before their fields are compared."""

import time
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from slmstudio.contract.alignment import align
from slmstudio.contract.schema import compile_schema, dumps
from slmstudio.contract.scoring import FieldOutcome, Outcome, score_document
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


def test_a_missing_row_costs_only_itself() -> None:
    fields = _fields([APPLE, PEAR, PLUM], [APPLE, PLUM])
    wrong = [(field.path, field.outcome, field.error) for field in fields if field.outcome != Outcome.CORRECT]
    assert wrong == [(f"rows[1].{name}", Outcome.MISSING, "row") for name in ("name", "qty", "amount")]


def test_an_extra_row_follows_after_the_last() -> None:
    fields = _fields([APPLE], [PEAR, APPLE])
    assert [(field.path, field.outcome) for field in fields if field.outcome != Outcome.CORRECT] == [
        (f"rows[1].{name}", Outcome.EXTRA) for name in ("name", "qty", "amount")
    ]


def test_an_invented_row_is_hallucinated() -> None:
    fields = _fields([APPLE], [APPLE, {"name": "melon", "qty": 99, "amount": 55}])
    assert [field.outcome for field in fields[3:]] == [Outcome.HALLUCINATED] * 3


def test_a_wrong_cell_stays_in_its_row() -> None:
    fields = _fields([APPLE, PEAR], [{**PEAR, "amount": 7}, APPLE])
    wrong = [(field.path, field.gold, field.output) for field in fields if field.outcome != Outcome.CORRECT]
    assert wrong == [("rows[1].amount", 8, 7)]


def test_a_cell_that_breaks_the_schema_is_found_in_the_row_it_was_written_in() -> None:
    fields = _fields([APPLE, PEAR], [{**PEAR, "qty": "two"}, APPLE])
    wrong = [(field.path, field.error) for field in fields if field.outcome != Outcome.CORRECT]
    assert wrong == [("rows[1].qty", "format")]


def test_lists_of_texts() -> None:
    score = score_document(
        TAGS, text="red green", gold={"tags": ["red", "green"]}, raw='{"tags":["green","blue","red"]}'
    )
    assert [(field.path, field.outcome) for field in score.fields] == [
        ("tags[0]", Outcome.CORRECT),
        ("tags[1]", Outcome.CORRECT),
        ("tags[2]", Outcome.HALLUCINATED),
    ]


def test_no_rows_on_either_side_is_nothing_to_score() -> None:
    absent: tuple[dict[str, Any], ...] = ({}, {"rows": []}, {"rows": None})
    for raw in ("{}", '{"rows":[]}', '{"rows":null}'):
        for gold in absent:
            assert score_document(ROWS, text="", gold=gold, raw=raw).fields == ()


_cells = st.tuples(st.sampled_from(["a", "b", "c", None]), st.integers(0, 3))


@given(st.lists(_cells, max_size=6), st.lists(_cells, max_size=6), st.booleans())
def test_every_row_is_in_exactly_one_pair(gold: list[Any], output: list[Any], ordered: bool) -> None:
    pairs = align(gold, output, ordered=ordered)
    assert sorted(left for left, _ in pairs if left is not None) == list(range(len(gold)))
    assert sorted(right for _, right in pairs if right is not None) == list(range(len(output)))


@given(st.lists(_cells, max_size=6), st.randoms())
def test_shuffled_rows_all_find_their_equal(gold: list[Any], random: Any) -> None:
    output = list(gold)
    random.shuffle(output)
    for left, right in align(gold, output, ordered=False):
        assert left is not None
        assert right is not None
        assert gold[left] == output[right]


def test_many_rows_take_bounded_time() -> None:
    gold = [{"name": f"item {i}", "qty": i, "amount": i * 2} for i in range(200)]
    start = time.perf_counter()
    assert len(_fields(gold, gold[::-1])) == 600
    many = [{"name": f"item {i}", "qty": i} for i in range(3000)]
    _fields(many, [{"name": "x", "qty": 1}] * 3000)
    assert time.perf_counter() - start < 30
