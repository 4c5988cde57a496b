"""Strategies for schemas of every accepted kind, each with valid values."""

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from slmstudio.contract.schema.dialect import FORMAT_PATTERNS, has_format
from tests.contract.samples import json_values

Values = st.SearchStrategy[Any]
Part = tuple[Any, Values]

NAMES = ["a", "b", "c", "id", "x y", "x.y", "é", 'q"', "*", "constructor", "__proto__", "toString", "hasOwnProperty"]
PATTERNS = ["^[A-Z]{2}[0-9]+$", "^a|b$", "[0-9]", "^(a+)+$", r"^\d{3}-\d{4}$", r"^[^\s]+@x$", "^.{0,3}$", r"^\w*$"]
COPIED = {"x-slm": {"evidence": "required"}}
_words = st.text('aAbB12 -é"\\\n\t/😀', max_size=6)
_decimals = st.decimals(-1000, 1000, places=2) | st.sampled_from(
    [Decimal("1E+2"), Decimal("12.0"), Decimal("-0.0"), Decimal("1E-7"), Decimal("0.10"), 7, 0, -3]
)


@dataclass
class Making:
    """A schema in the making: its definitions, and how deep the part in hand lies."""

    draw: st.DrawFn
    defs: dict[str, Any] = field(default_factory=dict)

    def chance(self, share: float) -> bool:
        """True in about this share of cases."""
        return self.draw(st.integers(0, 99)) < share * 100

    def pick(self, *options: Any) -> Any:
        """One of these."""
        return self.draw(st.sampled_from(options))


def _string(making: Making) -> Part:
    match making.pick("plain", "plain", "length", "pattern", "format", "both", "copied"):
        case "plain":
            return {"type": "string"}, _words
        case "copied":
            longest = making.pick(0, 1, 10, 60)
            bounds = {"maxLength": longest} if making.chance(0.5) else {}
            words = st.sampled_from(["tea", "green tea", "A", 'ABC "HO" 3', ""])
            return {"type": "string", **bounds, **COPIED}, words.map(lambda text: text[:longest] if bounds else text)
        case "length":
            least, most = sorted((making.pick(0, 1, 2), making.pick(0, 1, 3, 6)))
            return {"type": "string", "minLength": least, "maxLength": most}, st.text(
                "ab é", min_size=least, max_size=most
            )
        case "pattern":
            pattern = making.pick(*PATTERNS)
            return {"type": "string", "pattern": pattern}, _like(pattern)
        case "both":
            narrow = {"type": "string", "format": "date-time", "pattern": "(Z|[+-][0-9:]+)$"}
            return narrow, st.sampled_from(["2026-01-14T08:30:00Z", "2026-01-14t08:30:00.5+02:00"])
    name = making.pick(*FORMAT_PATTERNS)
    values = st.from_regex(FORMAT_PATTERNS[name], fullmatch=True).filter(lambda text: has_format(name, text))
    return {"type": "string", "format": name}, values


def _like(pattern: str) -> Values:
    return st.from_regex(pattern, alphabet=st.characters(codec="utf-8", exclude_characters="\0\x7f\n"))


def _number(making: Making) -> Part:
    type_ = making.pick("number", "integer")
    values: Values = _decimals if type_ == "number" else st.integers(-1000, 1000) | st.sampled_from(
        [Decimal("12.0"), Decimal("1E+2"), 2**70]
    )  # fmt: skip
    schema: dict[str, Any] = {"type": type_}
    if making.chance(0.4):
        schema[making.pick("minimum", "exclusiveMinimum")] = making.pick(0, -5, Decimal("0.5"), -1000)
    if making.chance(0.3):
        schema[making.pick("maximum", "exclusiveMaximum")] = making.pick(100, Decimal("99.99"), 1000, 10**30)
    if making.chance(0.2):
        schema["multipleOf"] = making.pick(Decimal("0.01"), 2, Decimal("0.5"))
        values = st.integers(-100, 100).map(lambda times: times * schema["multipleOf"])
    return schema, values


