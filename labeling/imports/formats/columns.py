"""Tables: which column is the text, which the id, and which are the gold; guessed by names, decided by a person."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from slmstudio.contract.json_text import JsonError, dumps, loads
from slmstudio.contract.schema.compiled import CompiledSchema
from slmstudio.contract.schema.structure import Field, Node, split
from slmstudio.contract.values.kinds.registry import KINDS
from slmstudio.contract.values.kinds.values import ambiguity, parse_typed

TEXT, ID, TAGS, GOLD, BESIDE, DROP = "text", "id", "tags", "gold", "beside", "drop"
#: roles besides the fields of the schema, and what people call them
ROLES: Final = {
    TEXT: "the document's text",
    ID: "its id",
    TAGS: "failure tags, separated by commas",
    GOLD: "the whole gold, as JSON",
    BESIDE: "kept beside the document",
    DROP: "left out",
}
#: how a date is written so that it has one reading
UNAMBIGUOUS: Final = "2026-04-03"
_FIELD = "gold:"
_NAMES: Final = {
    TEXT: ("text", "content", "document", "body", "message", "input", "utterance", "query", "sentence", "prompt",
           "description", "email", "review", "question"),
    ID: ("id", "externalid", "docid", "documentid", "uuid", "key", "name", "filename", "uid"),
    TAGS: ("tags", "failuretags"),
    GOLD: ("gold", "output", "completion", "json", "expected", "answer", "response"),
}  # fmt: skip
_CLASSES: Final = ("label", "category", "class", "intent", "target", "labels", "y", "queue", "topic")


@dataclass(frozen=True, slots=True)
class Choice:
    """What a column can be mapped to: ``value`` as it is stored, and its words."""

    value: str
    words: str


def choices(compiled: CompiledSchema) -> list[Choice]:
    """Everything a column can be: the fields of the schema, and the roles."""
    fields = [Choice(_FIELD + field.pattern, f"gold: {field.title} ({field.pattern})") for field in mappable(compiled)]
    head = [Choice(role, ROLES[role]) for role in (TEXT, ID)]
    return [*head, *fields, *(Choice(role, ROLES[role]) for role in (GOLD, TAGS, BESIDE, DROP))]


def mappable(compiled: CompiledSchema) -> list[Field]:
    """The fields that one cell can hold: those outside of rows."""
    return [field for field in compiled.fields if "[]" not in field.pattern and field.pattern]


def guess(columns: Sequence[str], compiled: CompiledSchema) -> dict[str, str]:
    """A role for every column, by its name; the first that fits gets a role that only one column can have.

    A column named like a class (label, category, ...) is the only choice of the schema, where it has just one. Where a
    column holds the whole gold, those named like a field are left out.
    """
    roles: dict[str, str] = {}
    fields = {_plain(name): field for field in mappable(compiled) for name in (field.pattern, field.name, field.title)}
    classes = [field for field in mappable(compiled) if field.enum]
    taken: set[str] = set()

    def give(column: str, role: str) -> bool:
        if column in roles or role in taken:
            return False
        roles[column] = role
        taken.add(role)
        return True

    named = {column: _plain(column.removeprefix("gold.").removeprefix("gold_")) for column in columns}
    for role in (TEXT, ID, TAGS, GOLD):
        for wanted in _NAMES[role]:
            for column in columns:
                # A field of the schema may be called "description"; then only the plainest names are the text.
                if _plain(column) == wanted and (wanted not in fields or wanted in ("text", "id")):
                    give(column, role)
    whole = GOLD in taken
    places = {_plain(node.pattern) for node in compiled.root.nodes()} if whole else set()
    for column in columns:
        field = fields.get(named[column])
        if whole and named[column] in places:
            roles.setdefault(column, DROP)  # the whole gold says it as well
        elif field is not None and not whole:
            give(column, _FIELD + field.pattern)
    if len(classes) == 1 and not whole:
        for column in columns:
            if _plain(column) in _CLASSES:
                give(column, _FIELD + classes[0].pattern)
    if TEXT not in taken:
        left = [column for column in columns if column not in roles]
        if len(left) == 1:
            give(left[0], TEXT)
    return {column: roles.get(column, BESIDE) for column in columns}


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "", name.casefold())


def problem(mapping: Mapping[str, str], columns: Sequence[str], compiled: CompiledSchema) -> str:
    """Why a mapping cannot be, as a sentence; "" where it can."""
    allowed = {choice.value for choice in choices(compiled)}
    for column, role in mapping.items():
        if role not in allowed:
            return f"The column {column} cannot be {role}: the schema has no such field."
        if column not in columns:
            return f"There is no column {column}."
    chosen = [role for role in mapping.values() if role not in (BESIDE, DROP)]
    twice = next((role for role in chosen if chosen.count(role) > 1), "")
    if twice:
        both = " and ".join(column for column, role in mapping.items() if role == twice)
        return f"{both} cannot both be {ROLES.get(twice, twice.removeprefix(_FIELD))}."
    if TEXT not in chosen:
        return "Say which column is the document's text."
    if GOLD in chosen and any(role.startswith(_FIELD) for role in chosen):
        return "A column holds the whole gold, so no other column can be a field of it."
    return ""


class Mapper:
    """Turns a record (column -> cell) into the data of a row."""

    def __init__(self, mapping: Mapping[str, str], compiled: CompiledSchema) -> None:
        self.compiled = compiled
        self.roles = dict(mapping)
        self.fields = {
            column: (compiled.by_pattern[role.removeprefix(_FIELD)], split(role.removeprefix(_FIELD)))
            for column, role in mapping.items()
            if role.removeprefix(_FIELD) in compiled.by_pattern and role.startswith(_FIELD)
        }

    def row(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """The row of a record.

        Raises:
            ValueError: a cell cannot be what its column was said to be; names the column.
        """
        data: dict[str, Any] = {}
        gold: dict[str, Any] = {}
        said = False
        for column, cell in record.items():
            role = self.roles.get(column, BESIDE)
            if column in self.fields:
                field, steps = self.fields[column]
                value = _typed(column, cell, field, self._document(record))
                said = said or value is not None
                if value is not None or field.nullable:
                    _put(gold, steps, value)
            elif role == TEXT:
                data["text"] = cell if isinstance(cell, str) or cell is None else dumps(cell)
            elif role == ID:
                data["id"] = _identifier(cell)
            elif role == TAGS:
                data["tags"] = _tags(cell)
            elif role == GOLD:
                data["gold"] = self._whole(column, cell)
            elif role == BESIDE and cell not in (None, ""):
                # A column may have the name of something that a row holds.
                data[column if column not in ("id", "text", "gold", "tags", "page") else f"{column}_"] = cell
        if said:
            data["gold"] = gold
        return data

    def _document(self, record: Mapping[str, Any]) -> str:
        """What the row says of its document: the text, and the other dates of the row."""
        texts = (record.get(column) for column, role in self.roles.items() if role == TEXT)
        days = (record.get(column) for column, (field, _) in self.fields.items() if field.format == "date")
        return "\n".join(part for part in (*texts, *days) if isinstance(part, str))

    def _whole(self, column: str, cell: Any) -> Any:
        if isinstance(cell, str):
            if not cell.strip():
                return None
            try:
                cell = loads(cell)
            except JsonError as error:
                raise ValueError(f"the column {column} is not JSON: {error}") from None
        # A table has a cell for every field, also for those that a row does not have.
        if cell is not None and self.compiled.validate(cell):
            shorter = without_null(cell)
            return cell if self.compiled.validate(shorter) else shorter
        return cell


def without_null(value: Any) -> Any:
    """The value without the names that hold nothing."""
    if isinstance(value, dict):
        return {name: without_null(item) for name, item in value.items() if item is not None}
    return [without_null(item) for item in value] if isinstance(value, list) else value


def _put(gold: dict[str, Any], steps: tuple[str | int | None, ...], value: Any) -> None:
    place = gold
    for step in steps[:-1]:
        place = place.setdefault(str(step), {})
    place[str(steps[-1])] = value


def _typed(column: str, cell: Any, field: Field, document: str) -> Any:
    """The value of a field in a cell: what it stands for, or the cell itself where it is of the type already."""
    if cell is None or cell == "":
        return None
    if not isinstance(cell, str):
        return cell
    if field.type == "string" and not field.enum and not KINDS[field.kind].by_meaning:
        return cell  # digit for digit
    if field.enum and cell in field.enum:
        return cell
    value = parse_typed(cell, field, document)
    if value is None and (unclear := ambiguity(cell, field, document)):
        raise ValueError(f"the column {column}: {unclear} Write {UNAMBIGUOUS}, or set date_order in the schema")
    if value is None and cell.strip():
        wanted = "one of the choices" if field.enum else f"a {field.format or field.kind or field.type}"
        raise ValueError(f"the column {column} holds “{cell[:60]}”, which is not {wanted} of the field {field.pattern}")
    return value


def _identifier(cell: Any) -> Any:
    return cell if isinstance(cell, str | int) or cell is None else str(cell)


def _tags(cell: Any) -> Any:
    if cell is None or isinstance(cell, list):
        return cell
    return [tag.strip() for tag in str(cell).split(",") if tag.strip()]


def arrays(node: Node) -> Iterator[Node]:
    """The lists of objects in a schema."""
    yield from (inner for inner in node.nodes() if inner.item is not None and inner.item.children)
