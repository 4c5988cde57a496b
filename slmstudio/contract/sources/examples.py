"""A schema from examples: types, required fields, choices, dates and formats, lists and maps, each with its reason.

Every example is valid under the schema that is derived from it.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from slmstudio.contract.schema.structure import join
from slmstudio.contract.sources.drafts import Draft, Reason, SourceError, nullable_of
from slmstudio.contract.sources.value_types import of_numbers, of_texts

_DATA_NAME = re.compile(r"\d[\d.:/_-]*|[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}|[^@\s]+@[^@\s]+|[A-Z]{2,6}[-_ ]?\d+")
#: an object with at least so many different names whose values are alike, and few names in common, is a map
_MANY_NAMES, _NAMES_RATIO = 8, 3


@dataclass(slots=True)
class _Seen:
    """All values of one place of the examples."""

    total: int = 0
    nulls: int = 0
    booleans: int = 0
    texts: list[str] = field(default_factory=list)
    numbers: list[int | Decimal] = field(default_factory=list)
    objects: int = 0
    fields: dict[str, "_Seen"] = field(default_factory=dict)
    #: the name that comes after each name; after None the first
    following: dict[str | None, str | None] = field(default_factory=lambda: {None: None})
    lists: int = 0
    items: "_Seen | None" = None

    def add(self, value: Any) -> None:
        self.total += 1
        if value is None:
            self.nulls += 1
        elif isinstance(value, bool):
            self.booleans += 1
        elif isinstance(value, str):
            self.texts.append(value)
        elif isinstance(value, dict):
            self._add_object(value)
        elif isinstance(value, list):
            self.lists += 1
            self.items = self.items or _Seen()
            for item in value:
                self.items.add(item)
        else:
            self.numbers.append(value)

    def _add_object(self, value: dict[str, Any]) -> None:
        self.objects += 1
        before = None
        for name, item in value.items():
            self.field(name, before).add(item)
            before = name

    def field(self, name: str, before: str | None) -> "_Seen":
        """The place of a field. Names keep the order of the examples: a new one goes behind the one that it follows."""
        if name not in self.fields:
            self.fields[name] = _Seen()
            self.following[name], self.following[before] = self.following[before], name
        return self.fields[name]

    def ordered(self) -> Iterator[tuple[str, "_Seen"]]:
        """The fields in their order."""
        name = self.following[None]
        while name is not None:
            yield name, self.fields[name]
            name = self.following[name]


def schema_from_examples(values: Sequence[Any]) -> Draft:
    """The schema of JSON objects.

    Raises:
        SourceError: there is no example, or one is not an object with a field.
    """
    for number, value in enumerate(values, 1):
        if not isinstance(value, dict) or not value:
            raise SourceError(f"Example {number} is not a JSON object with fields.")
    if not values:
        raise SourceError("The text contains no examples.")
    seen = _Seen()
    for value in values:
        seen.add(value)
    derivation = _Derivation()
    schema = derivation.object(seen, "", is_document=True)
    return Draft(schema, "examples", tuple(derivation.reasons))


class _Derivation:
    def __init__(self) -> None:
        self.reasons: list[Reason] = []

    def _reason(self, pattern: str, text: str) -> None:
        if text:
            self.reasons.append(Reason(pattern, text))

    def object(self, seen: _Seen, pattern: str, is_document: bool = False) -> dict[str, Any]:
        if not is_document and _is_map(seen):
            merged = _Seen()
            for one in seen.fields.values():
                _merge(merged, one)
            self._reason(
                pattern, f"A map: its {len(seen.fields)} names are data ({', '.join(list(seen.fields)[:3])}, …)."
            )
            return {"type": "object", "additionalProperties": self.value(merged, "", f"{pattern}[]")}
        properties, required = {}, []
        for name, one in seen.ordered():
            inner = join(pattern, name)
            properties[name] = self.value(one, name, inner)
            if one.total == seen.objects:
                required.append(name)
            else:
                self._reason(inner, f"Optional: in {one.total} of {seen.objects} objects.")
        schema: dict[str, Any] = {"type": "object", "additionalProperties": False}
        return {**schema, **({"required": required} if required else {}), "properties": properties}

    def value(self, seen: _Seen, name: str, pattern: str) -> dict[str, Any]:
        parts = []
        if seen.texts:
            parts.append(self._reasoned(pattern, of_texts(name, seen.texts)))
        if seen.numbers:
            parts.append(self._reasoned(pattern, of_numbers(name, seen.numbers)))
        if seen.booleans:
            parts.append({"type": "boolean"})
        if seen.objects:
            parts.append(self.object(seen, pattern))
        if seen.lists:
            parts.append(self._list(seen, name, pattern))
        if not parts:
            self._reason(pattern, "Always null; a string is assumed.")
            return {"type": ["string", "null"]}
        if len(parts) > 1:
            self._reason(pattern, f"Values of {len(parts)} types; each is allowed.")
        schema = parts[0] if len(parts) == 1 else {"anyOf": parts}
        if seen.nulls:
            self._reason(pattern, f"Can be null: {seen.nulls} of {seen.total} values are null.")
            return nullable_of(schema) if len(parts) == 1 else {"anyOf": [*parts, {"type": "null"}]}
        return schema

    def _reasoned(self, pattern: str, found: tuple[dict[str, Any], str]) -> dict[str, Any]:
        self._reason(pattern, found[1])
        return found[0]

    def _list(self, seen: _Seen, name: str, pattern: str) -> dict[str, Any]:
        if seen.items is None or not seen.items.total:
            self._reason(pattern, "The list is always empty; strings are assumed.")
            return {"type": "array", "items": {"type": "string"}}
        return {"type": "array", "items": self.value(seen.items, name, f"{pattern}[]")}


def _is_map(seen: _Seen) -> bool:
    """Whether the names of objects are data: dates, numbers, keys; or very many, with few in common."""
    if not seen.fields or len({_types(one) for one in seen.fields.values()}) != 1:
        return False
    if all(_DATA_NAME.fullmatch(name) for name in seen.fields):
        return True
    used = sum(one.total for one in seen.fields.values())
    return len(seen.fields) >= _MANY_NAMES and len(seen.fields) * seen.objects >= _NAMES_RATIO * used


def _types(seen: _Seen) -> tuple[bool, ...]:
    return bool(seen.texts), bool(seen.numbers), bool(seen.booleans), bool(seen.objects), bool(seen.lists)


def _merge(into: _Seen, other: _Seen) -> None:
    into.total += other.total
    into.nulls += other.nulls
    into.booleans += other.booleans
    into.texts += other.texts
    into.numbers += other.numbers
    into.objects += other.objects
    into.lists += other.lists
    before = None
    for name, one in other.ordered():
        _merge(into.field(name, before), one)
        before = name
    if other.items is not None:
        into.items = into.items or _Seen()
        _merge(into.items, other.items)
