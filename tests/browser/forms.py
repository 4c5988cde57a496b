"""Shared projects of the form tests: a schema with every kind of field, with 77 classes, or with a grid."""

from typing import Any

from labeling.models import SchemaVersion
from labeling.projects.services import contract_etag, save_contract
from slmstudio.contract.json_text import dumps
from tests.contract.samples import object_schema
from tests.labeling.form_values import EVERYTHING
from tests.labeling.label_desk import Desk

VERBS = ("activate", "cancel", "change", "dispute", "verify", "refund", "top up")
NOUNS = (
    "my card", "my PIN", "a transfer", "a payment", "my identity", "an exchange", "my phone", "a fee", "cash",
    "my address", "a limit",
)  # fmt: skip
INTENTS = [f"{verb} {noun}" for verb in VERBS for noun in NOUNS]
CLASSES = object_schema(
    {
        "intent": {
            "enum": INTENTS,
            "title": "Intent",
            "enumDescriptions": [f"They want to {intent}." for intent in INTENTS],
        }
    },
    required=["intent"],
)
#: a field that need not be in the document, so that no thousands of warnings stand below the grid
UNSOUGHT: dict[str, Any] = {"x-slm": {"evidence": "none"}}
GRID = object_schema(
    {
        "rows": {
            "type": "array",
            "title": "Rows",
            "items": object_schema(
                {
                    "name": {"type": "string", "maxLength": 40, **UNSOUGHT},
                    "note": {"type": "string", **UNSOUGHT},
                    "count": {"type": "integer", **UNSOUGHT},
                    "price": {"type": "number", **UNSOUGHT},
                    "day": {"type": "string", "format": "date", **UNSOUGHT},
                    "kind": {"enum": ["a", "b", "c"]},
                }
            ),
        },
        "total": {"type": "number"},
    },
    required=["rows"],
)


def use_schema(desk: Desk, schema: dict[str, Any]) -> SchemaVersion:
    """Makes this the project's schema."""
    project = desk.project
    contract = project.contract
    return save_contract(
        project=project,
        user=desk.owner,
        instruction=contract.instruction,
        schema_text=dumps(schema),
        constraints=contract.constraints,
        seen=contract_etag(contract),
    )


__all__ = ["CLASSES", "EVERYTHING", "GRID", "INTENTS", "use_schema"]
