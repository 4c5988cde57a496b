"""``python pydantic_models.py FILE`` writes the schemas of these models by the installed Pydantic, 1.10 or 2."""

import datetime
import enum
import json
import sys
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, Union

import pydantic
from pydantic import AnyUrl, BaseModel, EmailStr, Field, HttpUrl

V2 = pydantic.VERSION.startswith("2")
COUNTRY: Any = {"pattern": "^[A-Z]{2}$"} if V2 else {"regex": "^[A-Z]{2}$"}
EXAMPLE: Any = {"examples": ["A-1"]} if V2 else {"example": "A-1"}


class Currency(enum.Enum):
    """A choice."""

    EUR = "EUR"
    USD = "USD"


class Level(enum.IntEnum):
    """A choice of numbers."""

    LOW = 1
    HIGH = 2


class Address(BaseModel):
    """A group."""

    street: str = Field(..., max_length=200)
    city: str | None = None
    country: str = Field("DE", **COUNTRY)  # type: ignore[misc]  # of both versions


class Line(BaseModel):
    """A row."""

    description: str
    quantity: Decimal = Decimal(1)
    unit_price: Decimal | None = Field(None, ge=0)
    amount: float = Field(..., gt=0)
    sku: uuid.UUID | None = None


class Card(BaseModel):
    """One alternative."""

    kind: Literal["card"] = "card"
    last4: str


class Transfer(BaseModel):
    """Another."""

    kind: Literal["transfer"]
    iban: str


class Invoice(BaseModel):
    """An invoice of a supplier."""

    invoice_id: str = Field(..., description="number", **EXAMPLE)  # type: ignore[misc]
    issued: datetime.date
    received: datetime.datetime | None = None
    at: datetime.time | None = None
    took: datetime.timedelta | None = None
    currency: Currency = Currency.EUR
    level: Level = Level.LOW
    email: EmailStr | None = None
    url: HttpUrl | None = None
    link: AnyUrl | None = None
    supplier: Address
    lines: list[Line] = []
    tags: set[str] = set()
    extra: dict[str, str] = {}
    pair: tuple[int, str] = (1, "a")
    payment: Card | Transfer | None = None
    paid: bool = False
    total: Decimal
    blob: bytes = b""
    anything: Any = None
    either: int | str | None = None
    nested: dict[str, list[Line]] | None = None


class Node(BaseModel):
    """A part of itself."""

    name: str
    children: list["Node"] = []


class Total(BaseModel):
    """A closed object of the others."""

    class Config:
        """As both versions read it."""

        extra = "forbid"

    invoice: Invoice
    tree: Node
    other: Node | None = None


def schemas() -> dict[str, Any]:
    """Every schema by its name."""
    models: tuple[Any, ...] = (Invoice, Node, Total, Line)
    if not V2:
        Node.update_forward_refs()
        return {model.__name__: model.schema() for model in models}
    Node.model_rebuild()
    from pydantic import TypeAdapter

    others: Any = {
        "list": list[Line], "map": dict[str, Line], "union": Union[Card, Transfer], "scalar": Literal["a", "b"]
    }  # fmt: skip
    modes: Any = ("validation", "serialization")
    return {
        **{f"{model.__name__}.{mode}": model.model_json_schema(mode=mode) for model in models for mode in modes},
        **{name: TypeAdapter(kind).json_schema() for name, kind in others.items()},
    }


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(schemas(), separators=(",", ":"), ensure_ascii=False, default=str))
