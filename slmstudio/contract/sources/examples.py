"""A schema from examples: types, required fields, choices, dates and formats, lists and maps, each with its reason.

Every example is valid under the schema that is derived from it.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from slmstudio.contract.schema.dialect import has_format
from slmstudio.contract.schema.structure import join
from slmstudio.contract.values import dates, numbers


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
    nullable = {**schema, "type": [type_, "null"]}
    if "enum" in nullable:
        nullable["enum"] = [*nullable["enum"], None]
    return nullable


# -- what texts and numbers are: formats, dates, choices, amounts of money, identifiers --------------------------------

#: formats that values are tested for, the most specific first
_FORMATS = ("date", "date-time", "time", "duration", "uuid", "email", "ipv4", "ipv6", "uri")
_FORMAT_NAMES = {"date": "a date", "date-time": "a date with a time", "email": "an email address", "uri": "a URI"}
#: a choice has at most so many values, each in so many examples on average, in at least so many examples
MAX_CHOICES, MIN_REPEATS, MIN_EXAMPLES = 12, 3, 10
_MAX_CHOICE_LENGTH = 40
_MONEY = re.compile(
    r"(?:^|_)(?:amounts?|total|subtotal|price|cost|fee|tax|vat|net|gross|balance|discount|salary|sum|paid|due)(?:$|_)"
)
_IDENTIFIER = re.compile(r"(?:^|_)(?:id|no|nr|number|num|code|ref|reference|iban|sku)$")
_LISTED = 6


def words_of(name: str) -> str:
    """A name in snake case, for rules by name: ``unitPrice`` is ``unit_price``."""
    return re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower())


def of_texts(name: str, texts: Sequence[str]) -> tuple[dict[str, Any], str]:
    """The schema of texts, and its reason ("" if there is none to give)."""
    for format_ in _FORMATS:
        if all(has_format(format_, text) for text in texts):
            what = _FORMAT_NAMES.get(format_, f"a string with the format {format_}")
            return {"type": "string", "format": format_}, f"{_each(texts)} {what}."
    counts = Counter(texts)
    if _is_choice(counts, len(texts)):
        shown = ", ".join(f"{text} ({count})" for text, count in counts.most_common(_LISTED))
        more = "" if len(counts) <= _LISTED else ", …"
        reason = f"A choice: {len(counts)} different values in {len(texts)} examples: {shown}{more}."
        return {"type": "string", "enum": sorted(counts)}, reason
    if all(dates.readings(text) for text in texts) and not all(text.isdigit() for text in texts):
        reason = "a date, not written as YYYY-MM-DD: the field stays a string, compared as date."
        return {"type": "string", "x-slm": {"kind": "date"}}, f"{_each(texts)} {reason}"
    if all(numbers.parse(text) is not None for text in texts) and _MONEY.search(words_of(name)):
        reason = "an amount in a string: the field stays a string, compared as money."
        return {"type": "string", "x-slm": {"kind": "money"}}, f"{_each(texts)} {reason}"
    if _IDENTIFIER.search(words_of(name)) and all(map(_is_identifier, texts)):
        return {
            "type": "string",
            "x-slm": {"kind": "identifier"},
        }, "An identifier, inferred from its name and from values without spaces."
    return {"type": "string"}, ""


def _each(texts: Sequence[str]) -> str:
    return "The only value is" if len(texts) == 1 else f"Each of {len(texts)} values is"


def _is_choice(counts: Counter[str], total: int) -> bool:
    return (
        total >= MIN_EXAMPLES
        and 2 <= len(counts) <= MAX_CHOICES
        and total >= MIN_REPEATS * len(counts)
        and all(0 < len(text) <= _MAX_CHOICE_LENGTH and "\n" not in text for text in counts)
    )


def _is_identifier(text: str) -> bool:
    return 0 < len(text) <= 40 and not any(letter.isspace() for letter in text) and any(map(str.isdigit, text))


def of_numbers(name: str, values: Sequence[int | Decimal]) -> tuple[dict[str, Any], str]:
    """The schema of numbers, and its reason."""
    places = max(_places(value) for value in values)
    if places == 0 and all(isinstance(value, int) for value in values):
        if _MONEY.search(words_of(name)):
            return _money(), "Money, inferred from its name; cents are allowed."
        return {"type": "integer"}, "Whole numbers only."
    if places <= 2 and _MONEY.search(words_of(name)):
        return _money(), "Money, inferred from its name and from values with at most two decimal places."
    return {"type": "number"}, f"Numbers with at most {places} decimal places." if places else "Numbers."


def _money() -> dict[str, Any]:
    return {"type": "number", "multipleOf": Decimal("0.01"), "x-slm": {"kind": "money"}}


def _places(value: int | Decimal) -> int:
    exponent = value.as_tuple().exponent if isinstance(value, Decimal) else 0
    return -exponent if isinstance(exponent, int) and exponent < 0 else 0


# -- all values of one place -------------------------------------------------------------------------------------------

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
            for place in seen.fields.values():
                _merge(merged, place)
            self._reason(
                pattern, f"A map: its {len(seen.fields)} names are data ({', '.join(list(seen.fields)[:3])}, …)."
            )
            return {"type": "object", "additionalProperties": self.value(merged, "", f"{pattern}[]")}
        properties, required = {}, []
        for name, place in seen.ordered():
            inner = join(pattern, name)
            properties[name] = self.value(place, name, inner)
            if place.total == seen.objects:
                required.append(name)
            else:
                self._reason(inner, f"Optional: in {place.total} of {seen.objects} objects.")
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

    def _reasoned(self, pattern: str, typed: tuple[dict[str, Any], str]) -> dict[str, Any]:
        self._reason(pattern, typed[1])
        return typed[0]

    def _list(self, seen: _Seen, name: str, pattern: str) -> dict[str, Any]:
        if seen.items is None or not seen.items.total:
            self._reason(pattern, "The list is always empty; strings are assumed.")
            return {"type": "array", "items": {"type": "string"}}
        return {"type": "array", "items": self.value(seen.items, name, f"{pattern}[]")}


def _is_map(seen: _Seen) -> bool:
    """Whether the names of objects are data: dates, numbers, keys; or very many, with few in common."""
    if not seen.fields or len({_types(place) for place in seen.fields.values()}) != 1:
        return False
    if all(_DATA_NAME.fullmatch(name) for name in seen.fields):
        return True
    used = sum(place.total for place in seen.fields.values())
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
    for name, place in other.ordered():
        _merge(into.field(name, before), place)
        before = name
    if other.items is not None:
        into.items = into.items or _Seen()
        _merge(into.items, other.items)
