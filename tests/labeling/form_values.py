"""Schemas with everything a form can draw, and values that go into a form."""

from decimal import Decimal
from random import Random
from typing import Any

from labeling.form.codec import ABSENT, from_entry, raw_text, to_entry
from labeling.form.nodes import MORE, FormNode
from slmstudio.contract.json_text import dumps
from tests.contract.samples import object_schema

CARD = object_schema(
    {"by": {"const": "card"}, "number": {"type": "string"}, "note": {"type": "string"}}, required=["by"]
)
BANK = object_schema({"by": {"const": "bank"}, "iban": {"type": "string"}, "note": {"type": "string"}}, required=["by"])

#: one schema with each kind of part
EVERYTHING: dict[str, Any] = object_schema(
    {
        "paid": {"oneOf": [CARD, BANK]},
        "amount": {"anyOf": [{"type": "number"}, {"type": "string", "maxLength": 20}, {"type": "null"}]},
        "tags": {"type": "object", "additionalProperties": {"type": "integer"}},
        "labels": {"type": "object", "patternProperties": {"^l-": {"type": "string"}}, "additionalProperties": False},
        "place": {
            "type": "array",
            "prefixItems": [{"type": "number"}, {"type": "number"}],
            "items": False,
            "minItems": 2,
        },
        "buyer": {
            "type": ["object", "null"],
            "properties": {"name": {"type": "string"}, "kind": {"const": "company"}},
            "required": ["name", "kind"],
            "additionalProperties": {"type": "string"},
        },
        "parts": {"type": "array", "items": {"oneOf": [CARD, BANK]}},
        "grid": {
            "type": "array",
            "items": object_schema(
                {"text": {"type": "string"}, "amount": {"type": "number"}, "ok": {"type": "boolean"}}
            ),
        },
        "tree": {"$ref": "#/$defs/node"},
        "anything": {},
        "open": {"type": "object"},
    },
    **{
        "$defs": {
            "node": object_schema(
                {"name": {"type": "string"}, "inner": {"type": "array", "items": {"$ref": "#/$defs/node"}}}
            )
        }
    },
)

FORMATTED = {
    "time": "08:30:00Z", "date-time": "2026-02-28T08:30:00Z", "duration": "P1DT2H", "email": "ana@example.com",
    "hostname": "example.com", "ipv4": "192.0.2.1", "ipv6": "2001:db8::1", "uri": "https://example.com/a?b=1",
    "uuid": "8c0f5c2e-52f1-4d4a-9a3e-0a1b2c3d4e5f",
}  # fmt: skip


def sorted_text(value: Any) -> str:
    """The exact text of a value, whatever the order of its names."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{dumps(name)}:{sorted_text(value[name])}" for name in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(sorted_text, value)) + "]"
    return dumps(value)


def survives(node: FormNode, value: Any) -> bool:
    """Whether a value opened in a form and saved from it is the same, digit for digit."""
    return sorted_text(from_entry(node, to_entry(node, value)).value) == sorted_text(value)


def raw_parts(node: FormNode, entry: Any) -> list[str]:
    """The patterns of the places, other than JSON ones, at which an entry is kept as JSON."""
    if entry is ABSENT or entry is None:
        return []
    if raw_text(entry) is not None:
        return [] if node.shape == "json" else [node.pattern]
    if node.shape == "variants":
        return raw_parts(node.forms[entry["$form"]], entry["$value"])
    if node.shape in ("map", "list", "table"):
        assert node.item is not None
        pairs = [(node.item, inner) for inner in entry]
    elif node.shape == "tuple":
        pairs = list(zip(node.children, entry, strict=False))
    else:
        pairs = [(child, entry.get(child.key, ABSENT)) for child in node.children]
    return [pattern for child, inner in pairs for pattern in raw_parts(child, inner)]


def sample(node: FormNode, random: Random, depth: int = 0) -> Any:
    """A value that a person could make in this form; ABSENT for nothing."""
    if node.nullable and random.random() < 0.1:
        return None
    match node.shape:
        case "variants":
            return sample(random.choice(node.forms), random, depth)
        case "group":
            return _group(node, random, depth)
        case "map":
            names = random.sample(["a", "b c", "x.y", "ü"], random.randint(0, 2 if depth < 8 else 0))
            if node.names.options:
                names = [option.value for option in node.names.options[: len(names)]]
            return {name: _there(sample(node.values, random, depth + 1)) for name in names}
        case "tuple":
            return [_there(sample(child, random, depth + 1)) for child in node.children]
        case "list" | "table":
            assert node.item is not None
            return [
                _there(sample(node.item, random, depth + 1)) for _ in range(random.randint(0, 2 if depth < 8 else 0))
            ]
        case "checks":
            return [option.value for option in node.options if random.random() < 0.3]
        case "choice":
            return random.choice(node.options).value if node.options else ABSENT
        case "boolean":
            return random.random() < 0.5
        case "number":
            whole = node.field is not None and node.field.type == "integer"
            return random.randint(-5, 10**9) if whole else Decimal(random.randint(-(10**6), 10**6)) / 100
        case "date":
            return f"20{random.randint(10, 40)}-{random.randint(1, 12):02}-{random.randint(1, 28):02}"
        case "json":
            return random.choice([{"a": [1, Decimal("2.50")]}, [], "x", 7, True])
    if node.field is not None and node.field.format in FORMATTED and random.random() < 0.9:
        return FORMATTED[node.field.format]
    several = ["two\nlines"] if node.shape == "lines" else []
    return random.choice(["text", "A-1029", "zwölf Äpfel", "12", "1,248.50", "[1]", *several])


def _there(value: Any) -> Any:
    return "x" if value is ABSENT else value


def _group(node: FormNode, random: Random, depth: int) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for child in node.children:
        if not child.required and (depth > 8 or random.random() < 0.5):
            continue
        value = sample(child, random, depth + 1)
        if child.key == MORE:
            result = {**(value or {}), **result}
        elif value is not ABSENT:
            result[child.key] = value
    return result
