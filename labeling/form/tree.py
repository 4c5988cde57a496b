"""A JSON Schema as a tree of form nodes, for the labeling screen, the contract's preview and the document page. Pure.

``tree_of`` builds the nodes of a compiled schema; ``form_for`` binds them to a value for
the templates (``{% include "labeling/form/form.html" %}``). ``labeling.form.codec`` converts what users type to JSON.
What a form cannot show is edited as JSON, and the node has the reason.
"""

from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final

from labeling.form.binding import Bound, bind
from labeling.form.codec import ABSENT, to_entry
from labeling.form.nodes import MORE, RESERVED, FormNode, Option, Shape
from slmstudio.contract.json_text import MAX_DEPTH, dumps
from slmstudio.contract.schema.compiled import CompiledSchema, ValueProblem
from slmstudio.contract.schema.dialect import identity
from slmstudio.contract.schema.resolution import WHEN, branches, has_too_many_forms, resolve, types_of
from slmstudio.contract.schema.structure import Node, build, join, merged_shape, split
from slmstudio.contract.schema.work import TooMuchWorkError, limited
from slmstudio.contract.values.kinds.registry import KINDS

__all__ = ["Bound", "FormNode", "Option", "bind", "form_for", "node_at", "tree_of"]

#: maximum number of columns of a grid; wider arrays of objects are cards
MAX_COLUMNS: Final = 8
#: maximum number of choices that are checkboxes
MAX_CHECKS: Final = 24
#: maximum length of a text in a one-line control
MAX_ONE_LINE: Final = 60
#: number of marks of evidence (``ev-`` in static/css/labeling.css), assigned to fields in turn
MARKS: Final = 24
#: maximum number of parts of a useful form
MAX_PARTS: Final = 1500
_TOO_LARGE: Final = f"its form would have more than {MAX_PARTS:,} parts"
_TYPES: Final = {
    "string": "Text",
    "number": "Number",
    "integer": "Whole number",
    "boolean": "Yes or no",
    "object": "Object",
    "array": "List",
}


def form_for(
    compiled: CompiledSchema, value: Any = ABSENT, *, read_only: bool = False, problems: Iterable[ValueProblem] = ()
) -> Bound:
    """A schema's form with a value in it, ready for ``labeling/form/form.html`` (context name ``form``).

    Without a value it is a preview: empty, with one blank row in every grid and all forms of a value. Problems are
    shown at the fields of their paths.
    """
    by_path: dict[str, list[ValueProblem]] = {}
    for problem in problems:
        by_path.setdefault(problem.path, []).append(problem)
    node, preview = tree_of(compiled), value is ABSENT
    entry = ABSENT if preview else to_entry(node, value)
    return bind(node, entry, read_only=read_only, problems=by_path, preview=preview)


class _TooLargeError(Exception):
    """The form has more than MAX_PARTS parts."""


@lru_cache(maxsize=64)
def tree_of(compiled: CompiledSchema) -> FormNode:
    """The form of a schema. Built once per process and schema."""
    builder = _Builder(compiled)
    try:
        with limited():
            return builder.node(compiled.root, "")
    except (_TooLargeError, TooMuchWorkError):
        return FormNode("json", "", "", "", "", "", required=True, nullable=False, reason=_TOO_LARGE)


