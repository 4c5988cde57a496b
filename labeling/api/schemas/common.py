"""What bodies and answers look like; from these come the checks of what is sent and the OpenAPI document."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any

from ninja import Schema
from pydantic import BeforeValidator, ConfigDict, Field

from labeling.api.wire import clean
from labeling.integrations.tokens import ACTIONS, SCOPES
from labeling.integrations.webhooks import EVENTS


def _number(value: Any) -> Any:
    """Numbers arrive as Decimal or int, so that values stay exact; what is only measured becomes a float."""
    return float(value) if isinstance(value, Decimal | int) and not isinstance(value, bool) else value


def _whole(value: Any) -> Any:
    """2.0 is a whole number in JSON Schema."""
    return int(value) if isinstance(value, Decimal) and value == value.to_integral_value() else value


def _text(value: Any) -> Any:
    if isinstance(value, str) and not clean(value):
        raise ValueError("a text may contain neither NUL nor half of a surrogate pair")
    return value


def _flag(value: Any) -> Any:
    if value not in (True, False, "true", "false"):
        raise ValueError("must be true or false")
    return value in (True, "true")


#: in an address or a form
Flag = Annotated[bool, BeforeValidator(_flag)]
Number = Annotated[float, BeforeValidator(_number)]
Whole = Annotated[int, BeforeValidator(_whole)]
Text = Annotated[str, BeforeValidator(_text)]
Json = Any


class In(Schema):
    """A body: exact types, and no name that is not known, so that a slip of the pen is no silent nothing."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Out(Schema):
    """An answer."""


class RowOrField(Out):
    """One thing that is wrong: the row of an import, or the field of a body or value, and a sentence."""

    message: str
    field: str | None = None
    row: int | None = None
    id: str | None = None
    rule: str | None = None


class ProblemOut(Out):
    """What went wrong (RFC 9457)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: list[RowOrField] = []


_WORDS = {
    400: "Not JSON, or not as it is taken here.",
    401: "No token, or one that is not valid.",
    403: "The scope of the token or the role of its member does not allow this.",
    404: "There is no such thing, or it is not yours to see.",
    409: "Somebody else changed it meanwhile, or it is not in a state for this.",
    413: "The body is over 20 MB.",
    415: "The content type is not one of those named here.",
    422: "A field, a row or a value is not right; `errors` names each.",
    429: "Too many requests in a minute; `Retry-After` says how many seconds to wait.",
}


def about(
    scope: str,
    ok: Any,
    *more: int,
    status: int = 200,
    also: Mapping[int, Any] | None = None,
    files: Sequence[str] = (),
    **extra: Any,
) -> dict[str, Any]:
    """The arguments of an operation: its scope, its answer, and the errors it can end in.

    ``more``: statuses beside 401, 403, 404, 422 and 429; ``also``: statuses with an answer of their own; ``files``: the
    content types of what is sent where that is no JSON. ``extra`` goes into the document as it is.
    """
    codes = sorted({401, 403, 404, 422, 429, *more})
    return {
        "by_alias": True,
        "response": {status: ok, **dict.fromkeys(codes, ProblemOut), **(also or {})},
        "openapi_extra": {
            "x-scope": scope,
            "x-needs": ACTIONS[scope].value,
            **({"x-files": list(files)} if files else {}),
            **extra,
        },
    }


def words(status: int) -> str:
    """What a status means here."""
    return _WORDS.get(status, "Done.")


def scope_words(scope: str) -> str:
    """What a scope is for."""
    return SCOPES[scope]


# -- projects ----------------------------------------------------------------------------------------------------------


class ProjectOut(Out):
    """A project, and what the caller is in it."""

    slug: str
    name: str
    role: str
    scopes: list[str] = Field(description="what this caller may use here")
    review_required: bool
    schema_number: int | None = Field(
        None, description="the newest schema version; only where one project is asked for"
    )
    documents: dict[str, int] | None = Field(None, description="counts by state; only where one project is asked for")
    url: str


class ProjectsOut(Out):
    """The caller's projects; a token has one."""

    items: list[ProjectOut]


class ContractOut(Out):
    """What the task promises."""

    instruction: str
    schema_number: int
    schema_sha256: str
    schema_: Json = Field(alias="schema", description="the JSON Schema, in the author's order of properties")
    constraints: dict[str, Any]
    versions: list[int]


# -- webhooks ----------------------------------------------------------------------------------------------------------


#: names that there are not are refused by the service, with those that there are
Events = Annotated[
    list[Annotated[str, Field(json_schema_extra={"enum": list(EVENTS)})]], Field(min_length=1, max_length=50)
]


class WebhookIn(In):
    """A webhook to add."""

    url: Text = Field(max_length=500, description="https:// or http://, not of an internal host")
    events: Events
    active: bool = True


class WebhookChange(In):
    """What to change of a webhook; what is left out stays."""

    url: Text | None = Field(None, max_length=500)
    events: Events | None = None
    active: bool | None = None


class WebhookOut(Out):
    """A webhook. ``secret`` is only there where it was just made or asked for."""

    id: int
    url: str
    events: list[str]
    active: bool
    created_at: str
    secret: str | None = None


class WebhooksOut(Out):
    """The webhooks of a project, and the events there are."""

    items: list[WebhookOut]
    events: dict[str, str]


class DeliveryOut(Out):
    """One message to a webhook and how it went."""

    id: int
    event: str
    status: str = Field(description="waiting, delivered or given_up")
    attempts: int
    response_code: int | None
    milliseconds: int | None
    error: str
    created_at: str
    delivered_at: str | None
    next_attempt_at: str | None
    payload: Json


class DeliveriesOut(Out):
    """The newest deliveries first."""

    items: list[DeliveryOut]
    next_before: int | None = Field(None, description="ask again with before= this; null at the end")
