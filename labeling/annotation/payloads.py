"""Parses and validates what the labeling screen posts."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from labeling.form.codec import ABSENT, FormEntry, JsonEntry
from slmstudio.contract.json_text import JsonError, loads, text_fits

#: maximum seconds of a save: a suspended tab must not report hours
MAX_SECONDS = 600
#: maximum number of fields that a save can report time for
MAX_FIELDS = 1000


class PayloadError(ValueError):
    """The request body is invalid."""


class ValueSyntaxError(ValueError):
    """The text of the JSON view is not JSON; the message has line and column."""


@dataclass(frozen=True, slots=True)
class SavePayload:
    """A save: the value as a ``FormEntry``, or from the JSON view as a ``JsonEntry``.

    ``asked``: the empty optional fields that the user was already asked about; None: do not ask.
    """

    value: Any
    evidence: dict[str, Any]
    base_version: int
    schema_number: int
    seconds: float = 0
    submit: bool = False
    was_raw: bool = field(default=False)
    prediction: int | None = None
    field_seconds: dict[str, float] = field(default_factory=dict)
    asked: frozenset[str] | None = None


def parse_object(body: bytes) -> dict[str, Any]:
    """A request's body as a JSON object. Raises PayloadError."""
    try:
        payload = loads(body)
    except JsonError as error:
        raise PayloadError(f"The request is not JSON: {error}") from error
    if not isinstance(payload, dict):
        raise PayloadError("The request is not a JSON object.")
    return payload


def parse_save(body: bytes) -> SavePayload:
    """Parses a save.

    Raises:
        PayloadError: a value is missing or has the wrong type.
        ValueSyntaxError: the text of the JSON view is not JSON.
    """
    payload = parse_object(body)
    text = payload.get("json")
    if text is not None:
        try:
            value: FormEntry | JsonEntry = JsonEntry(loads(_typed(payload, "json", str)), _typed_texts(payload))
        except JsonError as error:
            raise ValueSyntaxError(str(error)) from error
    else:
        value = FormEntry(payload.get("entry", ABSENT))
    return SavePayload(
        value=value,
        evidence=_typed(payload, "evidence", dict),
        base_version=whole_number(payload, "base_version"),
        schema_number=whole_number(payload, "schema"),
        seconds=min(MAX_SECONDS, whole_number(payload, "seconds")),
        submit=_typed(payload, "submit", bool),
        was_raw=text is not None,
        prediction=whole_number(payload, "prediction") if payload.get("prediction") is not None else None,
        field_seconds=_field_seconds(payload),
        asked=_asked(payload),
    )


def whole_number(payload: dict[str, Any], name: str) -> int:
    """A whole number from 0 up. Raises PayloadError."""
    number = _typed(payload, name, int)
    if isinstance(number, bool) or not 0 <= number < 2**31:
        raise PayloadError(f"{name} must be a whole number of 0 or more.")
    return int(number)


def _asked(payload: dict[str, Any]) -> frozenset[str] | None:
    if payload.get("asked") is None:
        return None
    return frozenset(path for path in _typed(payload, "asked", list) if isinstance(path, str))


def _field_seconds(payload: dict[str, Any]) -> dict[str, float]:
    """Seconds per field pattern, capped at ``MAX_SECONDS``."""
    given = payload.get("field_seconds", {})
    if not isinstance(given, dict) or len(given) > MAX_FIELDS:
        raise PayloadError("field_seconds is not an object of seconds per field.")
    result: dict[str, float] = {}
    for pattern, seconds in given.items():
        if isinstance(seconds, bool) or not isinstance(seconds, int | Decimal) or not 0 <= seconds < 2**31:
            raise PayloadError(f"field_seconds of {pattern[:80]} is not a number of seconds.")
        if text_fits(pattern):
            result[pattern[:300]] = float(min(MAX_SECONDS, seconds))
    return result


def _typed_texts(payload: dict[str, Any]) -> dict[str, str]:
    """Texts typed into the form before the JSON view was opened, by path."""
    texts = payload.get("typed", {})
    if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
        raise PayloadError("typed is not an object of strings.")
    return texts


def _typed(payload: dict[str, Any], name: str, kind: type) -> Any:
    value = payload.get(name)
    if not isinstance(value, kind):
        raise PayloadError(f"{name} is missing or of the wrong type.")
    return value
