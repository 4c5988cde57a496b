"""The catalog of templates: every one compiles, can be decoded, and holds the examples it promises to hold."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from llguidance import LLMatcher, LLTokenizer

from labeling.demo.templates import FOLDER, ORDER, UnknownTemplate, template, templates
from slmstudio.contract.decoding.grammar import grammar, unsupported
from slmstudio.contract.rules.invariants import check
from slmstudio.contract.schema.compiled import compile_schema, dumps, loads

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


def decodes(schema: dict[str, Any], text: str) -> bool:
    """Whether constrained decoding can generate exactly this text."""
    tokenizer = LLTokenizer("byte")
    matcher = LLMatcher(tokenizer, grammar(schema))
    tokens = tokenizer.tokenize_str(text)
    return matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting()


def test_example_of_each_template_is_valid_and_can_be_decoded() -> None:
    for made in templates():
        compiled = compile_schema(made.schema)
        assert all(field.title and field.kind for field in compiled.fields), made.slug
        assert unsupported(made.schema) == []
        text = compiled.canonical(EXAMPLES[made.slug])
        assert compiled.validate(loads(text)) == []
        assert decodes(made.schema, text), made.slug
        assert compiled.validate({**EXAMPLES[made.slug], "extra": "x"}), made.slug
        assert not decodes(made.schema, text[:-1] + ',"extra":1}')
        assert compile_schema(loads(dumps(made.schema))).hash == compiled.hash, "text does not change a schema"


def test_all_template_files_are_listed() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.json")) == sorted(ORDER)
    assert [made.slug for made in templates()] == list(ORDER)
    with pytest.raises(UnknownTemplate, match=r"no template 'invoise'\. The templates are blank, invoice, "):
        template("invoise")


def test_invoice_fields_are_required_and_nullable() -> None:
    compiled = compile_schema(template("invoice").schema)
    nothing = {"invoice_id": None, "date": None, "vendor": None, "total_amount": None}

    assert compiled.validate(nothing) == []
    for name in nothing:
        assert compiled.validate({key: value for key, value in nothing.items() if key != name})


def test_invoice_rejects_invalid_values() -> None:
    compiled = compile_schema(template("invoice").schema)
    for name, value in (("date", "14.01.2026"), ("total_amount", "1248.50"), ("total_amount", Decimal("12.345")),
                        ("invoice_id", "")):  # fmt: skip
        assert [problem.path for problem in compiled.validate({**SEED_GOLD, name: value})] == [name]


def test_a_receipt_holds_strings_as_printed() -> None:
    compiled = compile_schema(template("receipt").schema)
    assert {field.kind for field in compiled.fields} == {"exact"}
    assert all(field.required and field.nullable for field in compiled.fields)
    lengths = {name: part["maxLength"] for name, part in compiled.schema["properties"].items()}
    assert lengths == {"company": 120, "date": 40, "address": 250, "total": 30}


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