class _Builder:
    """Walks the schema's nodes; counts leaves, so that fields have different marks."""

    def __init__(self, compiled: CompiledSchema) -> None:
        self.compiled = compiled
        self.root = compiled.schema
        self.leaves = 0
        self.parts = 0
        self._around: list[Any] = []

    def node(self, source: Node, key: str) -> FormNode:
        """The form node of a node of the schema."""
        self.parts += 1
        if self.parts > MAX_PARTS:
            raise _TooLargeError
        schema = source.schema
        common: dict[str, Any] = {
            "key": key,
            "pattern": source.pattern,
            "title": schema.get("title") or (source.field.title if source.field else "") or _words(key),
            "description": schema.get("description", ""),
            "hint": schema.get("x-slm", {}).get("hint", ""),
            "required": source.required,
            "nullable": source.nullable,
        }
        if source.recursive:
            return self._json(source, common, "it is recursive, or repeated in a large schema")
        if "enum" not in schema and "const" not in schema:
            drawn = self._forms(source, common) or self._object(source, common) or self._array(source, common)
            if drawn is not None:
                return drawn
        return self._leaf(source, common)

    def _place(
        self, schema: Any, pattern: str, name: str, *, key: str | None = None, required: bool = True
    ) -> FormNode:
        """The form node of a schema that is not a node of its own: a form, a value of a map, a place of a tuple."""
        cut = self.compiled.cut
        source = build(self.root, schema, pattern, name, required, cut)
        shape = merged_shape(schema, cut)
        if (shape is not None and shape in self._around) or len(self._around) > MAX_DEPTH:
            source = replace(source, recursive=True)
        self._around.append(shape)
        try:
            return self.node(source, name if key is None else key)
        finally:
            self._around.pop()

    def _json(self, source: Node, common: dict[str, Any], reason: str) -> FormNode:
        self.leaves += 1
        return FormNode(shape="json", field=source.field, reason=reason, color=(self.leaves - 1) % MARKS, **common)

    # -- one of several forms --

    def _forms(self, source: Node, common: dict[str, Any]) -> FormNode | None:
        schema = source.schema
        forms = branches(self.root, schema)
        solid = [type_ for type_ in types_of(schema) if type_ != "null"]
        if not forms and sorted(solid) != ["integer", "number"] and len(solid) > 1:
            forms = [{**schema, "type": type_} for type_ in solid]
        if not forms:
            if has_too_many_forms(self.root, schema):
                return self._json(source, common, "it can take more than 50 forms")
            return None
        if source.field is not None and source.field.type not in ("any", "object", "array"):
            return None  # forms of one plain type: one control; the validation checks the rest
        name = common["key"]
        nodes: list[FormNode] = []
        for form in forms:
            form = {key: value for key, value in form.items() if key not in ("$defs", "definitions")}
            node = replace(self._place(form, source.pattern, name), title="", required=True)
            title = form.get("title") or _distinguishing_name(node) or _type_words(form, node)
            nodes.append(replace(node, title=title, nullable=node.nullable or source.nullable))
        nodes = _deduplicated(nodes)
        if len(nodes) == 1:
            return replace(nodes[0], **common)
        return FormNode(shape="variants", forms=_numbered(nodes), **common)

    # -- objects --

    def _object(self, source: Node, common: dict[str, Any]) -> FormNode | None:
        schema = source.schema
        if types_of(schema) not in (["object"], ["object", "null"], ["null", "object"]):
            return None
        if RESERVED & set(source.children):
            return self._json(source, common, "one of its fields has a reserved name")
        children = [self.node(child, name) for name, child in source.children.items()]
        values = self._values(schema, bool(children))
        if values is not None:
            more = {**common, "key": MORE, "title": "More", "description": "", "required": False, "nullable": False}
            rows = self._map(source, schema, values, more if children else common)
            if not children:
                return rows
            children.append(rows)
        if not children:
            return self._json(source, common, "it accepts any names and values")
        return FormNode(shape="group", children=tuple(children), note=_note(schema), **common)

    def _values(self, schema: dict[str, Any], has_fields: bool) -> Any:
        """The schema of additional names; None without one."""
        schemas = list(schema.get("patternProperties", {}).values())
        schemas.append(
            schema.get("additionalProperties", None if has_fields or schemas else schema.get("propertyNames"))
        )
        if schemas[-1] is not None and "additionalProperties" not in schema:
            schemas[-1] = {}
        solid = [{} if inner is True else inner for inner in schemas if isinstance(inner, dict) or inner is True]
        unlike = list({identity(inner): inner for inner in solid}.values())
        if not unlike:
            return None
        return unlike[0] if len(unlike) == 1 else {"anyOf": unlike}

    def _map(self, source: Node, schema: dict[str, Any], values: Any, common: dict[str, Any]) -> FormNode:
        names = resolve(self.root, schema.get("propertyNames", {}))[0]
        key = FormNode(
            shape="text",
            key="key",
            pattern="",
            title="Name",
            description=_names_like(schema, names),
            hint="",
            required=True,
            nullable=False,
        )
        if "enum" in names:
            key = replace(key, shape="choice", options=_options(names))
        value = replace(self._place(values, join(source.pattern, "*"), "value"), title="Value")
        row = FormNode("group", "", value.pattern, "", "", "", required=True, nullable=False, children=(key, value))
        return FormNode(shape="map", item=row, **common)

    # -- arrays --

    def _array(self, source: Node, common: dict[str, Any]) -> FormNode | None:
        schema = source.schema
        if types_of(schema) not in (["array"], ["array", "null"], ["null", "array"]):
            return None
        if schema.get("prefixItems"):
            return self._tuple(source, common)
        if source.item is None:
            return self._json(source, common, "its items can have any type")
        return self._rows(source, source.item, common)

    def _tuple(self, source: Node, common: dict[str, Any]) -> FormNode:
        schema = source.schema
        rest = schema.get("items")
        if isinstance(rest, dict) and rest:
            return self._json(source, common, "it has fixed items followed by any number of others")
        wanted = schema.get("minItems", 0)
        children = [
            replace(
                self._place(inner, join(source.pattern, number), "", key=str(number), required=number < wanted),
                title=resolve(self.root, inner)[0].get("title") or f"Item {number + 1}",
            )
            for number, inner in enumerate(schema["prefixItems"])
        ]
        return FormNode(shape="tuple", children=tuple(children), **common)

    def _rows(self, source: Node, inner: Node, common: dict[str, Any]) -> FormNode:
        different = inner.shape == "leaf" and source.schema.get("uniqueItems") is True
        if different and 0 < len(inner.schema.get("enum", ())) <= MAX_CHECKS:
            self.leaves += 1
            return FormNode(shape="checks", field=inner.field, options=_options(inner.schema), **common)
        item = self.node(inner, "")
        flat = item.shape == "group" and all(child.is_leaf and child.shape != "json" for child in item.children)
        flat = flat and not any(child.shape == "checks" for child in item.children)
        if flat and not item.nullable and len(item.children) <= MAX_COLUMNS:
            return FormNode(shape="table", item=item, **common)
        return FormNode(shape="list", item=item, **common)

    def _leaf(self, source: Node, common: dict[str, Any]) -> FormNode:
        shape = _leaf_shape(source)
        if shape == "json":
            return self._json(source, common, "it can have any type")
        self.leaves += 1
        return FormNode(
            shape=shape,
            field=source.field,
            options=_options(source.schema) if shape == "choice" else (),
            color=(self.leaves - 1) % MARKS,
            fixed=dumps(source.schema["const"]) if source.schema.get("const") is not None else "",
            **common,
        )


