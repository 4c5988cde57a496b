"""Schemas as Pydantic and zod write them: whatever their own libraries take as valid means the same everywhere."""

from datetime import UTC, date, datetime, time, timedelta
from enum import Enum
from ipaddress import IPv4Address, IPv6Address
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from pydantic import BaseModel, ConfigDict, Field, RootModel

from slmstudio.contract.schema.compiled import compile_schema, dumps, loads
from tests.contract.samples import object_schema
from tests.contract.test_one_meaning import check_meaning, turned


class Currency(Enum):
    """A choice, which Pydantic writes as a definition."""

    EUR = "EUR"
    USD = "USD"


class Card(BaseModel):
    """One form of a payment."""

    number: str
    by: Literal["card"]
    paid_at: datetime | None = None


class Bank(BaseModel):
    """Another, with its fields in another order."""

    by: Literal["bank"]
    paid_at: datetime | None = None
    iban: str = Field(pattern="^[A-Z]{2}[0-9]+$")


class Line(BaseModel):
    """A row."""

    model_config = ConfigDict(extra="forbid")
    what: str
    amount: float = Field(ge=0, lt=10_000)
    tags: set[str] = set()


class Part(BaseModel):
    """A part that holds parts."""

    name: str
    parts: list["Part"] = []
    whole: "Part | None" = None


class Invoice(BaseModel):
    """All of it."""

    number: Annotated[str, Field(min_length=1, max_length=20)]
    issued: date
    due: date | None = None
    printed: time | None = None
    took: timedelta | None = None
    currency: Currency | None = None
    payment: Annotated[Card | Bank, Field(discriminator="by")]
    refund: Card | Bank | None = None
    lines: list[Line] = []
    rates: dict[str, float] = {}
    by_day: dict[date, Line] = {}
    box: tuple[int, int, str] | None = None
    key: UUID | None = None
    host: IPv4Address | IPv6Address | None = None
    either: int | str | bool | None = None
    anything: Any = None
    part: Part | None = None


class Loose(BaseModel):
    """Other names are allowed."""

    model_config = ConfigDict(extra="allow")
    name: str


class Counts(BaseModel):
    """A mapping as a value."""

    counts: RootModel[dict[str, int]]


INVOICE: dict[str, Any] = {"number": "A-1", "issued": "2026-01-14", "payment": {"by": "bank", "iban": "DE1"}}
MODELS: list[tuple[type[BaseModel], dict[str, Any]]] = [
    (Invoice, INVOICE),
    (
        Invoice,
        {
            **INVOICE,
            "due": date(2026, 2, 28),
            "printed": time(8, 30, 0, 250),
            "took": timedelta(seconds=1.5),
            "currency": "EUR",
            "payment": {"by": "card", "number": "4711", "paid_at": datetime(2026, 1, 14, 8, 30)},
            "refund": {"by": "bank", "iban": "DE2", "paid_at": datetime(2026, 1, 14, 8, 30, tzinfo=UTC)},
            "lines": [{"amount": 12.5, "what": "tea", "tags": ["b", "a"]}, {"what": "", "amount": 0}],
            "rates": {"m 1": 0.19, "": 1e-7},
            "by_day": {"2026-01-14": {"what": "x", "amount": 9999.99}},
            "box": (1, 2, "z"),
            "key": "123e4567-e89b-12d3-a456-426614174000",
            "host": "::ffff:192.0.2.1",
            "either": True,
            "anything": {"b": [1, None], "a": "x"},
            "part": {"name": "a", "parts": [{"name": "b", "whole": {"name": "c"}}]},
        },
    ),
    (Part, {"name": "a", "parts": [{"name": "b", "parts": [{"name": "c"}]}], "whole": {"name": "d"}}),
    (Loose, {"name": "x", "more": 1, "other": {"a": [1]}}),
    (Counts, {"counts": {"a": 1, "b": 2}}),
]


