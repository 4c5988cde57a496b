"""Types that bodies and responses share. The schemas of a resource are in the module of its operations."""

from collections.abc import Iterable
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, TypeVar

from django.contrib.auth.models import User
from django.db.models import QuerySet
from ninja import Query, Schema
from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema

from slmstudio.contract.json_text import text_fits
from slmstudio.contract.schema.compiled import ValueProblem
from slmstudio.web import paging

T = TypeVar("T")
#: entries of a page of responses
PER_PAGE = 50


def _number(value: Any) -> Any:
    """Numbers are parsed as Decimal or int; measurements become floats."""
    return float(value) if isinstance(value, Decimal | int) and not isinstance(value, bool) else value


def _whole(value: Any) -> Any:
    """2.0 is an integer in JSON Schema."""
    return int(value) if isinstance(value, Decimal) and value == value.to_integral_value() else value


def _text(value: Any) -> Any:
    """A text that UTF-8 and the database can represent."""
    if isinstance(value, str) and not text_fits(value):
        raise ValueError("a string cannot contain NUL or lone surrogates")
    return value


def _flag(value: Any) -> Any:
    if value not in (True, False, "true", "false"):
        raise ValueError("must be true or false")
    return value in (True, "true")


def _some_value(value: Any) -> Any:
    if value is None:
        raise ValueError("must not be null")
    return value


def _moment(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date | datetime) else value


def _user_name(value: Any) -> Any:
    return value.get_username() if isinstance(value, User) else value


def problem_rows(problems: Iterable[ValueProblem]) -> list[dict[str, Any]]:
    """The problems of a value by field."""
    return [{"field": problem.path, "message": problem.message, "rule": problem.rule} for problem in problems]


#: in a query string or form
Flag = Annotated[bool, BeforeValidator(_flag)]
Number = Annotated[float, BeforeValidator(_number)]
Whole = Annotated[int, BeforeValidator(_whole)]
Text = Annotated[str, BeforeValidator(_text)]
Json = Any
State = Literal["new", "in_progress", "submitted", "approved", "rejected", "skipped"]
Version = Annotated[Whole, Field(ge=0, lt=2**31)]
Number_ = Annotated[Whole, Field(ge=1, lt=2**31)]
Key = Annotated[Whole, Field(ge=1, lt=2**63)]
#: of a query string: the key of the last row of the page before
Before = Annotated[int | None, Query(ge=1, lt=2**63)]
#: a label: any JSON value but null, since drafts can be invalid
Value = Annotated[Json, BeforeValidator(_some_value), WithJsonSchema({"not": {"type": "null"}})]
#: of a response: a time or a day in ISO 8601, and the name of a user
Moment = Annotated[str, BeforeValidator(_moment)]
UserName = Annotated[str, BeforeValidator(_user_name)]


class In(Schema):
    """A body: with exact types and without unknown names."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Out(Schema):
    """A response."""


class DocumentText(Out):
    """What a response says of its document; it is read from an object with ``document``."""

    id: int = Field(validation_alias="document.pk")
    external_id: str = Field(validation_alias="document.external_id")
    state: State = Field(validation_alias="document.state")
    text: str = Field(validation_alias="document.text")


class RowOrField(Out):
    """An error of a row of an import, or of a field of a body or value."""

    message: str
    field: str | None = None
    row: int | None = None
    id: str | None = None
    rule: str | None = None


#: of a response: the problems of a value by field
Problems = Annotated[list[RowOrField], BeforeValidator(problem_rows)]


class ProblemOut(Out):
    """An error (RFC 9457)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str | None = None
    errors: list[RowOrField] = []


class Items(Out, Generic[T]):
    """A list."""

    items: list[T]


class Page(Items[T], Generic[T]):
    """A page of a list, newest first."""

    next_before: int | None = Field(description="the next value of before; null on the last page")


def page(rows: QuerySet[Any], before: int | None, size: int = PER_PAGE) -> dict[str, Any]:
    """The rows of a ``Page``."""
    listed = paging.page(rows, after=before, newest=True, size=size)
    return {"items": listed.rows, "next_before": listed.after}
