"""Types that bodies and responses share."""

from decimal import Decimal
from typing import Annotated, Any, Literal

from ninja import Schema
from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema

from labeling.api.wire import clean


def _number(value: Any) -> Any:
    """Numbers are parsed as Decimal or int; measurements become floats."""
    return float(value) if isinstance(value, Decimal | int) and not isinstance(value, bool) else value


def _whole(value: Any) -> Any:
    """2.0 is an integer in JSON Schema."""
    return int(value) if isinstance(value, Decimal) and value == value.to_integral_value() else value


def _text(value: Any) -> Any:
    if isinstance(value, str) and not clean(value):
        raise ValueError("a string cannot contain NUL or lone surrogates")
    return value


def _flag(value: Any) -> Any:
    if value not in (True, False, "true", "false"):
        raise ValueError("must be true or false")
    return value in (True, "true")


#: in a query string or form
Flag = Annotated[bool, BeforeValidator(_flag)]


Number = Annotated[float, BeforeValidator(_number)]


Whole = Annotated[int, BeforeValidator(_whole)]


Text = Annotated[str, BeforeValidator(_text)]


Json = Any


class In(Schema):
    """A body: with exact types and without unknown names."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Out(Schema):
    """A response."""


class RowOrField(Out):
    """An error of a row of an import, or of a field of a body or value."""

    message: str
    field: str | None = None
    row: int | None = None
    id: str | None = None
    rule: str | None = None


class ProblemOut(Out):
    """An error (RFC 9457)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str | None = None
    errors: list[RowOrField] = []


State = Literal["new", "in_progress", "submitted", "approved", "rejected", "skipped"]


Version = Annotated[Whole, Field(ge=0, lt=2**31)]


Number_ = Annotated[Whole, Field(ge=1, lt=2**31)]


Key = Annotated[Whole, Field(ge=1, lt=2**63)]


def _some_value(value: Any) -> Any:
    if value is None:
        raise ValueError("must not be null")
    return value


#: a label: any JSON value but null, since drafts can be invalid
Value = Annotated[Json, BeforeValidator(_some_value), WithJsonSchema({"not": {"type": "null"}})]
