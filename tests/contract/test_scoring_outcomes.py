"""Outcome and error type of a field."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings

from slmstudio.contract.schema.compiled import compile_schema, dumps, loads
from slmstudio.contract.scoring.scorer import (
    ERROR_LABELS,
    EXTRA_KEYS,
    DocumentScore,
    FieldOutcome,
    FreeText,
    Outcome,
    count_differences,
    score_document,
    summarize,
)
from tests.contract.samples import (
    INVOICE_SCHEMA,
    SEED_GOLD,
    SEED_SCHEMA,
    SEED_TARGET,
    SEED_TEXT,
    anything,
    object_schema,
    schemas_with_two_values,
)

SEED = compile_schema(SEED_SCHEMA)


def _score(**changes: Any) -> DocumentScore:
    output = {name: value for name, value in {**SEED_GOLD, **changes}.items() if value is not ...}
    return score_document(SEED, text=SEED_TEXT, gold=SEED_GOLD, raw=dumps(output))


def _field(score: DocumentScore, path: str) -> FieldOutcome:
    (outcome,) = [field for field in score.fields if field.path == path]
    return outcome


def test_the_seed_example_is_right() -> None:
    score = score_document(SEED, text=SEED_TEXT, gold=SEED_GOLD, raw=SEED_TARGET)
    assert score.exact
    assert score.valid_json
    assert score.schema_valid
    assert score.required_present
    assert score.no_extra_keys
    assert score.invariants_hold is None
    assert [field.outcome for field in score.fields] == [Outcome.CORRECT] * 4


@pytest.mark.parametrize(
    ("name", "output", "outcome", "error"),
    [
        ("invoice_id", "A-1030", Outcome.HALLUCINATED, "hallucinated"),
        ("invoice_id", "a-1029", Outcome.WRONG, "normalisation"),
        ("invoice_id", "A-10", Outcome.HALLUCINATED, "truncated"),
        ("vendor", "Acme", Outcome.WRONG, "truncated"),
        ("vendor", "Net 30", Outcome.WRONG, "wrong_value"),
        ("vendor", "A-1029", Outcome.WRONG, "wrong_span"),
        ("vendor", "ACME SUPPLIES", Outcome.WRONG, "normalisation"),
        ("vendor", 5, Outcome.HALLUCINATED, "format"),
        ("vendor", {}, Outcome.WRONG, "format"),
        ("date", "Jan 14, 2026", Outcome.WRONG, "format"),
        ("date", "9999-99-99", Outcome.HALLUCINATED, "format"),
        ("date", "2026-01-15", Outcome.WRONG, "near_miss"),
        ("date", "2026-02-25", Outcome.HALLUCINATED, "hallucinated"),
        ("invoice_id", "B-1029", Outcome.WRONG, "near_miss"),
        ("invoice_id", "A-10299", Outcome.WRONG, "near_miss"),
        ("invoice_id", "A-1092", Outcome.WRONG, "near_miss"),
        ("vendor", "Acne Supplies", Outcome.WRONG, "near_miss"),
        ("vendor", "Apex Supplies", Outcome.HALLUCINATED, "hallucinated"),
        ("total_amount", Decimal("1248.5"), Outcome.CORRECT, ""),
        ("total_amount", Decimal("1248.51"), Outcome.WRONG, "near_miss"),
        ("total_amount", Decimal("1348.5"), Outcome.WRONG, "near_miss"),
        ("total_amount", Decimal("1351.5"), Outcome.HALLUCINATED, "hallucinated"),
        ("total_amount", 30, Outcome.WRONG, "wrong_value"),
        ("total_amount", 124850, Outcome.HALLUCINATED, "normalisation"),
        ("total_amount", "1248.50", Outcome.WRONG, "format"),
        ("total_amount", "777.77", Outcome.HALLUCINATED, "format"),
        ("total_amount", Decimal("1248.505"), Outcome.WRONG, "format"),
        ("vendor", None, Outcome.MISSING, "missing"),
        ("vendor", ..., Outcome.MISSING, "missing"),
    ],
)
def test_outcomes(name: str, output: Any, outcome: Outcome, error: str) -> None:
    score = _score(**{name: output})
    field = _field(score, name)
    assert (field.outcome, field.error) == (outcome, error)
    assert field.gold == SEED_GOLD[name]
    assert field.output == (None if output is ... else output)
    assert score.exact == (outcome == Outcome.CORRECT)
    assert error in ("", *ERROR_LABELS)


@pytest.mark.parametrize(
    ("output", "gold", "error"),
    [
        ("KL", "KLIA", "truncated"),  # half of it
        ("KL", "KLIAX", "wrong_value"),
        ("KLI", "KLIA 2, SEPANG", "truncated"),  # three letters
        ("K", "KL", "truncated"),
        ("", "KL", "wrong_value"),
        ("LIA", "KLIA", "wrong_value"),  # an end is no beginning
    ],
)
def test_prefixes(output: str, gold: str, error: str) -> None:
    compiled = compile_schema(object_schema({"a": {"type": "string", "x-slm": {"evidence": "none"}}}))
    score = score_document(compiled, text="nothing", gold={"a": gold}, raw=dumps({"a": output}))
    assert score.fields[0].error == error


def test_day_and_month_swapped() -> None:
    compiled = compile_schema(object_schema({"a": {"type": "string", "format": "date"}}))
    score = score_document(compiled, text="02/01/2026", gold={"a": "2026-01-02"}, raw='{"a":"2026-02-01"}')
    assert (score.fields[0].outcome, score.fields[0].error) == (Outcome.WRONG, "normalisation")


def test_gold_that_is_not_in_the_document() -> None:
    text = SEED_TEXT.replace("Acme Supplies", "Acrne Suppiies")
    score = score_document(SEED, text=text, gold=SEED_GOLD, raw=dumps({**SEED_GOLD, "vendor": "Acrne"}))
    assert (_field(score, "vendor").outcome, _field(score, "vendor").error) == (Outcome.WRONG, "ocr_damaged")


OPTIONAL = compile_schema(
    object_schema(
        {
            "name": {"type": ["string", "null"]},
            "kind": {"enum": ["a", "b", None]},
            "sure": {"type": ["boolean", "null"]},
        }
    )
)


@pytest.mark.parametrize(
    ("output", "outcome", "error"),
    [
        ({"name": "Bob"}, Outcome.EXTRA, "extra"),
        ({"name": "Eve"}, Outcome.HALLUCINATED, "hallucinated"),
        ({"kind": "a"}, Outcome.EXTRA, "extra"),
        ({"kind": "c"}, Outcome.EXTRA, "format"),
        ({"sure": False}, Outcome.EXTRA, "extra"),
    ],
)
def test_output_where_gold_is_absent(output: dict[str, Any], outcome: Outcome, error: str) -> None:
    score = score_document(OPTIONAL, text="by Bob", gold={"name": None}, raw=dumps(output))
    (name,) = output
    assert (_field(score, name).outcome, _field(score, name).error) == (outcome, error)
    others = {field.outcome for field in score.fields if field.path != name}
    assert others == {Outcome.BOTH_ABSENT}


def test_missing_and_null_are_the_same_absence() -> None:
    assert score_document(OPTIONAL, text="", gold={"name": None}, raw='{"kind":null}').exact
    assert score_document(OPTIONAL, text="", gold={}, raw='{"name":null}').exact
    choice = score_document(OPTIONAL, text="", gold={"kind": "a"}, raw='{"kind":"b"}')
    assert (_field(choice, "kind").outcome, _field(choice, "kind").error) == (Outcome.WRONG, "wrong_value")


def test_allowed_extra_names_are_reported() -> None:
    score = score_document(OPTIONAL, text="", gold={}, raw='{"more":1}')
    assert score.schema_valid
    assert not score.no_extra_keys
    assert not score.exact
    [extra] = [field for field in score.fields if field.error == "extra_key"]
    assert (extra.path, extra.field, extra.outcome, extra.output) == ("more", EXTRA_KEYS, Outcome.EXTRA, 1)


def test_extra_names_count_at_any_depth() -> None:
    row = {"type": "object", "properties": {"name": {"type": "string"}}}
    compiled = compile_schema(object_schema({"rows": {"type": "array", "items": row}}))
    gold = {"rows": [{"name": "x"}, {"name": "y"}]}
    raw = dumps({"rows": [{"name": "x", "a": 1}, {"name": "y", "b": None}], "c": "x"})
    score = score_document(compiled, text="x y", gold=gold, raw=raw)
    extra = [field.path for field in score.fields if field.error == "extra_key"]
    assert sorted(extra) == ["c", "rows[0].a", "rows[1].b"]
    figures = summarize([score])
    assert (figures["field_exact"]["k"], figures["field_exact"]["n"]) == (2, 5)
    assert figures["micro"]["precision"] == pytest.approx(2 / 5)
    assert (figures["macro"]["precision"], figures["micro"]["recall"]) == (1.0, 1.0)
    assert figures["errors"] == {"extra_key": 3}
    assert list(figures["per_field"]) == ["rows[].name"]


@pytest.mark.parametrize(
    ("currency", "gold", "output", "same"),
    [
        ("", "EUR 100.00", "USD 100.00", False),
        ("", "€100.00", "$100.00", False),
        ("", "EUR 100.00", "100 EUR", True),
        ("", "100.00", "USD 100.00", True),
        ("", "$100.00 USD", "$100.00 CAD", False),
        ("", "USD$100", "CAD$100", False),
        ("", "USD$100", "$100.00 USD", True),
        ("", "CAD$100", "$100", True),
        ("COP", "100.00", "$100.00", True),
        ("COP", "$100.00", "USD 100.00", False),
        ("EGP", "100.00", "£100.00", True),
        ("USD", "$100", "CAD 100", False),
        ("EUR", "100", "$100", False),
    ],
)
def test_currency_precedence(currency: str, gold: str, output: str, same: bool) -> None:
    options = {"kind": "money", **({"currency": currency} if currency else {})}
    compiled = compile_schema(object_schema({"total": {"type": "string", "x-slm": options}}))
    score = score_document(compiled, text=f"Total {gold}", gold={"total": gold}, raw=dumps({"total": output}))
    assert (score.exact, score.fields[0].error) == (same, "" if same else "currency")


def test_top_level_currency() -> None:
    schema = object_schema({"total": {"type": "string", "x-slm": {"kind": "money"}}})
    compiled = compile_schema({**schema, "x-slm": {"currency": "EUR"}})
    for output, right in (("100", True), ("EUR 100", True), ("USD 100", False)):
        score = score_document(compiled, text="100", gold={"total": "100"}, raw=dumps({"total": output}))
        assert score.exact == right


def test_a_near_miss_needs_a_value_in_the_document() -> None:
    compiled = compile_schema(object_schema({"name": {"type": "string"}}))

    def judged(text: str, gold: str, output: str) -> tuple[str, str]:
        field = score_document(compiled, text=text, gold={"name": gold}, raw=dumps({"name": output})).fields[0]
        return field.outcome.value, field.error

    assert judged("by Robert", "Robert", "Rovert") == ("wrong", "near_miss")
    assert judged("by Susan", "Robert", "Rovert") == ("hallucinated", "ocr_damaged")
    assert judged("Robert for Marianne", "Robert", "Mariane") == ("wrong", "near_miss")
    assert judged("in indigo, Robert", "Robert", "inidgo") == ("wrong", "near_miss")
    assert judged("Bo for Ann", "Bo", "Ana") == ("hallucinated", "hallucinated")
    assert judged("ab", "ab", "ac") == ("hallucinated", "hallucinated")


DATES = compile_schema(
    object_schema({name: {"type": ["string", "null"], "format": "date"} for name in ("date", "due", "paid")})
)


@pytest.mark.parametrize(
    ("gold", "output", "outcome"),
    [
        ("2026-01-14", "2026-01-15", Outcome.WRONG),  # one digit off its own gold
        ("2026-01-14", "2026-02-13", Outcome.HALLUCINATED),  # off the other date of the document alone
        ("2026-01-14", "2026-03-14", Outcome.HALLUCINATED),  # off its own, but gold of another field
        (None, "2026-01-15", Outcome.HALLUCINATED),
        (None, "2026-02-14", Outcome.EXTRA),
    ],
)
def test_a_date_is_a_near_miss_only_of_its_own_gold(gold: str | None, output: str, outcome: Outcome) -> None:
    whole = {"date": gold, "due": "2026-02-14", "paid": "2026-03-14"}
    text = "On 2026-01-14, due 2026-02-14"
    score = score_document(DATES, text=text, gold=whole, raw=dumps({**whole, "date": output}))
    assert _field(score, "date").outcome == outcome


def test_null_in_an_open_schema_is_absent() -> None:
    schema = {**object_schema({"a": {"type": "string"}}), "additionalProperties": {"type": ["string", "null"]}}
    absent: list[dict[str, Any]] = [{"a": "x"}, {"a": "x", "b": None}]
    for gold in absent:
        for output in absent:
            score = score_document(compile_schema(schema), text="x", gold=gold, raw=dumps(output))
            assert (score.exact, score.no_extra_keys, len(score.fields)) == (True, True, 1)


def test_missing_required_names_and_broken_invariants() -> None:
    compiled = compile_schema(INVOICE_SCHEMA)
    gold = {"number": "1", "line_items": [{"name": "x", "amount": 4}], "total": 4}
    score = score_document(compiled, text="", gold=gold, raw='{"line_items":[{"name":"x","amount":4}],"total":5}')
    assert not score.required_present
    assert score.invariants_hold is False
    assert [problem.rule for problem in score.problems] == ["required", "invariant"]
    assert score_document(compiled, text="", gold=gold, raw=dumps(gold)).invariants_hold is True


@given(schemas_with_two_values(), anything)
@settings(deadline=None, max_examples=40)
def test_any_output_gets_a_score_that_survives_storage(run: tuple[dict[str, Any], Any, Any], value: Any) -> None:
    schema, gold, _ = run
    compiled = compile_schema(schema)
    raw = str(value)
    for output in (raw, dumps(dict.fromkeys(gold, raw))) if raw.isprintable() else (raw,):
        score = score_document(compiled, text=raw, gold=gold, raw=output)
        assert DocumentScore.from_dict(loads(dumps(score.as_dict()))) == score


# -- free text is stored with the score and does not affect it --


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