def _choice(making: Making) -> Part:
    if making.chance(0.2):
        return {"type": ["string", "null"], "enum": ["A", "b", None, 3]}, st.sampled_from(["A", "b", None])
    pool = ["A", "b c", "", 1, Decimal("1.50"), Decimal("2.0"), True, None, "1", {"y": 1, "x": [Decimal("1.0")]}, ["z"]]
    values = making.draw(st.lists(st.sampled_from(pool), min_size=1, max_size=4, unique_by=repr))
    if making.chance(0.3):
        return {"const": values[0]}, st.just(values[0])
    if making.chance(0.2):
        return {making.pick("oneOf", "anyOf"): [{"const": value, "title": "T"} for value in values]}, st.sampled_from(
            values
        )
    return {"enum": values}, st.sampled_from(values)


def _plain(making: Making) -> Part:
    return making.pick(
        ({"type": "boolean"}, st.booleans()),
        ({}, json_values),
        (True, json_values),
        ({"type": "null"}, st.none()),
        ({"type": ["string", "integer"]}, _words | st.integers(0, 9)),
        ({"type": "object"}, st.dictionaries(_words, json_values, max_size=2)),
        ({"type": "object", "properties": {}}, st.dictionaries(_words, json_values, max_size=2)),
        ({"type": "array"}, st.lists(json_values, max_size=2)),
    )


def _leaf(making: Making) -> Part:
    return making.pick(_string, _string, _number, _choice, _plain)(making)


def _object(making: Making, depth: int) -> Part:
    names = making.draw(st.lists(st.sampled_from(NAMES), max_size=4, unique=True))
    parts = {name: part(making, depth - 1) for name in names}
    required = [name for name in names if making.chance(0.4)]
    schema: dict[str, Any] = {"type": "object", "properties": {name: inner for name, (inner, _) in parts.items()}}
    if required or making.chance(0.2):
        schema["required"] = required
    values = {name: inner for name, (_, inner) in parts.items()}
    extras: Values = st.just({})
    if making.chance(0.2):
        inner, inside = part(making, depth - 1)
        schema["patternProperties"] = {"^x-": inner}
        extras = st.dictionaries(st.sampled_from(["x-1", "x-é"]), inside, max_size=2)
    match making.pick("absent", "absent", False, False, True, "schema", "schema"):
        case False:
            schema["additionalProperties"] = False
        case True:
            schema["additionalProperties"] = True
            extras = _joined(st.dictionaries(st.sampled_from(["m 1", "m2", ""]), json_values, max_size=2), extras)
        case "schema":
            schema["additionalProperties"], inside = part(making, depth - 1)
            extras = _joined(st.dictionaries(st.sampled_from(["m 1", "m2", ""]), inside, max_size=2), extras)
    if making.chance(0.1):
        schema[making.pick("minProperties", "maxProperties")] = making.pick(1, 2, 3)
    if len(names) > 1 and making.chance(0.1):
        schema["dependentRequired"] = {names[0]: [names[1]]}
    values = _ruled_by(making, depth, schema, names, values)
    return schema, _shuffled(_joined(_fields(values, required), extras))


def _ruled_by(
    making: Making, depth: int, schema: Any, names: list[str], values: dict[str, Values]
) -> dict[str, Values]:
    """Rules between the fields of an object, at times; and the values with the fields that rules speak of."""
    if not names or making.chance(0.7):
        return values
    match making.pick("any", "not", "depends", "names", "unevaluated"):
        case "any":
            schema[making.pick("anyOf", "oneOf")] = [{"required": [name]} for name in names[:2]]
        case "not":
            schema["not"] = {"required": names[:2]}
        case "depends":
            inner, inside = part(making, depth - 1)
            schema["dependentSchemas"] = {names[0]: {"properties": {"dep": inner}}}
            if schema.get("additionalProperties", True) is not False and "dep" not in values:
                return {**values, "dep": inside}
        case "names":
            schema["propertyNames"] = {"pattern": making.pick("^[^x]", "^.{1,14}$")}
        case "unevaluated":
            schema["unevaluatedProperties"] = False
    return values


def _fields(values: dict[str, Values], required: list[str]) -> Values:
    wanted = {name: inner for name, inner in values.items() if name in required}
    return st.fixed_dictionaries(
        wanted, optional={name: inner for name, inner in values.items() if name not in required}
    )


