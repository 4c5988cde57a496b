"""The shape of a schema: references followed, objects and arrays as a tree, every leaf as a Field."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from slmstudio.contract.jsontext import dumps, loads

_PLAIN_NAME = re.compile(r'[^.\[\]"\\\s]+')
_CLASH = ("if", "dependentRequired", "dependentSchemas", "maxProperties", "not", "anyOf", "oneOf")
_SCALARS = {"string", "number", "integer", "boolean"}


@dataclass(frozen=True, slots=True)
class Field:
    """One leaf of a schema, and all that comparing, finding and showing its values needs.

    ``pattern`` is the path with ``[]`` for every row (``line_items[].amount``), ``type`` one of string, number,
    integer, boolean, object, array, any. ``kind`` says how values are compared, ``evidence`` (none, expected, required)
    whether they should be found in the document: by default expected for texts, numbers and dates, none for choices,
    booleans, free text and whole objects. ``cost`` is what an error costs in the contract's currency; 0 where the
    schema does not say.
    """

    pattern: str
    name: str
    title: str
    description: str
    type: str
    kind: str
    format: str
    enum: tuple[Any, ...]
    nullable: bool
    required: bool
    locale: str
    evidence: str
    cost: float
    date_order: str
    ignore: tuple[str, ...] = ("spacing",)
    currency: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Node:
    """One place in the schema: an object with children, an array with an item, or a leaf with its field."""

    shape: str
    pattern: str
    schema: dict[str, Any]
    required: bool
    nullable: bool
    children: dict[str, "Node"]
    item: "Node | None" = None
    field: Field | None = None
    ordered: bool = False
    fills: bool = True

    def leaves(self) -> Iterator[Field]:
        """The fields at and below this node, in schema order."""
        if self.field is not None:
            yield self.field
        elif self.item is not None:
            yield from self.item.leaves()
        for child in self.children.values():
            yield from child.leaves()

    def nodes(self) -> Iterator["Node"]:
        """This node and all below it, in schema order."""
        yield self
        if self.item is not None:
            yield from self.item.nodes()
        for child in self.children.values():
            yield from child.nodes()


def join(path: str, name: str | int) -> str:
    """Extend a path: ``a`` + ``b`` is ``a.b``, ``a`` + 0 is ``a[0]``, odd names are quoted: ``a["x.y"]``."""
    if isinstance(name, int):
        return f"{path}[{name}]"
    if not _PLAIN_NAME.fullmatch(name):
        return f"{path}[{dumps(name)}]"
    return f"{path}.{name}" if path else name


_STEP = re.compile(r'\[(\d*)\]|\[("(?:[^"\\]|\\.)*")\]|\.?([^.\[\]"\\\s]+)')


def split(path: str) -> tuple[str | int | None, ...]:
    """The steps of a path written by ``join``; a bare ``[]`` is None. Raises ValueError on anything else."""
    steps: list[str | int | None] = []
    position = 0
    while position < len(path):
        match = _STEP.match(path, position)
        if not match:
            raise ValueError(f"{path!r} is not a path")
        index, quoted, name = match.groups()
        if name is not None:
            steps.append(name)
        elif quoted is not None:
            steps.append(loads(quoted))
        else:
            steps.append(int(index) if index else None)
        position = match.end()
    return tuple(steps)


def pattern_of(path: str) -> str:
    """The pattern of a concrete path: ``line_items[3].amount`` is ``line_items[].amount``."""
    return re.sub(r"\[\d+\]", "[]", path)


def follow(root: dict[str, Any], reference: str) -> Any:
    """What a local reference (``#/$defs/row``) points to. Raises KeyError where it points nowhere."""
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


def _is_null(schema: Any) -> bool:
    return isinstance(schema, dict) and (schema.get("type") in ("null", ["null"]) or schema.get("enum") == [None])


def _merge(base: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    merged = {**base, **other}
    if "properties" in base and "properties" in other:
        merged["properties"] = {**base["properties"], **other["properties"]}
    if "required" in base and "required" in other:
        merged["required"] = [*base["required"], *other["required"]]
    return merged


def resolve(root: dict[str, Any], schema: Any) -> tuple[dict[str, Any], bool]:
    """A schema with its references, ``allOf`` and "this or null" folded in, and whether null is allowed by the fold."""
    if not isinstance(schema, dict):
        return {}, False
    nullable = False
    if "$ref" in schema:
        target, nullable = resolve(root, follow(root, schema["$ref"]))
        schema = _merge(target, {key: value for key, value in schema.items() if key != "$ref"})
    if "allOf" in schema:
        merged: dict[str, Any] = {}
        for part in schema["allOf"]:
            merged = _merge(merged, resolve(root, part)[0])
        schema = _merge(merged, {key: value for key, value in schema.items() if key != "allOf"})
    for key in ("anyOf", "oneOf"):
        parts = schema.get(key)
        if isinstance(parts, list):
            others = [part for part in parts if not _is_null(part)]
            if len(others) == 1 and len(others) < len(parts):
                target, _ = resolve(root, others[0])
                schema = _merge(target, {name: value for name, value in schema.items() if name != key})
                nullable = True
    return schema, nullable


def _types(schema: dict[str, Any]) -> list[str]:
    declared = schema.get("type")
    if isinstance(declared, str):
        return [declared]
    if isinstance(declared, list):
        return list(declared)
    values = schema["enum"] if "enum" in schema else [schema["const"]] if "const" in schema else None
    if values is not None:
        return list(dict.fromkeys(_type_of(value) for value in values))
    if "properties" in schema:
        return ["object"]
    return ["array"] if "items" in schema else []


def _type_of(value: Any) -> str:
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


def default_kind(type_: str, format_: str, schema: dict[str, Any]) -> str:
    """How values are compared where ``x-slm`` does not say: numbers as numbers, dates as dates, choices as classes."""
    if "enum" in schema:
        return "class"
    if type_ == "number":
        return "number"
    if type_ == "string" and "const" not in schema:
        return {"date": "date", "": "text"}.get(format_, "exact")
    return "exact"


def default_evidence(type_: str, kind: str, schema: dict[str, Any]) -> str:
    """Texts, numbers and dates are expected in the document; choices, booleans, free text and objects are not."""
    if "enum" in schema or "const" in schema or kind in ("class", "free"):
        return "none"
    return "expected" if type_ in ("string", "number", "integer") else "none"


def _humanise(name: str) -> str:
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).replace("_", " ").replace("-", " ").split()
    text = " ".join(word if word.isupper() and len(word) > 1 else word.lower() for word in words)
    return text[:1].upper() + text[1:]


def _field(schema: dict[str, Any], pattern: str, name: str, types: list[str], nullable: bool, required: bool) -> Field:
    options = schema.get("x-slm", {})
    solid = [type_ for type_ in types if type_ != "null"]
    if sorted(solid) == ["integer", "number"]:
        solid = ["number"]
    type_ = solid[0] if len(solid) == 1 else "any"
    format_ = schema.get("format", "")
    kind = options.get("kind") or default_kind(type_, format_, schema)
    return Field(
        pattern=pattern,
        name=name,
        title=schema.get("title") or _humanise(name),
        description=schema.get("description", ""),
        type=type_,
        kind=kind,
        format=format_,
        enum=tuple(value for value in schema.get("enum", ()) if value is not None),
        nullable=nullable,
        required=required,
        locale=options.get("locale", ""),
        evidence=options.get("evidence") or default_evidence(type_, kind, schema),
        cost=float(options.get("cost", 0)),
        date_order=options.get("date_order", ""),
        ignore=tuple(options.get("ignore", ("spacing",))),
        currency=options.get("currency", ""),
        hint=options.get("hint", ""),
    )


def build(root: dict[str, Any], schema: Any, pattern: str = "", name: str = "", required: bool = True) -> Node:
    """The tree of a checked schema (its references must exist and end)."""
    resolved, folded = resolve(root, schema)
    types = _types(resolved)
    nullable = folded or ("null" in types and None in resolved.get("enum", (None,)))
    solid = [type_ for type_ in types if type_ != "null"]
    if solid == ["object"] and resolved.get("properties"):
        wanted = resolved.get("required", ())
        children = {
            key: build(root, value, join(pattern, key), key, key in wanted)
            for key, value in resolved["properties"].items()
        }
        fills = not any(key in resolved for key in _CLASH)
        return Node("object", pattern, resolved, required, nullable, children, fills=fills)
    items = resolved.get("items")
    if solid == ["array"] and isinstance(items, dict) and items and "prefixItems" not in resolved:
        item = build(root, items, f"{pattern}[]", name)
        ordered = resolved.get("x-slm", {}).get("order") == "ordered"
        return Node("array", pattern, resolved, required, nullable, {}, item=item, ordered=ordered)
    field = _field(resolved, pattern, name, types, nullable, required)
    return Node("leaf", pattern, resolved, required, nullable, {}, field=field)
