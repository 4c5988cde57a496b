"""The structure of a schema: references resolved, objects and arrays as a tree, every leaf as a Field."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from slmstudio.contract.json_text import MAX_DEPTH, dumps, loads
from slmstudio.contract.schema.resolution import (
    TreeCut,
    branches,
    properties_of,
    resolve,
    takes_null,
    types_of,
)
from slmstudio.contract.schema.work import spend
from slmstudio.contract.values.kinds.registry import KINDS

_PLAIN_NAME = re.compile(r'[^.\[\]"\\\s]+')
_CLASH = (
    "if", "dependentRequired", "dependentSchemas", "minProperties", "maxProperties", "not", "anyOf", "oneOf",
    "patternProperties", "propertyNames",
)  # fmt: skip
_SCALARS = {"string", "number", "integer", "boolean"}
_NOWHERE = TreeCut()
_STEPS_OF_NODE = 20


@dataclass(frozen=True, slots=True)
class Field:
    """One leaf of a schema, with everything needed to compare, find and show its values.

    ``pattern`` is the path with ``[]`` for every row (``line_items[].amount``), ``type`` one of string, number,
    integer, boolean, object, array, any. ``kind`` says how values are compared, ``evidence`` (none, expected, required)
    whether they should be found in the document: by default expected for texts, numbers and dates, none for choices,
    booleans, free text and whole objects. ``cost`` is what an error costs in the contract's currency; 0 if the schema
    does not say. ``accounting``: a number in brackets is negative, which a minimum of 0 or more rules out.
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
    accounting: bool = True

    @property
    def is_choice(self) -> bool:
        """Whether its values are a fixed set: a class, an ``enum``, or a boolean."""
        return bool(self.enum) or KINDS[self.kind].choice or self.type == "boolean"


@dataclass(frozen=True, slots=True)
class Node:
    """One place in the schema: an object with children, an array with an item, or a leaf with its field.

    ``recursive``: a leaf because its schema contains this place again, or is repeated in a tree that would be too
    large. ``open``: an object whose schema allows other fields than its children.
    """

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
    recursive: bool = False
    open: bool = False

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
    """Extend a path: ``a`` + ``b`` is ``a.b``, ``a`` + 0 is ``a[0]``, special characters are quoted: ``a["x.y"]``."""
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


def default_kind(type_: str, format_: str, schema: dict[str, Any]) -> str:
    """The default comparison if ``x-slm`` does not set one: numbers as numbers, dates as dates, choices as classes."""
    if "enum" in schema:
        return "class"
    if type_ == "number":
        return "number"
    if type_ == "string" and "const" not in schema:
        return {"date": "date", "": "text"}.get(format_, "exact")
    return "exact"


def default_evidence(type_: str, kind: str, schema: dict[str, Any]) -> str:
    """Texts, numbers and dates are expected in the document; choices, booleans, free text and objects are not."""
    if "enum" in schema or "const" in schema or KINDS[kind].choice or not KINDS[kind].scored:
        return "none"
    return "expected" if type_ in ("string", "number", "integer") else "none"


