"""The fields of a contract as a list that people without knowledge of JSON Schema read."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from slmstudio.contract.rules.invariants import compiled_rules
from slmstudio.contract.rules.wording import Wording
from slmstudio.contract.schema.compiled import CompiledSchema
from slmstudio.contract.schema.messages import show
from slmstudio.contract.schema.structure import Field, Node, humanize, split

_TYPES = {"string": "Text", "number": "Number", "integer": "Whole number", "boolean": "Yes / no", "array": "List"}
_KINDS = {"date": "Date", "money": "Money", "identifier": "Identifier", "address": "Address"}


@dataclass(frozen=True, slots=True)
class ListedField:
    """A field, group or table. ``level``: the number of groups and tables around it."""

    title: str
    type: str
    level: int
    required: bool
    description: str
    hint: str
    choices: tuple[str, ...]


def listed_fields(compiled: CompiledSchema) -> list[ListedField]:
    """The fields of a schema in the order of the form."""
    return [row for child in compiled.root.children.values() for row in _rows(child, 0)]


def rules_in_words(compiled: CompiledSchema) -> list[str]:
    """The rules between fields: their messages, or what they require."""
    return [rule.message or Wording(rule.node).requirement(rule.invariant.root) for rule in compiled_rules(compiled)]


def _rows(node: Node, level: int) -> Iterator[ListedField]:
    inner = node.item if node.item is not None else node
    is_list = node.item is not None
    yield _row(node, inner.field, level, is_list)
    for child in inner.children.values():
        yield from _rows(child, level + 1)


def _row(node: Node, field: Field | None, level: int, is_list: bool) -> ListedField:
    schema: dict[str, Any] = node.schema
    options = schema.get("x-slm", {})
    name = str(split(node.pattern)[-1])
    type_ = _type(field) if field is not None else "Group"
    if is_list:
        type_ = "Table" if field is None else f"List: {type_.lower()}"
    choices = tuple(value if isinstance(value, str) else show(value) for value in field.enum) if field else ()
    return ListedField(
        title=schema.get("title") or humanize(name),
        type=type_,
        level=level,
        required=node.required,
        description=schema.get("description", ""),
        hint=options.get("hint", ""),
        choices=choices,
    )


def _type(field: Field) -> str:
    if field.enum:
        return "Choice"
    return _KINDS.get(field.kind) or _TYPES.get(field.type, "Any value")
