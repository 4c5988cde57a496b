"""Documents that are no objects: a list, map or scalar is the only field of an object inside, and bare outside.

``x-slm: {"unwrap": true}`` at the top of a schema says so; the translation of a pasted schema writes it. Forms,
decoding and scoring see the object; callers and imports the value.
"""

import json
from typing import Any


def wrapped_field(schema: dict[str, Any]) -> str:
    """The field that holds the document; "" for schemas whose document is an object."""
    options, properties = schema.get("x-slm", {}), schema.get("properties", {})
    return next(iter(properties)) if options.get("unwrap") is True and len(properties) == 1 else ""


def wrap(schema: dict[str, Any], value: Any) -> Any:
    """The object of a document that came from outside; one that is wrapped already stays."""
    name = wrapped_field(schema)
    return value if not name or (isinstance(value, dict) and value.keys() == {name}) else {name: value}


def bare_text(schema: dict[str, Any], text: str) -> str:
    """The JSON text of the document without the object around it, each character as it was written."""
    name = wrapped_field(schema)
    inner = text.strip()
    key = json.dumps(name, ensure_ascii=False)
    if not name or not inner.startswith("{") or not inner[1:].lstrip().startswith(key):
        return text
    return inner[1:-1].strip().removeprefix(key).lstrip().removeprefix(":").strip()
