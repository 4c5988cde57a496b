"""The simplified schema of constrained decoding, and the order in which a decoder writes it.

A place is ``False``, ``{}`` (any JSON), an enum, a text, number or boolean, a reference to an object or list in
``$defs``, or ``anyOf`` of these. References, ``allOf``, rules and annotations are resolved, so that every reader
interprets it the same way: the grammar is compiled from it, and ``canonical`` orders by it.

Objects are closed: other fields than the declared ones may be written only if the schema says what they contain
(``additionalProperties``, ``patternProperties``), or if it declares none. ``notes`` lists what cannot be expressed.
"""

from collections import deque
from collections.abc import Iterator
from decimal import Decimal
from functools import lru_cache
from itertools import islice
from typing import Any, Final

from slmstudio.contract.json_text import dumps
from slmstudio.contract.schema.dialect import (
    FLAT,
    FORMAT_PATTERNS,
    ExactValidator,
    identity,
    is_integer,
    is_number,
)
from slmstudio.contract.schema.keywords import TYPES
from slmstudio.contract.schema.patterns import pattern_matches
from slmstudio.contract.schema.resolution import WHEN, forms_of, properties_of, resolve, takes_null, type_of, types_of
from slmstudio.contract.schema.work import TooMuchWorkError, limited, spend

Place = Any
#: how llguidance serializes: compact, no white space anywhere
OPTIONS: Any = {"whitespace_flexible": False, "item_separator": ",", "key_separator": ":"}
#: maximum number of alternatives of a value; beyond it a decoder writes any JSON there
MAX_FORMS: Final = 500
#: maximum number of distinct objects and lists; a larger schema allows any JSON in the rest
MAX_PARTS: Final = 20_000
#: maximum number of alternatives of all values together; the same beyond it. the schema of Azure Pipelines has 6,800
MAX_ALTERNATIVES: Final = 20_000
#: maximum number of steps to simplify a schema; the same beyond it
MAX_STEPS: Final = 500_000
#: integers up to here are exact in the decoder's arithmetic
_MAX_EXACT: Final = 2**53
BOUNDS: Final = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_OF_TYPE: Final[dict[str, tuple[str, ...]]] = {
    "string": ("minLength", "maxLength", "pattern", "format"),
    "number": (*BOUNDS, "multipleOf"),
    "integer": (*BOUNDS, "multipleOf"),
    "array": ("items", "prefixItems", "minItems", "maxItems"),
    "object": ("properties", "required", "additionalProperties", "patternProperties", WHEN),
}
_CONSTRAINING: Final = frozenset({"type", "enum", "const", *(key for keys in _OF_TYPE.values() for key in keys)})


