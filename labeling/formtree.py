"""A JSON Schema as a tree of form nodes: what the labeling screen, the contract's preview and the document page draw.

Pure Python. ``tree_of`` turns a compiled schema into nodes; ``form_for`` binds them to a value for the templates
(``{% include "labeling/form.html" %}``). What a person types and how it becomes JSON is in ``labeling.entries``.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

from labeling.entries import ABSENT, RAW, raw_text, to_entry
from slmstudio.contract.jsontext import dumps
from slmstudio.contract.schema import CompiledSchema, Problem
from slmstudio.contract.structure import Field, Node, join, split

Shape = Literal["group", "table", "list", "checks", "text", "lines", "number", "date", "choice", "boolean", "json"]

#: columns up to which an array of flat objects is drawn as a grid; wider ones are drawn as cards
MOST_COLUMNS = 8
#: choices up to which an enum is drawn with numbered buttons; longer ones are a select
MOST_BUTTONS = 9
#: characters up to which a text is typed into one line
ONE_LINE = 60
#: colours that evidence is drawn in; fields take them in turn
COLOURS = 8


@dataclass(frozen=True, slots=True)
class Option:
    """One value of an enum. ``code`` is its JSON text, which is what a form holds; ``label`` is what people read."""

    code: str
    label: str
    value: Any


@dataclass(frozen=True, slots=True)
class FormNode:
    """One place of the form.

    ``group`` has ``children``; ``table`` (a grid of flat rows) and ``list`` have an ``item``; ``checks`` is an array of
    different choices; the others are leaves with a ``field``. ``json`` is what no form can draw: it is typed as JSON.
    """

    shape: Shape
    key: str
    pattern: str
    title: str
    description: str
    hint: str
    required: bool
    nullable: bool
    field: Field | None = None
    children: tuple["FormNode", ...] = ()
    item: "FormNode | None" = None
    options: tuple[Option, ...] = ()
    most: int | None = None
    colour: int = 0

    @property
    def is_leaf(self) -> bool:
        """Whether it is one control."""
        return not self.children and self.item is None and self.shape != "group"

    @property
    def as_buttons(self) -> bool:
        """Whether a choice is drawn with numbered buttons (else as a select)."""
        return len(self.options) <= MOST_BUTTONS

    @property
    def wants_evidence(self) -> bool:
        """Whether its value should stand in the document."""
        return self.field is not None and self.field.evidence != "none"

    @property
    def may_be_absent(self) -> bool:
        """Whether "not in the document" is an answer here: null, or leaving the field out."""
        return self.nullable or not self.required

    @property
    def is_numeric(self) -> bool:
        """Whether what is typed is a number: aligned to the right."""
        return self.shape == "number"

    def leaves(self) -> Iterator["FormNode"]:
        """The leaves at and below this node, in schema order."""
        if self.is_leaf:
            yield self
        for child in self.children:
            yield from child.leaves()
        if self.item is not None:
            yield from self.item.leaves()


def tree_of(compiled: CompiledSchema) -> FormNode:
    """The form of a schema. Built once per process and schema."""
    return _tree(_Key(compiled))


@dataclass(frozen=True, slots=True)
class _Key:
    """A compiled schema as a cache key: the same hash is the same form."""

    compiled: CompiledSchema

    def __hash__(self) -> int:
        return hash(self.compiled.hash)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and other.compiled.hash == self.compiled.hash


@lru_cache(maxsize=64)
def _tree(key: _Key) -> FormNode:
    return _Builder().node(key.compiled.root, "")


class _Builder:
    """Walks the schema's nodes; counts leaves so that neighbours get different colours."""

    def __init__(self) -> None:
        self.leaves = 0

    def node(self, source: Node, key: str) -> FormNode:
        """The form node of one place of the schema."""
        options = source.schema.get("x-slm", {})
        common: dict[str, Any] = {
            "key": key,
            "pattern": source.pattern,
            "title": source.field.title if source.field else source.schema.get("title") or _words(key),
            "description": source.schema.get("description", ""),
            "hint": options.get("hint", ""),
            "required": source.required,
            "nullable": source.nullable,
        }
        if source.shape == "object" and RAW not in source.children:
            children = tuple(self.node(child, name) for name, child in source.children.items())
            return FormNode(shape="group", children=children, **common)
        if source.shape == "array" and source.item is not None:
            return self._array(source, source.item, common)
        shape = _leaf_shape(source)
        self.leaves += 1
        return FormNode(
            shape=shape,
            field=source.field,
            options=_options(source) if shape == "choice" else (),
            colour=(self.leaves - 1) % COLOURS,
            **common,
        )

    def _array(self, source: Node, inner: Node, common: dict[str, Any]) -> FormNode:
        most = source.schema.get("maxItems")
        common["most"] = int(most) if isinstance(most, int) else None
        if inner.shape == "leaf" and "enum" in inner.schema and source.schema.get("uniqueItems") is True:
            self.leaves += 1
            return FormNode(shape="checks", field=inner.field, options=_options(inner), **common)
        item = self.node(inner, "")
        flat = item.shape == "group" and all(child.is_leaf and child.shape != "json" for child in item.children)
        if flat and not item.nullable and len(item.children) <= MOST_COLUMNS:
            return FormNode(shape="table", item=item, **common)
        return FormNode(shape="list", item=item, **common)


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
    longest = source.schema.get("maxLength")
    one_line = leaf.format or leaf.kind in ("identifier", "money", "number")
    return "text" if one_line or (longest is not None and longest <= ONE_LINE) else "lines"


