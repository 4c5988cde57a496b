"""The nodes of a schema's form, and how a value maps to them. Pure; built by ``labeling.form.tree``."""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Literal

from slmstudio.contract.json_text import dumps, sha256
from slmstudio.contract.schema.dialect import has_format
from slmstudio.contract.schema.structure import Field, join

Shape = Literal[
    "group",
    "variants",
    "map",
    "tuple",
    "table",
    "list",
    "checks",
    "text",
    "lines",
    "number",
    "date",
    "choice",
    "boolean",
    "json",
]

#: maximum number of choices of an enum drawn as numbered buttons; longer ones are searched by typing
MAX_BUTTONS: Final = 9
#: maximum number of forms drawn as switches; more are a select
MAX_SWITCHES: Final = 6
#: reserved names in entries; an object with such a field is edited as JSON
RAW: Final = "$json"
FORM: Final = "$form"
VALUE: Final = "$value"
MORE: Final = "$more"
RESERVED: Final = frozenset({RAW, FORM, VALUE, MORE})
#: number of rows of an array that decide which form a value has
_SAMPLE: Final = 3
_WRONG_TYPE: Final = 1000


@dataclass(frozen=True, slots=True)
class Option:
    """One value of an enum. ``code``: its JSON text, which is the entry; ``label``: its text; ``note``: its description
    in the schema.
    """

    code: str
    label: str
    value: Any
    note: str = ""


@dataclass(frozen=True, slots=True)
class FormNode:
    """One place of the form.

    ``group`` has ``children``; ``variants`` takes one of its ``forms``; ``map`` has rows of a name and a value, its
    ``item`` is such a row; ``tuple`` has a child for each place of an array; ``table`` (a grid of flat rows) and
    ``list`` have an ``item``; ``checks`` is an array of different choices; the others are leaves with a ``field``.
    ``json`` cannot be drawn as a form and is edited as JSON, for the given ``reason``. ``note``: rules that the form
    cannot show but the validation checks. ``fixed``: the code of the only allowed value.
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
    forms: tuple["FormNode", ...] = ()
    item: "FormNode | None" = None
    options: tuple[Option, ...] = ()
    color: int = 0
    reason: str = ""
    note: str = ""
    fixed: str = ""

    @property
    def is_leaf(self) -> bool:
        """Whether it is one control."""
        return not self.children and not self.forms and self.item is None and self.shape not in ("group", "tuple")

    @property
    def as_buttons(self) -> bool:
        """Whether a choice is drawn with numbered buttons (else it is searched by typing)."""
        return len(self.options) <= MAX_BUTTONS

    @property
    def listed(self) -> str:
        """The name of its list of choices, the same for the same choices; empty where they are buttons."""
        if self.shape != "choice" or self.as_buttons:
            return ""
        return sha256(dumps([[option.code, option.label, option.note] for option in self.options]))[:10]

    @property
    def as_switches(self) -> bool:
        """Whether the forms of a value are drawn as switches (else as a select)."""
        return len(self.forms) <= MAX_SWITCHES

    @property
    def wants_evidence(self) -> bool:
        """Whether its value should be in the document."""
        return self.field is not None and self.field.evidence != "none"

    @property
    def may_be_absent(self) -> bool:
        """Whether the field can be absent: null or omitted."""
        return self.nullable or not self.required

    @property
    def is_numeric(self) -> bool:
        """Whether the value is a number, aligned to the right."""
        return self.shape == "number"

    @property
    def names(self) -> "FormNode":
        """The name's control in a row of a map."""
        assert self.item is not None
        return self.item.children[0]

    @property
    def values(self) -> "FormNode":
        """The value's control in a row of a map."""
        assert self.item is not None
        return self.item.children[1]

    @property
    def more(self) -> "FormNode | None":
        """The node for additional names of a group."""
        last = self.children[-1] if self.children else None
        return last if self.shape == "group" and last is not None and last.key == MORE else None

    def leaves(self) -> Iterator["FormNode"]:
        """The leaves at and below this node, in schema order."""
        if self.is_leaf:
            yield self
        for child in (*self.children, *self.forms, *([self.item] if self.item is not None else [])):
            yield from child.leaves()

    def nodes(self) -> Iterator["FormNode"]:
        """This node and all below it."""
        yield self
        for child in (*self.children, *self.forms, *([self.item] if self.item is not None else [])):
            yield from child.nodes()