def _leaf_shape(source: Node) -> Shape:
    leaf = source.field
    if leaf is None:
        return "json"
    if "enum" in source.schema or "const" in source.schema:
        return "choice"
    if leaf.type == "boolean":
        return "boolean"
    if leaf.type in ("number", "integer"):
        return "number"
    if leaf.type != "string":
        return "json"
    if leaf.kind == "date" or leaf.format == "date":
        return "date"
    max_length = source.schema.get("maxLength")
    one_line = leaf.format or KINDS[leaf.kind].one_line
    return "text" if one_line or (max_length is not None and max_length <= MAX_ONE_LINE) else "lines"


def _options(schema: dict[str, Any]) -> tuple[Option, ...]:
    values = schema["enum"] if "enum" in schema else [schema["const"]]
    notes: Any = next((schema[key] for key in ("enumDescriptions", "x-enum-descriptions") if key in schema), [])
    titles = {dumps(part["const"]): part for key in ("oneOf", "anyOf") for part in _constants(schema.get(key, ()))}
    options = []
    for number, value in enumerate(values):
        if value is None:
            continue
        code = dumps(value)
        part = titles.get(code, {})
        note = part.get("description") or (notes[number] if isinstance(notes, list) and number < len(notes) else "")
        label = part.get("title") or (value if isinstance(value, str) and value else code)
        options.append(Option(code, label, value, note if isinstance(note, str) else ""))
    return tuple(options)


