"""Values of any schema, drawn from what a decoder may write for it; the validator rejects those that break a rule that
a decoder cannot enforce.
"""

import contextlib
import re
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any

from hypothesis import strategies as st

from slmstudio.contract.schema.compiled import CompiledSchema
from slmstudio.contract.schema.dialect import FORMAT_PATTERNS

_LEVELS = 4
_EXAMPLES = {
    "date": "2026-02-28", "time": "08:30:00Z", "date-time": "2026-02-28T08:30:00Z", "duration": "P1DT2H",
    "email": "ana@example.com", "hostname": "example.com", "ipv4": "192.0.2.1", "ipv6": "2001:db8::1",
    "uri": "https://example.com/a?b=1", "uuid": "8c0f5c2e-52f1-4d4a-9a3e-0a1b2c3d4e5f",
}  # fmt: skip
assert _EXAMPLES.keys() == FORMAT_PATTERNS.keys()
_TEXT = st.text(st.sampled_from('aZ0 .,-/é"\\\n€'), max_size=8)
_ANY = st.sampled_from([None, True, 3, Decimal("1.5"), "a", [], ["a", 1], {}, {"a": {"b": [None]}}])


def values(compiled: CompiledSchema) -> st.SearchStrategy[Any]:
    """Values of a schema, most of them valid."""
    schema = compiled.decoder.schema
    return _place(schema["$defs"], {key: value for key, value in schema.items() if key != "$defs"}, 0)


def _place(defs: dict[str, Any], place: Any, level: int) -> st.SearchStrategy[Any]:
    if place == {}:
        return _ANY
    if not isinstance(place, dict):
        return st.nothing()
    if "$ref" in place:
        target = defs[place["$ref"].removeprefix("#/$defs/")]
        return st.deferred(lambda: _container(defs, target, level + 1))
    if "anyOf" in place:
        parts = place["anyOf"]
        if level >= _LEVELS and any("$ref" not in part for part in parts):
            parts = [part for part in parts if "$ref" not in part]
        return st.one_of(*(_place(defs, part, level) for part in parts))
    if "enum" in place:
        return st.sampled_from(place["enum"])
    match place["type"]:
        case "string":
            return _text(place)
        case "integer" | "number":
            return _number(place)
        case "boolean":
            return st.booleans()
    return st.none()


def _text(place: dict[str, Any]) -> st.SearchStrategy[Any]:
    low, high = int(place.get("minLength", 0)), place.get("maxLength")
    if place.get("format") in _EXAMPLES:
        return st.just(_EXAMPLES[place["format"]])
    if "pattern" in place:
        with contextlib.suppress(re.error):  # RE2 and ECMA 262 have escapes that Python lacks
            re.compile(place["pattern"])
            return _matching(place["pattern"])
        return _TEXT
    return _TEXT.map(lambda text: (text + "x" * low)[: None if high is None else max(int(high), low)])


def _matching(pattern: str) -> st.SearchStrategy[str]:
    found = st.from_regex(pattern, alphabet=st.characters(codec="ascii", exclude_categories=["Cc"]))
    return found.map(lambda text: text.removesuffix("\n"))


def _number(place: dict[str, Any]) -> st.SearchStrategy[Any]:
    step = Decimal(place.get("multipleOf", 1 if place["type"] == "integer" else Decimal("0.01")))
    low = _bound(place, "minimum", "exclusiveMinimum", step)
    high = _bound(place, "maximum", "exclusiveMaximum", -step)
    low = low if low is not None else (high if high is not None and high < 0 else Decimal(0)) - 50 * step
    high = high if high is not None else low + 100 * step
    first, last = (low / step).to_integral_value(ROUND_CEILING), (high / step).to_integral_value(ROUND_FLOOR)
    if first > last:
        return st.just(int(low) if place["type"] == "integer" else low)
    numbers = st.integers(int(first), int(last)).map(lambda count: count * step)
    return numbers.map(int) if place["type"] == "integer" else numbers


def _bound(place: dict[str, Any], name: str, exclusive: str, step: Decimal) -> Decimal | None:
    found = [Decimal(place[name])] if name in place else []
    found += [Decimal(place[exclusive]) + step] if exclusive in place else []
    return (max(found) if step > 0 else min(found)) if found else None


def _container(defs: dict[str, Any], target: dict[str, Any], level: int) -> st.SearchStrategy[Any]:
    return (_list if target["type"] == "array" else _object)(defs, target, level)


def _list(defs: dict[str, Any], target: dict[str, Any], level: int) -> st.SearchStrategy[Any]:
    low = int(target.get("minItems", 0))
    high = min(int(target.get("maxItems", low + 2)), low + 2)
    first = [_place(defs, one, level) for one in target.get("prefixItems", ())]
    if level >= _LEVELS:
        high = low
    if not first:
        item = target.get("items", {})
        return st.lists(_place(defs, item, level), min_size=low, max_size=high if item is not False else 0)
    rest = _place(defs, target.get("items", {}), level)
    more = max(0, low - len(first))
    tail = st.just([]) if target.get("items") is False else st.lists(rest, min_size=more, max_size=more)
    return st.tuples(st.tuples(*first), tail).map(lambda two: [*two[0], *two[1]])


def _object(defs: dict[str, Any], target: dict[str, Any], level: int) -> st.SearchStrategy[Any]:
    required = set(target.get("required", ()))
    fields = {name: inner for name, inner in target["properties"].items() if inner is not False}
    needed = {name: _place(defs, inner, level) for name, inner in fields.items() if name in required}
    optional = {name: _place(defs, inner, level) for name, inner in fields.items() if name not in required}
    if level >= _LEVELS:
        optional = {}
    drawn = st.fixed_dictionaries(needed, optional=optional)
    other = target.get("additionalProperties", False)
    if other is False or level >= _LEVELS:
        return drawn
    names = st.sampled_from(["x1", "other name"])
    return st.tuples(drawn, st.dictionaries(names, _place(defs, other, level), max_size=1)).map(
        lambda two: {**two[1], **two[0]} if not two[1].keys() & fields.keys() else two[0]
    )