def children_with_values(node: FormNode, value: Any, path: str = "") -> Iterator[tuple[str, FormNode, Any]]:
    """(path, node, value) of the children of a node, including empty ones: fields of a group, rows, places, the values
    of a map, and of ``variants`` the form that the value has (at the same path).
    """
    if node.shape == "variants":
        yield path, node.forms[form_of(node, value)], value
    elif node.shape == "group":
        inside = value if isinstance(value, dict) else {}
        for child in node.children:
            if child.key == MORE:
                known = {other.key for other in node.children}
                yield path, child, {name: inner for name, inner in inside.items() if name not in known}
            else:
                yield join(path, child.key), child, inside.get(child.key)
    elif node.shape == "map":
        for name, inner in value.items() if isinstance(value, dict) else ():
            yield join(path, name), node.values, inner
    elif node.shape == "tuple":
        listed = value if isinstance(value, list) else []
        for number, child in enumerate(node.children):
            yield join(path, number), child, listed[number] if number < len(listed) else None
    elif node.item is not None:
        for number, inner in enumerate(value if isinstance(value, list) else ()):
            yield join(path, number), node.item, inner


def form_of(node: FormNode, value: Any) -> int:
    """The number of the form of a ``variants`` node that a value matches best; the first of equals."""
    distances = [_distance(form, value, 2) for form in node.forms]
    return distances.index(min(distances))


def _distance(node: FormNode, value: Any, depth: int) -> int:
    """The distance of a value from a node; 0: it matches."""
    if value is None:
        return 0 if node.nullable else 50
    match node.shape:
        case "variants":
            return min(_distance(form, value, depth) for form in node.forms)
        case "group":
            return _group_distance(node, value, depth) if isinstance(value, dict) else _WRONG_TYPE
        case "map":
            return _sample(value.values(), node.values, depth) + 1 if isinstance(value, dict) else _WRONG_TYPE
        case "table" | "list" | "checks" | "tuple":
            if not isinstance(value, list):
                return _WRONG_TYPE
            return _sample(value, node.item, depth) if node.item is not None else abs(len(value) - len(node.children))
        case "choice":
            known = any(option.code == dumps(value) for option in node.options)
            return 0 if known else 200
    return _leaf_distance(node, value)


def _group_distance(node: FormNode, value: dict[str, Any], depth: int) -> int:
    total = 0
    known = {child.key: child for child in node.children}
    for name, child in known.items():
        if name in value:
            total += min(200, _distance(child, value[name], depth - 1)) if depth > 0 or child.fixed else 0
        elif child.required:
            total += 30 if child.fixed else 10
    unknown = sum(name not in known for name in value)
    return total + unknown * (1 if MORE in known else 15)


def _sample(values: Any, item: FormNode | None, depth: int) -> int:
    if item is None or depth <= 0:
        return 0
    looked_at = [inner for _, inner in zip(range(_SAMPLE), values, strict=False)]
    return sum(min(200, _distance(item, inner, depth - 1)) for inner in looked_at)


def _leaf_distance(node: FormNode, value: Any) -> int:
    wanted = node.field.type if node.field is not None else "any"
    number = isinstance(value, int | Decimal) and not isinstance(value, bool)
    right = {
        "string": isinstance(value, str),
        "number": number,
        "integer": number and value == int(value),
        "boolean": isinstance(value, bool),
        "object": isinstance(value, dict),
        "array": isinstance(value, list),
    }
    if not right.get(wanted, True):
        return _WRONG_TYPE
    form = node.field.format if node.field is not None else ""
    if form and isinstance(value, str) and not has_format(form, value):
        return 60
    return 5 if node.shape == "json" else 0
