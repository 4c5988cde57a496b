"""What is compared of a document."""

import pytest

from serving.drift.profiles import language, profile
from slmstudio.contract.schema.compiled import compile_schema

SCHEMA = compile_schema(
    {
        "type": "object",
        "properties": {
            "number": {"type": "string"},
            "date": {"type": ["string", "null"], "format": "date"},
            "currency": {"enum": ["EUR", "USD"]},
            "total": {"type": ["number", "null"]},
            "paid": {"type": "boolean"},
            "lines": {"type": "array", "items": {"type": "object", "properties": {"text": {"type": "string"}}}},
            "seller": {"type": "object", "properties": {"name": {"type": "string"}}},
        },
    }
)
RAW = (
    '{"number":"A-17","date":"2026-01-02","currency":"EUR","total":12.5,"paid":true,"lines":[{"text":"a"}],'
    '"seller":{"name":"Bradley"}}'
)


@pytest.mark.parametrize(("text", "code"), [
    ("Please find attached the invoice for the goods that were delivered in March.", "en"),
    ("Bitte überweisen Sie den Rechnungsbetrag innerhalb von vierzehn Tagen auf unser Konto.", "de"),
    ("Veuillez trouver ci-joint la facture correspondant à votre commande du mois dernier.", "fr"),
    ("A-17", "?"),
])  # fmt: skip
def test_languages(text: str, code: str) -> None:
    assert language(text) == code


def test_fields_become_metrics_by_their_kind() -> None:
    found = profile(SCHEMA, text="x" * 50, raw=RAW, confidence={"total": 0.9, "lines[0].text": 0.4}).values
    assert found["length"] == 50.0
    assert (found["characters number"], found["value currency"], found["value total"]) == (4.0, "EUR", 12.5)
    assert (found["rows lines"], found["null total"], found["characters seller.name"]) == (1.0, False, 7.0)
    assert found["confidence total"] == 0.9
    # Dates move on by themselves.
    assert "value date" not in found
    assert found["null date"] is False
    assert not any("lines[" in name for name in found)


def test_a_missing_field_is_null() -> None:
    found = profile(SCHEMA, raw='{"total":null}').values
    assert (found["null total"], found["null seller.name"], found["rows lines"]) == (True, True, 0.0)
    assert "value total" not in found


def test_an_output_that_is_no_object_has_no_fields() -> None:
    assert profile(SCHEMA, raw="[1").values == {}
