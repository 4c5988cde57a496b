"""Resolve references, ``allOf``, alternatives and rules that add fields: one schema describes one place.

All functions take a checked schema: its references exist, and none is circular without a field between.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from slmstudio.contract.schema.dialect import identity
from slmstudio.contract.schema.work import spend

#: where ``resolve`` stores the fields that ``then``, ``else`` and ``dependentSchemas`` add
WHEN: Final = "x-slm-when"
#: keywords whose schemas describe the same value, not a part of it
IN_PLACE: Final = ("$ref", "allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas")
#: keywords that define a value; the others only add rules
_SHAPING: Final = frozenset(
    {"type", "properties", "items", "prefixItems", "enum", "const", "additionalProperties", "patternProperties", WHEN}
)
#: maximum number of alternatives of a value that are kept separate
MAX_FORMS: Final = 50
#: annotations of a place, not of one alternative of its value
_PLACE_ANNOTATIONS: Final = frozenset({"title", "description", "default", "examples", "x-slm", "$defs", "definitions"})


def follow(root: dict[str, Any], reference: str) -> Any:
    """The target of a local reference (``#/$defs/row``). Raises KeyError if there is none."""
    spend(1 + len(reference) // 64)
    target: Any = root
    for step in reference.removeprefix("#").split("/")[1:]:
        step = step.replace("~1", "/").replace("~0", "~")
        if isinstance(target, list):
            if not step.isdigit() or int(step) >= len(target):
                raise KeyError(reference)
            target = target[int(step)]
        elif isinstance(target, dict) and step in target:
            target = target[step]
        else:
            raise KeyError(reference)
    return target


def is_null(schema: Any) -> bool:
    """Whether a schema allows null and nothing else."""
    if not isinstance(schema, dict):
        return False
    nothing = schema.get("type") in ("null", ["null"]) or schema.get("enum") == [None]
    return nothing or ("const" in schema and schema["const"] is None)


def merge(base: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """The intersection of two schemas; if one schema cannot express both (two patterns), ``other`` wins."""
    merged = {**base, **other}
    spend(1 + len(merged))
    for key in base.keys() & other.keys():
        own, their = base[key], other[key]
        if key in ("properties", "patternProperties"):
            spend(len(own) + len(their))
            shared = {name: _both(own[name], inner) for name, inner in their.items() if name in own}
            merged[key] = {**own, **their, **shared}
        elif key == WHEN:
            shared = {name: _either(own[name], inner) for name, inner in their.items() if name in own}
            merged[key] = {**own, **their, **shared}
        elif key in ("items", "additionalProperties"):
            merged[key] = _both(own, their)
        elif key == "required":
            spend(len(own) + len(their))
            merged[key] = list(dict.fromkeys([*own, *their]))
        elif key in ("anyOf", "oneOf"):
            merged[key] = _product(own, their)
        elif key in _STRICTER:
            merged[key] = _STRICTER[key](own, their)
        elif key == "type":
            merged[key] = _shared_types(own, their)
        elif key == "enum":
            spend(len(own) + len(their))
            known = {identity(value) for value in own}
            merged[key] = [value for value in their if identity(value) in known] or their
    return merged


#: keywords for which the stricter value wins
_STRICTER: Final[dict[str, Callable[[Any, Any], Any]]] = {
    **dict.fromkeys(("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"), max),
    **dict.fromkeys(("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"), min),
}


def _shared_types(base: Any, other: Any) -> Any:
    first, second = ([value] if isinstance(value, str) else value for value in (base, other))
    shared = [name for name in second if name in first or (name == "integer" and "number" in first)]
    shared += ["integer"] if "number" in second and "integer" in first and "integer" not in shared else []
    return other if not shared or shared == second else shared


def _both(base: Any, other: Any) -> Any:
    """The intersection of two schemas of the same place."""
    if base is False or other is False:
        return False
    if base == other or base is True:
        return other
    if other is True:
        return base
    if any(key in base and key in other for key in IN_PLACE):
        return _all_of(base, other)
    return merge(base, other)


def _all_of(*schemas: Any) -> Any:
    """The ``allOf`` of schemas, flat and each part once: a recursion that narrows itself would grow with each level."""
    parts: list[Any] = []
    for schema in schemas:
        spend(1 + len(parts))
        parts += [part for part in _parts(schema) if part not in parts]
    return parts[0] if len(parts) == 1 else {"allOf": parts}


def _parts(schema: Any) -> list[Any]:
    """What a schema is the ``allOf`` of."""
    spend()
    if not isinstance(schema, dict) or not any(key in schema for key in ("allOf", "$ref")):
        return [schema]
    if any(key.startswith("unevaluated") for key in schema):
        return [schema]
    rest = {key: value for key, value in schema.items() if key not in ("allOf", "$ref")}
    return [
        *(part for inner in schema.get("allOf", ()) for part in _parts(inner)),
        *([{"$ref": schema["$ref"]}] if "$ref" in schema else []),
        *([rest] if rest else []),
    ]


def _either(base: Any, other: Any) -> Any:
    """The schema of a field that two rules define."""
    known = base["anyOf"] if isinstance(base, dict) and base.keys() == {"anyOf"} else [base]
    return base if other in known else {"anyOf": [*known, other]}


def _product(base: list[Any], other: list[Any]) -> list[Any]:
    """The product of two lists of alternatives as one list; only the second list if that would be too long."""
    if base == other or len(base) * len(other) > MAX_FORMS:
        return other
    return [_all_of(first, second) for first in base for second in other]


def resolve(root: dict[str, Any], schema: Any) -> tuple[dict[str, Any], bool]:
    """A schema with its references, ``allOf`` and "this or null" resolved, and whether null is allowed by that.

    A choice written as a list of ``const`` becomes an ``enum``; fields that only rules define are stored under WHEN.
    """
    if not isinstance(schema, dict):
        return {}, False
    spend()
    nullable = False
    if "$ref" in schema:
        target, nullable = resolve(root, follow(root, schema["$ref"]))
        schema = merge(target, {key: value for key, value in schema.items() if key != "$ref"})
    if "allOf" in schema:
        merged: dict[str, Any] = {}
        for part in schema["allOf"]:
            merged = merge(merged, resolve(root, part)[0])
        schema = merge(merged, {key: value for key, value in schema.items() if key != "allOf"})
    for key in ("anyOf", "oneOf"):
        parts = schema.get(key)
        if isinstance(parts, list):
            others = [part for part in parts if not is_null(part)]
            if len(others) == 1:
                target, inner = resolve(root, others[0])
                schema = merge(target, {name: value for name, value in schema.items() if name != key})
                nullable = nullable or inner or len(others) < len(parts)
            elif "enum" not in schema and (values := _choices(root, parts)):
                schema = {**schema, "enum": values}
    return _noted(root, schema), nullable


def takes_null(root: dict[str, Any], schema: Any) -> bool:
    """Whether null is valid for a checked schema."""
    if not isinstance(schema, dict):
        return schema is not False
    spend()

    def takes(part: Any) -> bool:
        return takes_null(root, part)

    types = schema.get("type", "null")
    if "null" not in ([types] if isinstance(types, str) else types):
        return False
    if ("enum" in schema and None not in schema["enum"]) or schema.get("const") is not None:
        return False
    if "$ref" in schema and not takes(follow(root, schema["$ref"])):
        return False
    if not all(map(takes, schema.get("allOf", ()))) or not any(map(takes, schema.get("anyOf", (True,)))):
        return False
    if "oneOf" in schema and sum(map(takes, schema["oneOf"])) != 1:
        return False
    if "if" in schema and not takes(schema.get("then" if takes(schema["if"]) else "else", True)):
        return False
    return "not" not in schema or not takes(schema["not"])


def _choices(root: dict[str, Any], parts: list[Any]) -> list[Any]:
    """The values of alternatives that are all a const or an enum; else none."""
    values: list[Any] = []
    for part in parts:
        resolved = {"enum": [None]} if is_null(part) else resolve(root, part)[0]
        constants = [resolved["const"]] if "const" in resolved else resolved.get("enum", [])
        if not constants or any(isinstance(value, dict | list) for value in constants):
            return []
        values += constants
    return list({identity(value): value for value in values}.values())


def _noted(root: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with the fields that its rules add; none if it is closed, as they would not be allowed."""
    rules = [schema[key] for key in ("then", "else") if key in schema and "if" in schema]
    rules += schema.get("dependentSchemas", {}).values()
    if not rules or schema.get("additionalProperties") is False:
        return schema
    when = dict(schema.get(WHEN, {}))
    for rule in rules:
        resolved = resolve(root, rule)[0]
        for name, inner in {**resolved.get("properties", {}), **resolved.get(WHEN, {})}.items():
            if inner is not False:
                when[name] = _either(when[name], inner) if name in when else inner
    return {**schema, WHEN: when} if when else schema


def properties_of(resolved: dict[str, Any]) -> dict[str, Any]:
    """The fields of an object: the declared ones, then those that only its rules define."""
    declared: dict[str, Any] = resolved.get("properties", {})
    if WHEN not in resolved:
        return declared
    return {**declared, **{name: inner for name, inner in resolved[WHEN].items() if name not in declared}}


def branches(root: dict[str, Any], resolved: dict[str, Any]) -> list[dict[str, Any]]:
    """The alternatives of a value, each merged with what they share.

    A part that itself has alternatives counts as these. None if there are no alternatives, if the parts only add rules
    (``anyOf: [{required: [a]}, {required: [b]}]``), if it is a choice of plain values, and beyond MAX_FORMS.
    """
    forms = list(islice(forms_of(root, resolved), MAX_FORMS + 1))
    return forms if 1 < len(forms) <= MAX_FORMS else []


def has_too_many_forms(root: dict[str, Any], resolved: dict[str, Any]) -> bool:
    """Whether a value has more than MAX_FORMS alternatives."""
    return len(list(islice(forms_of(root, resolved), MAX_FORMS + 1))) > MAX_FORMS


def forms_of(root: dict[str, Any], resolved: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """All alternatives of ``branches``, however many."""
    if "enum" in resolved or "const" in resolved:
        return
    for key in ("oneOf", "anyOf"):
        parts = [part for part in resolved.get(key, ()) if not is_null(part)]
        solid = [resolve(root, part)[0] for part in parts]
        if len(solid) > 1 and any(_shapes(part) for part in solid):
            base = {name: value for name, value in resolved.items() if name != key and name not in _PLACE_ANNOTATIONS}
            for part in solid:
                form = merge(base, part)
                inner = False
                for inner_form in forms_of(root, form):
                    inner = True
                    yield inner_form
                if not inner:
                    yield form
            return


def _shapes(part: dict[str, Any]) -> bool:
    """Whether a part defines a value. ``properties`` that only exclude others do not."""
    if any(key in part for key in ("oneOf", "anyOf")):
        return True
    return any(key in part and not (key == "properties" and _only_rules(part)) for key in _SHAPING)


def _only_rules(part: dict[str, Any]) -> bool:
    return all(inner is False or inner is True or inner == {} for inner in part["properties"].values())


def types_of(schema: dict[str, Any]) -> list[str]:
    """The JSON types that a resolved schema allows; empty if it does not say."""
    declared = schema.get("type")
    if isinstance(declared, str):
        return [declared]
    if isinstance(declared, list):
        return list(declared)
    values = schema["enum"] if "enum" in schema else [schema["const"]] if "const" in schema else None
    if values is not None:
        return list(dict.fromkeys(type_of(value) for value in values))
    if "properties" in schema or WHEN in schema:
        return ["object"]
    return ["array"] if "items" in schema or "prefixItems" in schema else []


def type_of(value: Any) -> str:
    """The JSON type of a value."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    for kind, name in ((str, "string"), (dict, "object"), (list, "array")):
        if isinstance(value, kind):
            return name
    return "number"


# -- recursion ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TreeCut:
    """Where the tree of a schema ends (``tree_cuts``): at the schemas with these ids, and at schemas resolved from a
    reference to the same target (``refs``), which are not among the ``known`` schemas.
    """

    ids: frozenset[int] = frozenset()
    refs: frozenset[str] = frozenset()
    known: frozenset[int] = frozenset()

    def holds(self, schema: Any) -> bool:
        """Whether the tree ends at this schema."""
        if not isinstance(schema, dict):
            return False
        if id(schema) in self.ids:
            return True
        folded = id(schema) not in self.known
        return folded and (schema.get("$ref") in self.refs or any(map(self.holds, schema.get("allOf", ()))))


def loops(edges: dict[int, list[int]]) -> Iterator[list[int]]:
    """The strongly connected components of a graph (Tarjan 1972, without recursion); single nodes only if they have an
    edge to themselves.
    """
    index: dict[int, int] = {}
    low: dict[int, int] = {}
    stack: list[int] = []
    on_stack: set[int] = set()
    for start in edges:
        if start in index:
            continue
        work: list[tuple[int, Iterator[int]]] = [(start, iter(edges[start]))]
        index[start] = low[start] = len(index)
        stack.append(start)
        on_stack.add(start)
        while work:
            node, inner = work[-1]
            for other in inner:
                if other not in index:
                    index[other] = low[other] = len(index)
                    stack.append(other)
                    on_stack.add(other)
                    work.append((other, iter(edges.get(other, ()))))
                    break
                if other in on_stack:
                    low[node] = min(low[node], index[other])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    group = []
                    while True:
                        member = stack.pop()
                        on_stack.discard(member)
                        group.append(member)
                        if member == node:
                            break
                    if len(group) > 1 or node in edges.get(node, ()):
                        yield group
