"""A derived schema: a draft for its author to correct, with the reason of each inference."""

from dataclasses import dataclass
from typing import Any


class SourceError(ValueError):
    """The text cannot be read as a schema. ``line`` counts from 1; 0: the text as a whole."""

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(f"Line {line}: {message}" if line else message)
        self.message = message
        self.line = line

    def __reduce__(self) -> tuple[Any, ...]:
        return SourceError, (self.message, self.line)


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a field is as it is. ``pattern``: the path of the field with ``[]`` for rows; "" for the document."""

    pattern: str
    text: str

    def as_dict(self) -> dict[str, str]:
        """JSON-ready."""
        return {"pattern": self.pattern, "text": self.text}


@dataclass(frozen=True, slots=True)
class Draft:
    """A derived schema.

    ``source``: what the text was (``schema``, ``examples``). ``notes``: what the text says and the schema does not.
    """

    schema: dict[str, Any]
    source: str
    reasons: tuple[Reason, ...] = ()
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "schema": self.schema,
            "source": self.source,
            "reasons": [reason.as_dict() for reason in self.reasons],
            "notes": list(self.notes),
        }


def nullable_of(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema or null."""
    type_ = schema.get("type")
    if not isinstance(type_, str) or "const" in schema:
        return {"anyOf": [schema, {"type": "null"}]} if schema else {}
    found = {**schema, "type": [type_, "null"]}
    if "enum" in found:
        found["enum"] = [*found["enum"], None]
    return found