def _options(source: Node) -> tuple[Option, ...]:
    values = source.schema["enum"] if "enum" in source.schema else [source.schema["const"]]
    return tuple(
        Option(dumps(value), value if isinstance(value, str) and value else dumps(value), value)
        for value in values
        if value is not None
    )


def _words(key: str) -> str:
    words = key.replace("_", " ").strip()
    return words[:1].upper() + words[1:]


def node_at(node: FormNode, path: str) -> FormNode:
    """The node of a path ("line_items[3].amount"); one of shape json where the form has none there."""
    for step in split(path):
        found = node.item if isinstance(step, int) else next((c for c in node.children if c.key == step), None)
        if found is None:
            return FormNode("json", str(step), path, str(step), "", "", required=False, nullable=True)
        node = found
    return node


# -- bound to a value, for templates -----------------------------------------------------------------------------------


@dataclass(slots=True)
class Bound:
    """A node with what stands in it. ``entry`` is what a person typed or would have (see ``labeling.entries``)."""

    node: FormNode
    path: str
    entry: Any
    read_only: bool
    row: int | None = None
    children: list["Bound"] = field(default_factory=list)
    rows: list["Bound"] = field(default_factory=list)
    messages: list[Problem] = field(default_factory=list)
    blank: "Bound | None" = None

    @property
    def is_row(self) -> bool:
        """Whether it is a row of an array. The blank row to be copied has number 0."""
        return self.row is not None

    @property
    def template(self) -> str:
        """The partial that draws it."""
        leaf = self.node.is_leaf and self.node.shape != "checks"
        return f"labeling/nodes/{'leaf' if leaf else self.node.shape}.html"

    @property
    def control(self) -> str:
        """The partial of a leaf's control."""
        shape = self.node.shape
        return f"labeling/nodes/{'text' if shape in ('number', 'date') else shape}.html"

    @property
    def identifier(self) -> str:
        """An HTML id; unique in a form."""
        return f"f-{self.path}" if self.path else "f"

    @property
    def state(self) -> str:
        """One of absent, null, raw (a value this control cannot show, as JSON) and value."""
        if self.entry is ABSENT:
            return "absent"
        if self.entry is None:
            return "null"
        return "value" if raw_text(self.entry) is None else "raw"

    @property
    def text(self) -> str:
        """What stands in a text control."""
        if self.entry is ABSENT or self.entry is None:
            return ""
        raw = raw_text(self.entry)
        if raw is not None:
            return raw
        return self.entry if isinstance(self.entry, str) else ""

    @property
    def label(self) -> str:
        """What a read-only form shows for a choice, a boolean or a text."""
        if isinstance(self.entry, bool):
            return "yes" if self.entry else "no"
        return next((option.label for option in self.node.options if option.code == self.entry), self.text)

    @property
    def codes(self) -> list[str]:
        """What is ticked: the chosen one, or the several of a ``checks`` node."""
        if isinstance(self.entry, list):
            return [code for code in self.entry if isinstance(code, str)]
        if isinstance(self.entry, bool):
            return ["true" if self.entry else "false"]
        return [self.entry] if isinstance(self.entry, str) else []


def form_for(
    compiled: CompiledSchema, value: Any = ABSENT, *, read_only: bool = False, problems: Iterable[Problem] = ()
) -> Bound:
    """A schema's form with a value in it, ready for ``labeling/form.html`` (context name ``form``).

    Without a value the form is empty, with one blank row in every grid, as a preview. Problems are shown beside the
    fields their paths name.
    """
    node = tree_of(compiled)
    by_path: dict[str, list[Problem]] = {}
    for problem in problems:
        by_path.setdefault(problem.path, []).append(problem)
    preview = value is ABSENT
    entry = ABSENT if preview else to_entry(node, value)
    return bind(node, entry, read_only=read_only, problems=by_path, preview=preview)


def bind(
    node: FormNode,
    entry: Any,
    *,
    path: str = "",
    row: int | None = None,
    read_only: bool = False,
    problems: dict[str, list[Problem]] | None = None,
    preview: bool = False,
    template: bool = False,
) -> Bound:
    """Binds a node and all below it to an entry. ``template``: it is a blank row to be copied, so it has no rows."""
    problems = problems or {}
    bound = Bound(node, path, entry, read_only, row, messages=problems.get(path, []))
    raw = raw_text(entry) is not None
    options: dict[str, Any] = {"read_only": read_only, "problems": problems, "preview": preview}
    if node.shape == "group":
        inside = entry if isinstance(entry, dict) and not raw else {}
        bound.children = [
            bind(child, inside.get(child.key, ABSENT), path=join(path, child.key), template=template, **options)
            for child in node.children
        ]
    elif node.item is not None:
        entries = entry if isinstance(entry, list) else [ABSENT] if preview and not template else []
        bound.rows = [
            bind(node.item, inner, path=join(path, number), row=number + 1, template=template, **options)
            for number, inner in enumerate(entries)
        ]
        if not read_only:
            bound.blank = bind(node.item, ABSENT, path=f"{path}[]", row=0, template=True)
    return bound