def humanize(name: str) -> str:
    """The title of a field without one: ``unitPrice`` is "Unit price"."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).replace("_", " ").replace("-", " ").split()
    text = " ".join(word if word.isupper() and len(word) > 1 else word.lower() for word in words)
    return text[:1].upper() + text[1:]


def _field(
    schema: dict[str, Any], pattern: str, name: str, types: list[str], nullable: bool, required: bool, currency: str
) -> Field:
    """``currency``: the default for money whose field names none."""
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
        title=schema.get("title") or humanize(name),
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
        currency=options.get("currency") or (currency if kind == "money" else ""),
        hint=options.get("hint", ""),
        accounting=all(schema.get(name, -1) < 0 for name in ("minimum", "exclusiveMinimum")),
    )


def _currency(root: dict[str, Any]) -> str:
    """The currency that the top of a schema declares for all its money."""
    return str(root.get("x-slm", {}).get("currency", ""))


def build(
    root: dict[str, Any],
    schema: Any,
    pattern: str = "",
    name: str = "",
    required: bool = True,
    cut: TreeCut = _NOWHERE,
    start: bool = False,
) -> Node:
    """The tree of a checked schema. A place that ``cut`` matches is one leaf, compared as a whole; ``start``: not at
    the root.
    """
    return _Builder(root, cut).node(schema, pattern, name, required, start=start)


class _Builder:
    """Builds a tree. A schema that was merged from others is not in the graph that ``cut`` was made for, so it ends the
    tree where it is equal to one around it; no value reaches more than ``MAX_DEPTH`` levels.
    """

    def __init__(self, root: dict[str, Any], cut: TreeCut) -> None:
        self._root = root
        self._cut = cut
        self._around: list[Any] = []

    def node(self, schema: Any, pattern: str, name: str, required: bool = True, *, start: bool = False) -> Node:
        """The node of a place and all below it."""
        spend(_STEPS_OF_NODE)
        shape = merged_shape(schema, self._cut)
        is_repeated = shape is not None and shape in self._around
        is_last = is_repeated or len(self._around) > MAX_DEPTH or (not start and self._cut.holds(schema))
        self._around.append(shape)
        try:
            return self._node(schema, pattern, name, required, is_last)
        finally:
            self._around.pop()

    def _node(self, schema: Any, pattern: str, name: str, required: bool, is_last: bool) -> Node:
        root = self._root
        resolved, folded = resolve(root, schema)
        types = types_of(resolved)
        can_be_null = takes_null(root, schema)
        nullable = can_be_null and (folded or ("null" in types and None in resolved.get("enum", (None,))))
        solid = [type_ for type_ in types if type_ != "null"]
        if is_last:
            whole = _field(resolved, pattern, name, types, nullable, required, _currency(root))
            return Node("leaf", pattern, resolved, required, nullable, {}, field=whole, recursive=True)
        forms = branches(root, resolved)
        if forms:
            inside = [types_of(form) for form in forms]
            nullable = nullable or (can_be_null and any("null" in types for types in inside))
            kinds = {type_ for types in inside for type_ in types if type_ != "null"}
            if kinds == {"object"} and all(properties_of(form) for form in forms):
                children = self._union(forms, pattern)
                opened = any(map(_is_open, forms))
                return Node("object", pattern, resolved, required, nullable, children, fills=False, open=opened)
            if len(kinds) == 1 and kinds <= _SCALARS:
                resolved, types = _common(resolved, forms, *kinds), [*kinds]
        elif solid == ["object"] and properties_of(resolved):
            wanted = frozenset(resolved.get("required", ()))
            children = {
                key: self.node(value, join(pattern, key), key, key in wanted)
                for key, value in properties_of(resolved).items()
            }
            fills = not any(key in resolved for key in _CLASH)
            opened = _is_open(resolved)
            return Node("object", pattern, resolved, required, nullable, children, fills=fills, open=opened)
        items = resolved.get("items")
        if solid == ["array"] and isinstance(items, dict) and items and "prefixItems" not in resolved:
            item = self.node(items, f"{pattern}[]", name)
            ordered = resolved.get("x-slm", {}).get("order") == "ordered"
            return Node("array", pattern, resolved, required, nullable, {}, item=item, ordered=ordered)
        field = _field(resolved, pattern, name, types, nullable, required, _currency(root))
        return Node("leaf", pattern, resolved, required, nullable, {}, field=field)

    def _union(self, forms: list[dict[str, Any]], pattern: str) -> dict[str, Node]:
        """The fields of an object with alternatives: those of all of them. A field in several alternatives allows what
        any of them allows (a ``const`` that distinguishes them is a class), and is required if all require it.
        """
        root, cut = self._root, self._cut
        schemas: dict[str, list[Any]] = {}
        for form in forms:
            for name, inner in properties_of(form).items():
                spend()
                if inner is not False and inner not in schemas.setdefault(name, []):
                    schemas[name].append(inner)
        children = {}
        for name, inner in schemas.items():
            if not inner:
                continue
            over = next((cutting for cutting in inner if cut.holds(cutting)), inner[0])
            schema = over if len(inner) == 1 or cut.holds(over) else {"anyOf": inner, **_named(root, over)}
            required = all(name in form.get("required", ()) for form in forms)
            children[name] = self.node(schema, join(pattern, name), name, required)
        return children


def merged_shape(schema: Any, cut: TreeCut) -> Any:
    """What makes two merged schemas equal: their keywords, and which schemas of the graph of ``cut`` they consist of.
    None for a schema of the graph.
    """
    return None if id(schema) in cut.known else _shape(schema, cut.known)


def _shape(value: Any, known: frozenset[int]) -> Any:
    spend()
    if id(value) in known:
        return id(value)
    if isinstance(value, dict):
        return tuple((key, _shape(inner, known)) for key, inner in value.items())
    if isinstance(value, list):
        return tuple(_shape(inner, known) for inner in value)
    return type(value).__name__, value


def _is_open(resolved: dict[str, Any]) -> bool:
    return resolved.get("additionalProperties", False) is not False or "patternProperties" in resolved


def _named(root: dict[str, Any], schema: Any) -> dict[str, Any]:
    """The annotations of a place with several schemas."""
    resolved = resolve(root, schema)[0]
    return {key: resolved[key] for key in ("title", "description", "x-slm") if key in resolved}


def _common(resolved: dict[str, Any], forms: list[dict[str, Any]], type_: str) -> dict[str, Any]:
    """One schema for a text or number with alternatives, with the annotations that all share."""
    shared = {key: value for key, value in forms[0].items() if all(form.get(key) == value for form in forms)}
    return {**resolved, **{key: shared[key] for key in ("format", "x-slm") if key in shared}, "type": type_}
