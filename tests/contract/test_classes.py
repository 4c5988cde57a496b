"""Enum fields: confusion matrix, precision and recall per class, decision rate."""

from typing import Any

from slmstudio.contract.schema.compiled import compile_schema, dumps
from slmstudio.contract.scoring.scorer import DocumentScore, class_scores, score_document
from slmstudio.contract.scoring.summary import MAX_CLASSES
from tests.contract.samples import object_schema

SCHEMA = compile_schema(
    object_schema(
        {
            "queue": {"enum": ["a", "b", None]},
            "urgent": {"type": ["boolean", "null"]},
            "topic": {"type": "string", "x-slm": {"kind": "class"}},
            "note": {"type": "string"},
        }
    )
)
SPANS = compile_schema(
    object_schema(
        {
            "spans": {
                "type": "array",
                "items": object_schema({"type": {"enum": ["person", "email"]}, "text": {"type": "string"}}),
            }
        }
    )
)


def _score(gold: dict[str, Any], output: Any, compiled: Any = SCHEMA) -> DocumentScore:
    return score_document(compiled, text="", gold=gold, raw=output if isinstance(output, str) else dumps(output))


def test_every_enum_field_has_a_matrix() -> None:
    scores = [
        _score({"queue": "a", "urgent": True}, {"queue": "b", "urgent": True}),
        _score({"queue": "a", "urgent": False}, {"queue": "a"}),
        _score({"queue": "b"}, {"queue": "b", "urgent": True}),
    ]
    tables = class_scores(SCHEMA, scores)
    assert list(tables) == ["queue", "urgent"]
    assert tables["queue"]["matrix"] == {"a": {"a": 1, "b": 1}, "b": {"b": 1}}
    assert tables["urgent"]["matrix"] == {"": {"true": 1}, "false": {"": 1}, "true": {"true": 1}}
    assert tables["urgent"]["classes"]["true"] == {"precision": 0.5, "recall": 1.0, "f1": 2 / 3, "n": 1}


def test_an_invalid_choice_is_no_decision() -> None:
    gold = {"queue": "a"}
    outputs = [{"queue": "A"}, {"queue": None}, {}, "no", {"queue": "b"}, {"queue": "a"}]
    table = class_scores(SCHEMA, [_score(gold, output) for output in outputs])["queue"]
    assert table["matrix"] == {"a": {"": 4, "a": 1, "b": 1}}
    assert (table["decided"]["k"], table["decided"]["n"], table["right"]["k"]) == (2, 6, 1)
    # The output that is no JSON owes a class: it counts against precision, as an invalid output does everywhere.
    assert table["classes"]["a"] == {"precision": 0.5, "recall": 1 / 6, "f1": 0.25, "n": 6}
    assert table["classes"]["b"]["precision"] == 0.0


def test_absent_on_both_sides_is_not_counted_and_spaces_are_ignored() -> None:
    queue = class_scores(SCHEMA, [_score({"queue": None}, {}), _score({"queue": None}, {"queue": "a"})])["queue"]
    assert queue["matrix"] == {"": {"a": 1}}
    assert (queue["right"]["k"], queue["right"]["n"]) == (0, 1)
    topic = class_scores(SCHEMA, [_score({"topic": "rain"}, {"topic": "rain "})])["topic"]
    assert topic["matrix"] == {"rain": {"rain": 1}}


def test_too_many_classes_have_no_matrix() -> None:
    scores = [_score({"topic": f"t{index}"}, {"topic": f"t{index}"}) for index in range(MAX_CLASSES + 1)]
    assert list(class_scores(SCHEMA, scores[:-1])) == ["topic"]
    assert class_scores(SCHEMA, scores) == {}


def test_classes_of_rows_show_what_was_missed() -> None:
    gold = {"spans": [{"type": "person", "text": "Ada Birch"}, {"type": "email", "text": "ada@birch.example"}]}
    table = class_scores(SPANS, [_score(gold, {"spans": gold["spans"][:1]}, SPANS)])["spans[].type"]
    assert table["matrix"] == {"email": {"": 1}, "person": {"person": 1}}
    assert table["classes"]["email"]["recall"] == 0.0
    assert table["classes"]["email"]["precision"] is None
