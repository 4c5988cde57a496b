"""A derived schema: a draft for its author to correct, with the reason of each inference."""

from collections.abc import Iterable
from dataclasses import dataclass, field
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

    ``source``: what the text was (``schema``, ``examples``, ``pydantic``, ``typescript``, ``zod``). ``notes``: what the
    text says and the schema does not. ``name``: the type that was used, and ``names`` those that could be used instead.
    """

    schema: dict[str, Any]
    source: str
    reasons: tuple[Reason, ...] = ()
    notes: tuple[str, ...] = ()
    name: str = ""
    names: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "schema": self.schema,
            "source": self.source,
            "reasons": [reason.as_dict() for reason in self.reasons],
            "notes": list(self.notes),
            "name": self.name,
            "names": list(self.names),
        }


@dataclass(slots=True)
class Definitions:
    """Named types read from source code, each as a schema that refers to others by ``#/$defs/NAME``.

    ``lines``: where each is defined. ``parts``: names that are no candidates for the document (choices, aliases).
    """

    schemas: dict[str, dict[str, Any]] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    parts: set[str] = field(default_factory=set)

    def document(self, name: str = "") -> tuple[str, tuple[str, ...]]:
        """The type of the document, and all that can be it: one that no other refers to; of several, the last.

        Raises:
            SourceError: there is no such type.
        """
        names = [one for one, schema in self.schemas.items() if one not in self.parts and _is_object(schema)]
        if name:
            if name not in names:
                raise SourceError(f"{name} is not one of the types of the text: {', '.join(names) or 'none'}.")
            return name, tuple(names)
        used = {target for one, schema in self.schemas.items() for target in references(schema) if target != one}
        tops = [one for one in names if one not in used] or names
        if not tops:
            raise SourceError("The text defines no type with fields.")
        return next((one for one in reversed(tops) if "properties" in self.schemas[one]), tops[-1]), tuple(names)

    def schema(self, name: str) -> dict[str, Any]:
        """The schema of a type, with the others in place; recursive ones are in ``$defs``, the type itself is ``#``."""
        recursive = {one for one in self.schemas if self._reaches(one, one)} | {name}
        kept: dict[str, Any] = {}
        top = self._placed(self.schemas[name], recursive, name)
        waiting = references(top)
        while waiting:
            one = waiting.pop()
            if one not in kept:
                kept[one] = self._placed(self.schemas[one], recursive, name)
                waiting |= references(kept[one])
        return {**top, "$defs": kept} if kept else top

    def _placed(self, value: Any, recursive: set[str], top: str) -> Any:
        if isinstance(value, list):
            return [self._placed(one, recursive, top) for one in value]
        if not isinstance(value, dict):
            return value
        target = _target(value)
        rest = {key: self._placed(one, recursive, top) for key, one in value.items() if key != "$ref" or not target}
        if not target:
            return union(rest["anyOf"]) if rest.keys() == {"anyOf"} else rest
        if target in recursive:
            return {"$ref": "#" if target == top else f"#/$defs/{target}", **rest}
        return {**self._placed(self.schemas[target], recursive, top), **rest}

    def _reaches(self, start: str, goal: str) -> bool:
        seen: set[str] = set()
        waiting = references(self.schemas[start])
        while waiting:
            one = waiting.pop()
            if one == goal:
                return True
            if one not in seen:
                seen.add(one)
                waiting |= references(self.schemas[one])
        return False


def _is_object(schema: dict[str, Any]) -> bool:
    return any(key in schema for key in ("properties", "allOf", "anyOf", "items", "additionalProperties", "$ref"))


def _target(value: dict[str, Any]) -> str:
    reference = value.get("$ref")
    return reference.removeprefix("#/$defs/") if isinstance(reference, str) and reference != "#" else ""


def references(value: Any) -> set[str]:
    """The names of ``$defs`` that a schema refers to, without those that these refer to."""
    if isinstance(value, dict):
        found = {_target(value)} - {""}
        return found.union(*(references(one) for key, one in value.items() if key not in ("enum", "const", "default")))
    return set().union(*map(references, value)) if isinstance(value, list) else set()


def union(parts: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The schema of one of several types: simple types as a list, choices as one ``enum``, null last."""
    unique: list[dict[str, Any]] = []
    for part in parts:
        for one in part["anyOf"] if part.keys() == {"anyOf"} else [part]:
            if one not in unique:
                unique.append(one)
    null: dict[str, Any] = {"type": "null"}
    solid = [one for one in unique if one != null]
    nullable = len(solid) < len(unique)
    if not solid:
        return null
    if {} in solid:
        return {}
    if len(solid) == 1:
        return nullable_of(solid[0]) if nullable else solid[0]
    values = [value for one in solid if one.keys() <= {"const", "enum", "type"} for value in _values(one)]
    if all(one.keys() <= {"const", "enum", "type"} and _values(one) for one in solid):
        types = list(dict.fromkeys(str(one.get("type", "")) for one in solid))
        joined: dict[str, Any] = {"type": types[0]} if len(types) == 1 and types[0] else {}
        joined["enum"] = list(dict.fromkeys(values))
        return nullable_of(joined) if nullable else joined
    return {"anyOf": [*solid, *([null] if nullable else [])]}


def _values(schema: dict[str, Any]) -> list[Any]:
    return [schema["const"]] if "const" in schema else list(schema.get("enum", ()))


def nullable_of(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema or null."""
    type_ = schema.get("type")
    if not isinstance(type_, str) or "const" in schema:
        return {"anyOf": [schema, {"type": "null"}]} if schema else {}
    found = {**schema, "type": [type_, "null"]}
    if "enum" in found:
        found["enum"] = [*found["enum"], None]
    return found