def _joined(first: Values, second: Values) -> Values:
    return st.tuples(first, second).map(lambda both: {**both[0], **both[1]})


def _shuffled(values: Values) -> Values:
    return values.flatmap(lambda value: st.permutations(list(value)).map(lambda names: {n: value[n] for n in names}))


def _rows(making: Making, depth: int) -> Part:
    inner, values = part(making, depth - 1)
    schema: dict[str, Any] = {"type": "array", "items": inner}
    most = making.pick(0, 1, 3, 3, 3)
    if most < 3 or making.chance(0.3):
        schema["maxItems"] = most
    if making.chance(0.2):
        schema["minItems"] = min(1, most)
    if making.chance(0.1):
        schema["uniqueItems"] = True
    if making.chance(0.1):
        schema["contains"] = inner
    return schema, st.lists(values, max_size=most)


def _tuple(making: Making, depth: int) -> Part:
    parts = [part(making, depth - 1) for _ in range(making.pick(1, 2, 3))]
    schema: dict[str, Any] = {"type": "array", "prefixItems": [inner for inner, _ in parts]}
    values: Values = st.tuples(*[inner for _, inner in parts]).map(list)
    match making.pick(False, "absent", "schema"):
        case False:
            schema["items"] = False
        case "schema":
            schema["items"], rest = part(making, depth - 1)
            values = st.tuples(values, st.lists(rest, max_size=2)).map(lambda both: both[0] + both[1])
    if making.chance(0.5):
        schema["minItems"] = len(parts)
    else:
        values = st.tuples(values, st.integers(0, 3)).map(lambda both: both[0][: len(both[0]) - both[1]] or both[0])
    return schema, values


def _union(making: Making, depth: int) -> Part:
    parts = [part(making, depth - 1) for _ in range(making.pick(2, 3))]
    return {making.pick("anyOf", "oneOf"): [inner for inner, _ in parts]}, st.one_of([values for _, values in parts])


def _turned(making: Making, depth: int) -> Part:
    """Forms with the same fields in another order, one of them with a discriminator, perhaps with shared fields."""
    names = making.draw(st.lists(st.sampled_from(NAMES), min_size=2, max_size=4, unique=True))
    parts = {name: part(making, depth - 1) for name in names}
    values = {name: inner for name, (_, inner) in parts.items()}
    forms, all_values = [], []
    for number in range(making.pick(2, 3)):
        order = making.draw(st.permutations(names))[: making.pick(2, 4)]
        fields = {**{name: parts[name][0] for name in order}, "is": {"const": f"k{number}"}}
        form: dict[str, Any] = {"type": "object", "properties": fields, "required": ["is"]}
        if making.chance(0.5):
            form["additionalProperties"] = False
        if making.chance(0.3):
            making.defs[f"form{len(making.defs)}"] = form
            form = {"$ref": f"#/$defs/form{len(making.defs) - 1}"}
        forms.append(form)
        own = {**{name: values[name] for name in order}, "is": st.just(f"k{number}")}
        all_values.append(_shuffled(_fields(own, ["is"])))
    return {making.pick("anyOf", "oneOf"): forms}, st.one_of(all_values)


def _nullable(making: Making, depth: int) -> Part:
    inner, values = part(making, depth - 1)
    if isinstance(inner, dict) and isinstance(inner.get("type"), str) and making.chance(0.4):
        return {**inner, "type": [inner["type"], "null"]}, st.none() | values
    null: Any = {"type": "null"}
    forms = [inner, null] if making.chance(0.7) else [null, inner]
    return {making.pick("anyOf", "oneOf"): forms}, st.none() | values


def _both_nullable(making: Making, depth: int) -> Part:
    (schema, first), (other, second) = _nullable(making, depth), _nullable(making, depth)
    return {making.pick("oneOf", "anyOf"): [schema, other]}, first | second | st.none()


def _all_of(making: Making, depth: int) -> Part:
    parts = [_object(making, depth - 1), _object(making, depth - 1)]
    schemas = [inner for inner, _ in parts]
    if making.chance(0.3):
        making.defs[f"all{len(making.defs)}"] = schemas[0]
        schemas[0] = {"$ref": f"#/$defs/all{len(making.defs) - 1}"}
    return {"allOf": schemas}, _joined(parts[0][1], parts[1][1])


