"""Outputs that are not a JSON object stay in every denominator."""

import pytest

from slmstudio.contract.schema.compiled import compile_schema
from slmstudio.contract.scoring.scorer import Outcome, score_document, summarize
from tests.contract.samples import INVOICE_SCHEMA, SEED_GOLD, SEED_SCHEMA, SEED_TARGET, SEED_TEXT

SEED = compile_schema(SEED_SCHEMA)


@pytest.mark.parametrize(
    ("raw", "finish_reason", "valid_json", "rule", "error"),
    [
        ("I think the vendor is Acme", "stop", False, "json", "format"),
        (f"```json\n{SEED_TARGET}\n```", "stop", False, "json", "format"),
        (SEED_TARGET[:-1] + ',"date":"2026-01-14"}', "stop", False, "json", "format"),
        (SEED_TARGET.replace("1248.50", "NaN"), "stop", False, "json", "format"),
        ("", "stop", False, "json", "format"),
        (None, "stop", False, "error", "no_output"),
        ("", "error", False, "error", "no_output"),
        ("[1]", "stop", True, "type", "format"),
        ("null", "stop", True, "type", "format"),
        (SEED_TARGET, "length", False, "length", "cut_off"),
        (SEED_TARGET[:40], "length", False, "length", "cut_off"),
    ],
)
def test_invalid(raw: str | None, finish_reason: str, valid_json: bool, rule: str, error: str) -> None:
    score = score_document(SEED, text=SEED_TEXT, gold=SEED_GOLD, raw=raw, finish_reason=finish_reason)
    assert score.valid_json is valid_json
    assert not score.schema_valid
    assert not score.exact
    assert not score.required_present
    assert score.problems[0].rule == rule
    assert {(field.outcome, field.error, field.output) for field in score.fields} == {(Outcome.UNSCORABLE, error, None)}
    assert [field.gold for field in score.fields] == list(SEED_GOLD.values())


def test_absent_gold_and_absent_output() -> None:
    gold = {name: value for name, value in SEED_GOLD.items() if name != "vendor"}
    score = score_document(SEED, text=SEED_TEXT, gold=gold, raw="no")
    outcomes = {field.field: field.outcome for field in score.fields}
    assert outcomes.pop("vendor") == Outcome.BOTH_ABSENT
    assert set(outcomes.values()) == {Outcome.UNSCORABLE}


def test_white_space_around_the_object_is_allowed() -> None:
    assert score_document(SEED, text=SEED_TEXT, gold=SEED_GOLD, raw=f"\n {SEED_TARGET}\n").exact


def test_invalid_outputs_stay_in_every_denominator() -> None:
    good = score_document(SEED, text=SEED_TEXT, gold=SEED_GOLD, raw=SEED_TARGET)
    bad = score_document(SEED, text=SEED_TEXT, gold=SEED_GOLD, raw="no")
    figures = summarize([good, bad, bad])
    for name in ("valid_json", "schema_valid", "document_exact", "required_present", "no_extra_keys"):
        assert (figures[name]["k"], figures[name]["n"]) == (1, 3)
    assert (figures["field_exact"]["k"], figures["field_exact"]["n"]) == (4, 12)
    # Whoever writes nonsense for two documents of three is not precise in what is left.
    assert figures["micro"] == {"precision": 4 / 12, "recall": 4 / 12, "f1": 4 / 12}
    assert figures["per_field"]["date"]["outcomes"] == {"correct": 1, "unscorable": 2}


def test_gold_rows_of_invalid_outputs_are_unscorable() -> None:
    gold = {"number": "1", "line_items": [{"name": "x", "amount": 4}, {"name": "y", "amount": 5}], "total": 9}
    score = score_document(compile_schema(INVOICE_SCHEMA), text="", gold=gold, raw="no")
    assert [field.path for field in score.fields if field.field == "line_items[].amount"] == [
        "line_items[0].amount",
        "line_items[1].amount",
    ]


def test_non_json_gold_raises() -> None:
    with pytest.raises(ValueError):
        score_document(SEED, text="", gold={"vendor": float("nan")}, raw="{}")
