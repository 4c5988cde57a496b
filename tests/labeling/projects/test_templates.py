"""The catalog of templates: every one compiles, can be decoded, and holds the examples it promises to hold."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from llguidance import LLMatcher, LLTokenizer

from labeling.demo.templates import FOLDER, ORDER, Template, UnknownTemplate, template, templates
from slmstudio.contract.decoding.grammar import grammar, unsupported
from slmstudio.contract.rules.invariants import check
from slmstudio.contract.schema.compiled import compile_schema, dumps, loads

CONSTRAINTS = {
    "latency_p95_ms",
    "requests_per_second",
    "cost_per_request",
    "hardware_memory_gb",
    "hardware_price_per_hour",
    "expected_volume",
    "review_cost",
    "currency",
}
SEED_GOLD = {
    "invoice_id": "A-1029",
    "date": "2026-01-14",
    "vendor": "Acme Supplies",
    "total_amount": Decimal("1248.50"),
}
EXAMPLES: dict[str, dict[str, Any]] = {
    "blank": {"field": "A-1029"},
    "invoice": SEED_GOLD,
    "invoice-with-lines": {
        "invoice_id": "A-1029",
        "date": "2026-01-14",
        "vendor": "Acme Supplies",
        "currency": "USD",
        "payment_terms": "Net 30",
        "line_items": [
            {"description": "Widget", "quantity": 2, "unit_price": Decimal("10.00"), "amount": Decimal("20.00")},
            {"description": "Delivery", "amount": Decimal("5.50")},
        ],
        "subtotal": Decimal("25.50"),
        "tax": Decimal("0.00"),
        "total_amount": Decimal("25.50"),
    },
    "receipt": {"company": "ABC HO TRADING", "date": "09/01/2019", "address": None, "total": "31.00"},
    "ticket-routing": {"queue": "billing", "reason": "charged twice"},
    "policy-check": {"decision": "not_allowed", "rule": "spam", "quote": "Buy now!"},
    "pii-redaction": {"spans": [{"type": "person", "text": "Ana Ruiz"}, {"type": "email", "text": "ana@example.org"}]},
    "address": {
        "street": "Rue de la Paix",
        "house_number": "12 bis",
        "postal_code": "75002",
        "city": "Paris",
        "country": "FR",
    },
}

every_template = pytest.mark.parametrize("made", templates(), ids=lambda made: made.slug)


def decodes(schema: dict[str, Any], text: str) -> bool:
    """Whether constrained decoding can generate exactly this text."""
    tokenizer = LLTokenizer("byte")
    matcher = LLMatcher(tokenizer, grammar(schema))
    tokens = tokenizer.tokenize_str(text)
    return matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting()


@every_template
def test_a_template_is_complete(made: Template) -> None:
    assert made.title
    assert made.description.endswith(".")
    assert made.instruction.endswith(".")
    assert set(made.constraints) <= CONSTRAINTS


@every_template
def test_template_schema_compiles_with_descriptions(made: Template) -> None:
    compiled = compile_schema(made.schema)

    assert compiled.fields
    for field in compiled.fields:
        assert field.title, field.pattern
        assert field.kind, field.pattern


@every_template
def test_template_schema_can_be_decoded(made: Template) -> None:
    assert unsupported(made.schema) == []


@every_template
def test_its_example_is_valid_and_can_be_decoded(made: Template) -> None:
    compiled = compile_schema(made.schema)
    text = compiled.canonical(EXAMPLES[made.slug])

    assert compiled.validate(loads(text)) == []
    assert decodes(made.schema, text)
    assert not decodes(made.schema, text[:-1] + ',"extra":1}')


@every_template
def test_nothing_extra_is_valid(made: Template) -> None:
    problems = compile_schema(made.schema).validate({**EXAMPLES[made.slug], "extra": "x"})

    assert problems


def test_all_template_files_are_listed() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.json")) == sorted(ORDER)
    assert [made.slug for made in templates()] == list(ORDER)


def test_unknown_template_is_refused() -> None:
    with pytest.raises(UnknownTemplate, match=r"no template 'invoise'\. The templates are blank, invoice, "):
        template("invoise")


def test_invoice_fields_are_required_and_nullable() -> None:
    compiled = compile_schema(template("invoice").schema)
    nothing = {"invoice_id": None, "date": None, "vendor": None, "total_amount": None}

    assert compiled.validate(nothing) == []
    for name in nothing:
        assert compiled.validate({key: value for key, value in nothing.items() if key != name})


@pytest.mark.parametrize(
    ("name", "value"),
    [("date", "14.01.2026"), ("total_amount", "1248.50"), ("total_amount", Decimal("12.345")), ("invoice_id", "")],
)
def test_invoice_rejects_invalid_values(name: str, value: Any) -> None:
    problems = compile_schema(template("invoice").schema).validate({**SEED_GOLD, name: value})

    assert [problem.path for problem in problems] == [name]


def test_a_receipt_holds_strings_as_printed() -> None:
    compiled = compile_schema(template("receipt").schema)

    assert [field.pattern for field in compiled.fields] == ["company", "date", "address", "total"]
    assert {field.kind for field in compiled.fields} == {"exact"}
    assert all(field.required and field.nullable for field in compiled.fields)
    assert compiled.schema["properties"]["company"]["maxLength"] == 120
    assert compiled.schema["properties"]["date"]["maxLength"] == 40
    assert compiled.schema["properties"]["address"]["maxLength"] == 250
    assert compiled.schema["properties"]["total"]["maxLength"] == 30


def test_every_receipt_of_the_public_set_fits(shared: Path) -> None:
    compiled = compile_schema(template("receipt").schema)
    with (shared / "data" / "sroie" / "receipts.jsonl").open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]

    absent = {field.pattern: None for field in compiled.fields}  # one receipt has no address at all
    wrong = {row["id"]: compiled.validate({**absent, **row["gold"]}) for row in rows}
    assert {key: problems for key, problems in wrong.items() if problems} == {}


def test_the_lines_of_an_invoice_must_add_up() -> None:
    schema, example = template("invoice-with-lines").schema, EXAMPLES["invoice-with-lines"]

    assert check(schema, example) == []
    assert check(schema, {**example, "total_amount": Decimal("26.50")})
    assert check(schema, {**example, "subtotal": Decimal("20.00"), "tax": Decimal("5.50")})
    assert check(schema, {**example, "due_date": "2025-12-31"})


def test_a_schema_goes_through_text_unchanged() -> None:
    for made in templates():
        assert compile_schema(loads(dumps(made.schema))).hash == compile_schema(made.schema).hash