def _referred(making: Making, depth: int) -> Part:
    inner, values = part(making, depth - 1)
    name = f"d{len(making.defs)}"
    making.defs[name] = inner
    annotations = making.pick({}, {}, {"description": "as printed"}, {"title": "T"})
    return {"$ref": f"#/$defs/{name}", **annotations}, values


def _recursive(making: Making, depth: int) -> Part:
    name = f"node{len(making.defs)}"
    making.defs[name] = {}
    own, values = part(making, depth - 1)
    here = {"$ref": f"#/$defs/{name}"}
    shape = making.pick("list", "nullable", "optional", "map", "forms")
    inner = {
        "list": {"type": "array", "items": here},
        "nullable": {"anyOf": [here, {"type": "null"}]},
        "optional": here,
        "map": {"type": "object", "additionalProperties": here},
        "forms": {"anyOf": [{"type": "string"}, here]},
    }[shape]
    fields = [("own", own), ("inner", inner)]
    making.defs[name] = {
        "type": "object",
        "properties": dict(fields if making.chance(0.5) else reversed(fields)),
        "required": ["own"],
        "additionalProperties": False,
    }
    around: Callable[[Values], Values] = {
        "list": lambda node: st.lists(node, max_size=2),
        "nullable": lambda node: st.none() | node,
        "optional": lambda node: node,
        "map": lambda node: st.dictionaries(st.sampled_from(["k", "l m"]), node, max_size=2),
        "forms": lambda node: st.just("s") | node,
    }[shape]
    nodes: Values = st.fixed_dictionaries({"own": values})
    for _ in range(2):
        nodes = _shuffled(st.fixed_dictionaries({"own": values}, optional={"inner": around(nodes)}))
    return here, nodes


def _ruled(making: Making, depth: int) -> Part:
    """Fields that depend on the value of another."""
    (then, first), (otherwise, second) = part(making, depth - 1), part(making, depth - 1)
    rule = {
        "if": {"properties": {"is": {"const": "x"}}, "required": ["is"]},
        "then": {"properties": {"more": then}, "required": ["more"]},
        "else": {"properties": {"more": otherwise}},
    }
    schema = {
        "type": "object",
        "properties": {"is": {"enum": ["x", "y"]}},
        **({"allOf": [rule]} if making.chance(0.5) else rule),
    }
    when = st.fixed_dictionaries({"is": st.just("x"), "more": first})
    return schema, when | st.fixed_dictionaries({}, optional={"is": st.just("y"), "more": second})


def part(making: Making, depth: int) -> Part:
    """A schema with the values that it is meant for."""
    if depth <= 0 or making.chance(0.25):
        return _leaf(making)
    made: Part = making.pick(
        _object, _object, _object, _rows, _rows, _tuple, _union, _turned, _turned, _nullable, _nullable,
        _both_nullable, _all_of, _referred, _referred, _recursive, _ruled,
    )(making, depth)  # fmt: skip
    return made


@st.composite
def schemas_of_every_kind(draw: st.DrawFn, depth: int = 3) -> tuple[dict[str, Any], Values]:
    """A schema for one document, and values that are mostly valid by it."""
    making = Making(draw)
    if making.chance(0.3):
        schema, values = making.pick(_turned, _all_of, _ruled)(making, depth)
    else:
        first, inner = part(making, depth - 1)
        schema, values = _object(making, depth)
        schema = {**schema, "properties": {"first": first, **schema["properties"]}}
        with_first: Values = _joined(values, st.fixed_dictionaries({}, optional={"first": inner}))
        values = _shuffled(with_first)
        if making.chance(0.15):
            schema["properties"]["like"] = {"$ref": "#/properties/first"}
            values = _shuffled(_joined(values, st.fixed_dictionaries({}, optional={"like": inner})))
        elif making.chance(0.15):
            schema["properties"]["again"] = {"$ref": "#"}
            values = st.one_of(values, _joined(values, st.fixed_dictionaries({"again": with_first})))
    root = {**schema, **({"$defs": making.defs} if making.defs else {})}
    if making.chance(0.1):
        root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return root, values
