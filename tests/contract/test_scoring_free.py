"""Free text is stored with the score and does not affect it."""

import pytest

from slmstudio.contract.schema.compiled import compile_schema, dumps, loads
from slmstudio.contract.scoring.scorer import DocumentScore, FreeText, count_differences, score_document, summarize
from tests.contract.samples import object_schema

REASON = {"type": ["string", "null"], "x-slm": {"kind": "free"}}
ROUTING = compile_schema(object_schema({"queue": {"enum": ["a", "b"]}, "reason": REASON}, required=["queue"]))
GOLD = {"queue": "a", "reason": "It is about a bill."}


def test_different_texts_are_wrong() -> None:
    score = score_document(ROUTING, text="", gold=GOLD, raw='{"queue":"a","reason":"It is about money."}')
    assert score.exact
    assert [field.field for field in score.fields] == ["queue"]
    assert score.free == (FreeText("reason", "reason", "It is about a bill.", "It is about money."),)
    assert score_document(ROUTING, text="", gold={"queue": "a"}, raw='{"queue":"a"}').free == ()


def test_it_is_stored_with_the_score() -> None:
    for raw in (dumps(GOLD), "no", '{"queue":"b"}'):
        score = score_document(ROUTING, text="", gold=GOLD, raw=raw)
        assert len(score.free) == 1
        assert DocumentScore.from_dict(loads(dumps(score.as_dict()))) == score
    old = {name: value for name, value in score.as_dict().items() if name != "free"}
    assert DocumentScore.from_dict(old).free == ()


def test_free_text_similarity_is_separate() -> None:
    raws = ['{"queue":"a","reason":"It is about a bill!"}', '{"queue":"a"}', "no"]
    figures = summarize([score_document(ROUTING, text="", gold=GOLD, raw=raw) for raw in raws])
    assert list(figures["per_field"]) == ["queue"]
    assert figures["free"] == {"reason": {"n": 3, "anls": pytest.approx((18 / 19) / 3)}}
    assert (figures["field_exact"]["k"], figures["field_exact"]["n"]) == (2, 3)


def test_different_values_are_not_near_misses() -> None:
    assert count_differences(ROUTING, GOLD, {**GOLD, "reason": "Money"}) == (1, 2)