@pytest.mark.parametrize("mode", ["validation", "serialization"])
@pytest.mark.parametrize(("model", "values"), MODELS)
def test_pydantic_output_is_valid(model: type[BaseModel], values: dict[str, Any], mode: Any) -> None:
    compiled = compile_schema(model.model_json_schema(mode=mode))
    for exclude in (False, True):
        gold = loads(model.model_validate(values).model_dump_json(exclude_none=exclude))
        if mode == "serialization" and exclude and compiled.validate(gold):
            continue  # there fields with a default are required, null or not
        assert compiled.validate(gold) == []
        check_meaning(compiled, gold)
        assert model.model_validate_json(compiled.canonical(gold)) == model.model_validate_json(dumps(gold))


TEXT = {"type": "string"}
DRAFT = "https://json-schema.org/draft/2020-12/schema"
SHOP = object_schema({"kind": {"type": "string", "const": "shop"}, "name": {"type": "string"}},
                     required=["kind", "name"], additionalProperties=False)  # fmt: skip
PERSON = object_schema({"name": {"type": "string", "minLength": 1}, "kind": {"type": "string", "const": "person"}},
                       required=["name", "kind"], additionalProperties=False)  # fmt: skip
ZOD: list[tuple[dict[str, Any], Any]] = [
    # z.object with z.discriminatedUnion, z.record, z.tuple, z.nullable, z.enum, z.int, z.looseObject
    (
        {
            "$schema": DRAFT,
            **object_schema(
                {
                    "who": {"oneOf": [SHOP, PERSON]},
                    "rates": {
                        "type": "object",
                        "propertyNames": {"type": "string"},
                        "additionalProperties": {"type": "number"},
                    },
                    "by": {
                        "type": "object",
                        "propertyNames": {"type": "string", "enum": ["de", "en"]},
                        "additionalProperties": {"type": "string"},
                    },
                    "point": {"type": "array", "prefixItems": [{"type": "number"}, {"type": "string"}]},
                    "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
                    "count": {"type": "integer", "minimum": -9007199254740991, "maximum": 9007199254740991},
                    "loose": object_schema({"a": {"type": "boolean"}}, required=["a"], additionalProperties={}),
                    "both": {"allOf": [object_schema({"a": TEXT}), object_schema({"b": TEXT})]},
                },
                required=["who", "note"],
                additionalProperties=False,
            ),
        },
        {
            "who": {"kind": "person", "name": "Ada"},
            "rates": {"x": 1.5},
            "by": {"en": "a", "de": "b"},
            "point": [1, "x"],
            "note": None,
            "count": 7,
            "loose": {"z": [1], "a": True, "y": None},
            "both": {"b": "2", "a": "1"},
        },
    ),
    # z.object with a getter that returns itself: the root is referred to
    (
        {
            "$schema": DRAFT,
            **object_schema(
                {"name": {"type": "string"}, "parts": {"type": "array", "items": {"$ref": "#"}}},
                required=["name", "parts"],
                additionalProperties=False,
            ),
        },
        {"parts": [{"parts": [], "name": "b"}], "name": "a"},
    ),
    # the older zod-to-json-schema: draft 7, a reference into properties for what comes twice
    (
        {
            "$schema": "http://json-schema.org/draft-07/schema#",
            **object_schema(
                {
                    "from": object_schema({"city": {"type": "string"}, "zip": {"type": ["string", "null"]}},
                                          required=["city", "zip"], additionalProperties=False),
                    "to": {"$ref": "#/properties/from"},
                    "codes": {"type": "array", "items": {"type": "number"}, "minItems": 1, "maxItems": 1},
                },
                required=["from", "to"],
                additionalProperties=False,
            ),
        },
        {"to": {"zip": None, "city": "Ulm"}, "from": {"zip": "1", "city": "Bern"}, "codes": [3]},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "value"), ZOD)
def test_zod_values_are_valid(schema: dict[str, Any], value: Any) -> None:
    compiled = compile_schema(schema)
    for one in (value, turned(value)):
        assert compiled.validate(one) == []
        check_meaning(compiled, one)