class Decoder:
    """A simplified schema. ``schema`` is a JSON Schema whose root is a reference into its ``$defs``. Places beyond its
    first ``max_parts`` objects and lists, the outer ones first, allow any JSON.
    """

    def __init__(self, root: dict[str, Any], max_parts: int = MAX_PARTS) -> None:
        self._root = root
        self._max_parts = max_parts
        self._alternatives = 0
        self._validator = ExactValidator(root)
        self._names: dict[str, str] = {}
        self._waiting: deque[tuple[str, dict[str, Any]]] = deque()
        self.notes: dict[str, None] = {}
        defs: dict[str, Place] = {}
        with limited(MAX_STEPS):
            start = self._place(root)
            if start == {}:  # it has too many alternatives, but it is an object
                start = self._shared({"type": "object"})
            while self._waiting:
                name, form = self._waiting.popleft()
                defs[name] = self._array(form) if form["type"] == "array" else self._object(form)
        self.schema: dict[str, Any] = {**(start or {"enum": []}), "$defs": defs}
        self._fitting = ExactValidator(self.schema)

    # -- simplifying --

    def _place(self, schema: Any) -> Place:
        if isinstance(schema, bool) or schema == {}:
            return {} if schema is not False else False
        try:
            return self._simplified(schema)
        except (TooMuchWorkError, RecursionError):
            self.notes["parts with references and alternatives that expand too far"] = None
            return {}

    def _simplified(self, schema: Any) -> Place:
        if self._alternatives > MAX_ALTERNATIVES:
            self.notes[f"everything beyond its first {MAX_ALTERNATIVES:,} alternatives"] = None
            return {}
        resolved, _ = resolve(self._root, schema)
        forms = list(islice(forms_of(self._root, resolved), MAX_FORMS + 1)) or [resolved]
        if len(forms) > MAX_FORMS:
            self.notes[f"which of its more than {MAX_FORMS} alternatives a value takes"] = None
            return {}
        self._alternatives += len(forms)
        options = [option for form in forms for option in self._form(form)]
        if {} in options:
            return {}
        if takes_null(self._root, schema):
            options.append({"type": "null"})
        options = list({dumps(option): option for option in options}.values())
        return options[0] if len(options) == 1 else {"anyOf": options} if options else False

    def _form(self, form: dict[str, Any]) -> Iterator[Place]:
        """The options of one alternative, without null."""
        if "enum" in form or "const" in form:
            kept = {identity(value): _shortest(value) for value in self._fitting_values(form) if value is not None}
            if not all(map(_is_exact, kept.values())):
                self.notes["a choice with numbers of more digits than the decoder supports"] = None
                yield from self._form({"type": list({type_of(value): None for value in kept.values()})})
            elif kept:
                yield {"enum": list(kept.values())}
            return
        types = types_of(form)
        if not types and not any(key in form for key in _CONSTRAINING):
            yield {}
            return
        for type_ in types or [type_ for type_ in TYPES if type_ != "integer"]:
            if type_ == "null" or (type_ == "integer" and "number" in types):
                continue
            own = {key: form[key] for key in _OF_TYPE.get(type_, ()) if key in form}
            if type_ in ("object", "array"):
                yield self._shared({"type": type_, **own})
            else:
                yield _text(own) if type_ == "string" else self._number(type_, own) if own else {"type": type_}

    def _fitting_values(self, form: dict[str, Any]) -> list[Any]:
        """The values of a choice that the other rules of its schema allow, those that cost little first."""
        source = "enum" if "enum" in form else "const"
        values = form["enum"] if "enum" in form else [form["const"]]
        for some in (True, False):
            rules = {key: value for key, value in form.items() if key not in (WHEN, source) and (key in FLAT) == some}
            fitting = self._validator.evolve(schema=rules)
            values = [value for value in values if fitting.is_valid(value)]
        return list(values)

    def _shared(self, form: dict[str, Any]) -> Place:
        """A reference to an object or list; equal schemas share one."""
        key = dumps(form)
        spend(1 + len(key) // 16)
        if key not in self._names:
            if len(self._names) >= self._max_parts:
                self.notes[f"everything beyond its first {self._max_parts:,} parts"] = None
                return {}
            self._names[key] = f"p{len(self._names)}"
            self._waiting.append((self._names[key], form))
        return {"$ref": f"#/$defs/{self._names[key]}"}

    def _number(self, type_: str, own: dict[str, Any]) -> Place:
        kept: dict[str, Any] = {"type": type_}
        for key, value in own.items():
            if not _is_exact(value):
                self.notes[f"{key} of more digits than the decoder supports"] = None
            else:
                kept[key] = value
        return kept

    def _array(self, form: dict[str, Any]) -> Place:
        kept: dict[str, Any] = {"type": "array", **_counts(form, "minItems", "maxItems")}
        if "prefixItems" in form:
            kept["prefixItems"] = [self._place(inner) for inner in form["prefixItems"]]
        kept["items"] = self._place(form.get("items", True))
        return kept

    def _object(self, form: dict[str, Any]) -> Place:
        patterns = form.get("patternProperties", {})
        named = properties_of(form)
        others = form.get("additionalProperties", not named and not patterns)
        fields: dict[str, Place] = {}
        if any("\x7f" in name for name in named):
            self.notes["a name with the control character DEL"] = None
        for name, inner in named.items():
            also = [schema for pattern, schema in patterns.items() if pattern_matches(pattern, name)]
            fields[name] = self._place({"allOf": [inner, *also]} if also else inner)
        required = list(dict.fromkeys(form.get("required", ())))
        for name in required:
            if name not in fields:
                also = [schema for pattern, schema in patterns.items() if pattern_matches(pattern, name)]
                additional = form.get("additionalProperties", True)
                fields[name] = self._place({"allOf": also} if also else additional)
        kept: dict[str, Any] = {"type": "object", "properties": fields, "additionalProperties": self._place(others)}
        if required:
            kept["required"] = required
        if patterns:
            kept["patternProperties"] = {pattern: self._place(schema) for pattern, schema in patterns.items()}
        return kept

    # -- ordering --

    def at(self, place: Place) -> Place:
        """The schema at a place, its reference resolved."""
        if isinstance(place, dict) and "$ref" in place:
            return self.schema["$defs"][place["$ref"].removeprefix("#/$defs/")]
        return place

    def ordered(self, value: Any, *, rewrite: bool) -> Any:
        """A value with its fields in the order in which a decoder writes them; unknown fields last, in their order.

        With ``rewrite`` numbers are normalized as well: a choice as in the schema, an integer without a fraction, none
        with an exponent.
        """
        return self._arranged(self.schema, value, rewrite)

    def _arranged(self, place: Place, value: Any, rewrite: bool) -> Any:
        place = self.at(place)
        if not isinstance(place, dict) or isinstance(value, str | bool) or value is None:
            return value
        if "anyOf" in place:
            return self._arranged(self._option(place["anyOf"], value), value, rewrite)
        if rewrite and "enum" in place:
            wanted = identity(value)
            return next((item for item in place["enum"] if identity(item) == wanted), value)
        if isinstance(value, dict):
            return self._names_arranged(place, value, rewrite)
        if isinstance(value, list):
            prefix = place.get("prefixItems", [])
            rest = place.get("items", {})
            return [
                self._arranged(prefix[number] if number < len(prefix) else rest, item, rewrite)
                for number, item in enumerate(value)
            ]
        return _written(value, place) if rewrite and is_number(value) else value

    def _names_arranged(self, place: Place, value: dict[str, Any], rewrite: bool) -> dict[str, Any]:
        fields = place.get("properties", {})
        result = {name: self._arranged(fields[name], value[name], rewrite) for name in fields if name in value}
        patterns = place.get("patternProperties", {})
        rest = place.get("additionalProperties", {})
        for like in (True, False) if patterns else (False,):  # names that match a pattern come first
            for name, inner in value.items():
                if name in fields:
                    continue
                matching = [schema for pattern, schema in patterns.items() if pattern_matches(pattern, name)]
                if bool(matching) == like:
                    result[name] = self._arranged({"anyOf": matching} if matching else rest, inner, rewrite)
        return result

    def _option(self, options: list[Place], value: Any) -> Place:
        """The first option that a value matches; else the option with the most of its fields."""
        if len(options) == 1:
            return options[0]
        for option in options:
            if self._fitting.evolve(schema=option).is_valid(value):
                return option
        names = value if isinstance(value, dict) else ()

        def known(option: Place) -> int:
            inner = self.at(option)
            return sum(name in inner.get("properties", ()) for name in names) if isinstance(inner, dict) else -1

        return max(options, key=known)


def _counts(form: dict[str, Any], *keys: str) -> dict[str, int]:
    """Bounds of a number of things, which may be written with a fraction (2.0)."""
    return {key: int(form[key]) for key in keys if key in form}


def _text(own: dict[str, Any]) -> Place:
    kept = _counts(own, "minLength", "maxLength")
    patterns = [f"^(?:{FORMAT_PATTERNS[own['format']]})$"] if "format" in own else []
    patterns += [own["pattern"]] if "pattern" in own else []
    if len(patterns) == 2:
        return {"type": "string", **kept, "allOf": [{"type": "string", "pattern": pattern} for pattern in patterns]}
    return {"type": "string", **kept, **({"pattern": patterns[0]} if patterns else {})}


class _Plain(Decimal):
    """A number without an exponent."""

    def __str__(self) -> str:
        return format(self, "f")


def _written(number: Any, place: Place) -> Any:
    """A number as a decoder writes it: no exponent, no sign on zero; an integer without a fraction.

    Trailing zeros are kept if the decoder can write them, which is not always so with a bound.
    """
    if isinstance(number, int) or (place.get("type") == "integer" and is_integer(number)):
        return int(number)
    exact = Decimal(repr(number)) if isinstance(number, float) else number
    text = str(exact)
    plain = exact if exact and "E" not in text else _Plain(exact if exact else exact.copy_abs())
    if len(place) > 1 and text.endswith("0") and not _can_write(dumps(place), str(plain)):
        return _shortest(plain)
    return plain


def _shortest(value: Any) -> Any:
    """A value whose numbers have no trailing zeros."""
    if isinstance(value, Decimal | float):
        exact = Decimal(str(value))
        return int(exact) if exact == exact.to_integral_value() else _Plain(exact.normalize())
    if isinstance(value, dict):
        return {name: _shortest(inner) for name, inner in value.items()}
    return [_shortest(inner) for inner in value] if isinstance(value, list) else value


def _is_exact(value: Any) -> bool:
    """Whether a decoder that uses floating point keeps all digits of a value."""
    if isinstance(value, dict | list):
        return all(map(_is_exact, value.values() if isinstance(value, dict) else value))
    return not is_number(value) or (abs(value) < _MAX_EXACT and Decimal(repr(float(value))) == value)


@lru_cache(maxsize=8192)
def _can_write(leaf: str, text: str) -> bool:
    """Whether a decoder can write a number at a place with this schema."""
    tokens = list(f'{{"a":{text}}}'.encode())
    return int(_number_matcher(leaf).validate_tokens(tokens)) == len(tokens)


@lru_cache(maxsize=256)
def _number_matcher(leaf: str) -> Any:
    from llguidance import LLMatcher, LLTokenizer

    schema = f'{{"type":"object","properties":{{"a":{leaf}}},"required":["a"],"additionalProperties":false}}'
    made = LLMatcher.grammar_from_json_schema(schema, overrides=OPTIONS)
    return LLMatcher(LLTokenizer("byte"), made, log_level=0)