def _constants(forms: Any) -> list[dict[str, Any]]:
    return [form for form in forms if isinstance(form, dict) and "const" in form]


def _names_like(schema: dict[str, Any], names: dict[str, Any]) -> str:
    """The allowed names of a map, as text."""
    patterns = [*schema.get("patternProperties", ()), *([names["pattern"]] if "pattern" in names else [])]
    return f"Names like {' or '.join(patterns[:3])}" if patterns else ""


def _note(schema: dict[str, Any]) -> str:
    """A note about rules between the fields of an object, which only the validation checks."""
    if any(key in schema for key in ("if", "dependentRequired", "dependentSchemas", "not", WHEN)) or any(
        key in schema for key in ("anyOf", "oneOf")
    ):
        return "Which of these fields are required depends on the others; this is checked as you type."
    return ""


def _distinguishing_name(node: FormNode) -> str:
    """The name of a form by its constants, which distinguish it from the others."""
    fixed = [child for child in node.children if child.fixed] if node.shape == "group" else []
    named = [child for child in fixed if child.required] or fixed
    return ", ".join(child.options[0].label for child in named[:2])


def _type_words(form: dict[str, Any], node: FormNode) -> str:
    """The name of a form by its type or fields."""
    if node.shape == "choice":
        return " or ".join(option.label for option in node.options[:3]) + (" …" if len(node.options) > 3 else "")
    if node.shape == "group":
        wanted = [child.title for child in node.children if child.required] or [child.title for child in node.children]
        return "With " + ", ".join(title[:1].lower() + title[1:] for title in wanted[:2])
    solid = [type_ for type_ in types_of(form) if type_ != "null"]
    if node.shape in ("list", "table", "checks", "tuple"):
        inside = node.item.field if node.item is not None else None
        return f"List of {_TYPES[inside.type].lower()}s" if inside and inside.type in ("string", "number") else "List"
    if node.shape == "map":
        return "Names and values"
    return _TYPES.get(solid[0], "Anything") if solid else "Anything"


def _deduplicated(nodes: list[FormNode]) -> list[FormNode]:
    """Without forms that have the same control as another (texts of two formats)."""
    kept: list[FormNode] = []
    for node in nodes:
        plain = ("text", "lines", "number", "boolean", "json")
        if node.shape in plain and any(other.shape == node.shape for other in kept):
            continue
        kept.append(node)
    return kept


def _numbered(nodes: list[FormNode]) -> tuple[FormNode, ...]:
    """Forms with unique names."""
    titles = [node.title or "Form" for node in nodes]
    return tuple(
        replace(node, title=title if titles.count(title) == 1 else f"{title} ({titles[: place + 1].count(title)})")
        for place, (node, title) in enumerate(zip(nodes, titles, strict=True))
    )


def _words(key: str) -> str:
    words = key.replace("_", " ").strip()
    return words[:1].upper() + words[1:]


def node_at(node: FormNode, path: str) -> FormNode:
    """The node of a path ("line_items[3].amount"); a ``json`` node if the form has none there."""
    place = _below(node, split(path))
    if place is None:
        last = str(split(path)[-1])
        return FormNode("json", last, path, last, "", "", required=False, nullable=True)
    return place


def _below(node: FormNode, steps: tuple[Any, ...]) -> FormNode | None:
    if node.shape == "variants":
        return node if not steps else next(filter(None, (_below(form, steps) for form in node.forms)), None)
    if not steps:
        return node
    step, rest = steps[0], steps[1:]
    inner: FormNode | None
    if isinstance(step, int):
        places = node.children if node.shape == "tuple" else ()
        inner = places[step] if step < len(places) else node.item if node.shape in ("list", "table") else None
    elif node.shape == "map":
        inner = node.values
    else:
        inner = next((child for child in node.children if child.key == step), None)
        if inner is None and node.more is not None:
            inner = node.more.values
    return None if inner is None else _below(inner, rest)
