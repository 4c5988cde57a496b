"""Intervals of rates where documents come in families."""

import pytest

from slmstudio import intervals
from slmstudio.contract.schema.compiled import compile_schema
from slmstudio.contract.scoring.scorer import clustered, score_document, summarize, wilson, with_families

SCHEMA = compile_schema({"type": "object", "properties": {"name": {"type": "string"}, "total": {"type": "number"}}})


def test_a_rate_of_single_documents_is_that_of_wilson() -> None:
    assert clustered((key, int(key > 2), 1) for key in range(20)) == wilson(17, 20)
    assert clustered([]) == wilson(0, 0)


def test_families_that_agree_with_themselves_count_once() -> None:
    rate = clustered((key // 5, int(key // 5 > 2), 1) for key in range(100))
    assert (rate["k"], rate["n"]) == (85, 100)
    assert rate["effective"] == pytest.approx(19 * (1.96 / 2.093) ** 2, rel=1e-2)
    assert rate["low"] < wilson(17, 20)["low"]
    differing = clustered((key // 5, int(key % 5 > 0), 1) for key in range(100))
    assert differing["effective"] == 100, "families that differ within count as documents"


def test_a_large_family_weighs_more_than_its_number() -> None:
    even = intervals.effective_number([(5.0, 5.0)] * 12)
    uneven = intervals.effective_number([(49.0, 49.0)] + [(1.0, 1.0)] * 11)
    assert 9 < even <= 12
    assert uneven < 2
    assert intervals.effective_number([(3.0, 5.0)]) == 1.0


def test_every_rate_of_a_summary_is_over_families() -> None:
    raws = ['{"name": "a", "total": 1}'] * 15 + ['{"name": "b"}'] * 5
    scores = [score_document(SCHEMA, text="a 1", gold={"name": "a", "total": 1}, raw=raw) for raw in raws]
    plain = summarize(scores)
    single, families = (with_families(plain, scores, of) for of in (range(20), [key // 5 for key in range(20)]))
    assert {name: value for name, value in single.items() if value != plain[name]} == {}
    for name in ("document_exact", "field_exact", "schema_valid"):
        assert (families[name]["k"], families[name]["n"]) == (plain[name]["k"], plain[name]["n"])
        assert families[name]["low"] < plain[name]["low"]
    assert families["per_field"]["total"]["low"] < plain["per_field"]["total"]["low"]
    assert families["per_field"]["total"]["outcomes"] == plain["per_field"]["total"]["outcomes"]
