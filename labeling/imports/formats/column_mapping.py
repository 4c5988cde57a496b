"""Tables: the role of each column (text, id, gold, ...), guessed by its name and decided by the user."""

import dataclasses
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from labeling.imports.formats.base import Context
from labeling.imports.rows import ParsedRow, ReadError
from slmstudio.contract.json_text import JsonError, dumps, loads
from slmstudio.contract.schema.compiled import CompiledSchema
from slmstudio.contract.schema.structure import Field, Node, split
from slmstudio.contract.values.kinds.registry import KINDS
from slmstudio.contract.values.kinds.values import ambiguity, parse_typed

TEXT, ID, TAGS, GOLD, METADATA, IGNORE = "text", "id", "tags", "gold", "beside", "drop"
#: roles other than the fields of the schema, and their labels
ROLES: Final = {
    TEXT: "Document text",
    ID: "Document ID",
    TAGS: "Tags, separated by commas",
    GOLD: "Whole gold label, as JSON",
    METADATA: "Metadata",
    IGNORE: "Ignored",
}
#: a date in a format that is not ambiguous
UNAMBIGUOUS: Final = "2026-04-03"
MAX_COLUMNS: Final = 500
_FIELD = "gold:"
_NAMES: Final = {
    TEXT: ("text", "content", "document", "body", "message", "input", "utterance", "query", "sentence", "prompt",
           "description", "email", "review", "question"),
    ID: ("id", "externalid", "docid", "documentid", "uuid", "key", "name", "filename", "uid"),
    TAGS: ("tags", "failuretags"),
    GOLD: ("gold", "output", "completion", "json", "expected", "answer", "response"),
}  # fmt: skip
_CLASSES: Final = ("label", "category", "class", "intent", "target", "labels", "y", "queue", "topic")


def role_choices(compiled: CompiledSchema) -> dict[str, str]:
    """Every role a column can have and its label: the fields of the schema, and the others."""
    fields = {_FIELD + field.pattern: f"Gold: {field.title} ({field.pattern})" for field in mappable(compiled)}
    return {
        TEXT: ROLES[TEXT],
        ID: ROLES[ID],
        **fields,
        **{role: ROLES[role] for role in (GOLD, TAGS, METADATA, IGNORE)},
    }


def mappable(compiled: CompiledSchema) -> list[Field]:
    """The fields that one cell can hold: those outside lists."""
    return [field for field in compiled.fields if "[]" not in field.pattern and field.pattern]


def guess_roles(columns: Sequence[str], compiled: CompiledSchema) -> dict[str, str]:
    """A role for every column, by its name. A role that only one column can have goes to the first that fits.

    If the schema has one field with choices, a column named like a class (label, category, ...) is that field. If a
    column holds the whole gold, columns named like a field are ignored.
    """
    roles: dict[str, str] = {}
    fields = {_plain(name): field for field in mappable(compiled) for name in (field.pattern, field.name, field.title)}
    classes = [field for field in mappable(compiled) if field.enum]
    taken: set[str] = set()

    def assign(column: str, role: str) -> bool:
        if column in roles or role in taken:
            return False
        roles[column] = role
        taken.add(role)
        return True

    named = {column: _plain(column.removeprefix("gold.").removeprefix("gold_")) for column in columns}
    for role in (TEXT, ID, TAGS, GOLD):
        for expected in _NAMES[role]:
            for column in columns:
                # A field of the schema may be called "description".
                if _plain(column) == expected and (expected not in fields or expected in ("text", "id")):
                    assign(column, role)
    whole = GOLD in taken
    places = {_plain(node.pattern) for node in compiled.root.nodes()} if whole else set()
    for column in columns:
        field = fields.get(named[column])
        if whole and named[column] in places:
            roles.setdefault(column, IGNORE)  # the whole gold contains it
        elif field is not None and not whole:
            assign(column, _FIELD + field.pattern)
    if len(classes) == 1 and not whole:
        for column in columns:
            if _plain(column) in _CLASSES:
                assign(column, _FIELD + classes[0].pattern)
    if TEXT not in taken:
        remaining = [column for column in columns if column not in roles]
        if len(remaining) == 1:
            assign(remaining[0], TEXT)
    return {column: roles.get(column, METADATA) for column in columns}


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "", name.casefold())


def mapping_error(mapping: Mapping[str, str], columns: Sequence[str], compiled: CompiledSchema) -> str:
    """Why a mapping is invalid, as a sentence; "" if it is valid."""
    allowed = role_choices(compiled)
    for column, role in mapping.items():
        if role not in allowed:
            return f"The column {column} cannot be {role}: the schema has no such field."
        if column not in columns:
            return f"Unknown column {column}."
    chosen = [role for role in mapping.values() if role not in (METADATA, IGNORE)]
    repeated = next((role for role in chosen if chosen.count(role) > 1), "")
    if repeated:
        both = " and ".join(column for column, role in mapping.items() if role == repeated)
        label = ROLES.get(repeated, repeated.removeprefix(_FIELD))
        return f"{both} have the same role ({label}). Choose one column for it."
    if TEXT not in chosen:
        return "Choose the column that contains the document text."
    if GOLD in chosen and any(role.startswith(_FIELD) for role in chosen):
        return "One column contains the whole gold label, so no other column can be a field of it."
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
            ValueError: a cell does not have the type of its column's role; names the column.
        """
        data: dict[str, Any] = {}
        gold: dict[str, Any] = {}
        has_gold = False
        for column, cell in record.items():
            role = self.roles.get(column, METADATA)
            if column in self.fields:
                field, steps = self.fields[column]
                value = _typed(column, cell, field, self._document(record))
                has_gold = has_gold or value is not None
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
            elif role == METADATA and cell not in (None, ""):
                # The name of a column may be a key of a row.
                data[column if column not in ("id", "text", "gold", "tags", "page") else f"{column}_"] = cell
        if has_gold:
            data["gold"] = gold
        return data

    def _document(self, record: Mapping[str, Any]) -> str:
        """The text of the row's document and its dates, from which the order of day and month is inferred."""
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
        # A table has a cell for every field, also for fields that a row lacks.
        return None if cell is None else fitting(cell, self.compiled)


def fitting(value: Any, compiled: CompiledSchema) -> Any:
    """The value; without the keys that are null if only that is valid."""
    if not compiled.validate(value):
        return value
    shorter = _without_null(value)
    return value if compiled.validate(shorter) else shorter


def _without_null(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_null(item) for name, item in value.items() if item is not None}
    return [_without_null(item) for item in value] if isinstance(value, list) else value


def _put(gold: dict[str, Any], steps: tuple[str | int | None, ...], value: Any) -> None:
    place = gold
    for step in steps[:-1]:
        place = place.setdefault(str(step), {})
    place[str(steps[-1])] = value


def _typed(column: str, cell: Any, field: Field, document: str) -> Any:
    """The value of a cell; the cell itself if it has the type of the field."""
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
        expected = "one of the choices" if field.enum else f"a {field.format or field.kind or field.type}"
        raise ValueError(
            f"the column {column} contains “{cell[:60]}”, which is not {expected} of the field {field.pattern}"
        )
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


# -- tables ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Preview:
    """The columns and first rows of a table. ``detected`` are the options that were read off the file."""

    names: list[str]
    rows: list[list[str]]
    detected: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class Sample:
    """The first rows of a table as JSON: ``shown`` as texts, ``records`` as ("r", row) or ("e", error)."""

    names: list[str]
    shown: list[list[str]]
    records: list[list[str]]

    @property
    def preview(self) -> Preview:
        """What the page shows."""
        return Preview(self.names, self.shown)

    def rows(self, context: Context) -> Iterator[ParsedRow]:
        """The rows as an import would read them."""
        return parse_records(self.names, ((tag, text) for tag, text in self.records), context)


def parse_records(names: list[str], records: Iterable[tuple[str, str]], context: Context) -> Iterator[ParsedRow]:
    """The rows of records: ("r", a JSON object of cells) or ("e", an error as JSON)."""
    mapper = mapper_of(names, context)
    for number, (tag, text) in enumerate(records, 1):
        if tag == "e":
            yield ParsedRow(number, None, json.loads(text))
            continue
        try:
            yield ParsedRow(number, mapper.row(json.loads(text, parse_float=Decimal)), raw=text)
        except (ValueError, TypeError, ArithmeticError, RecursionError) as error:
            yield ParsedRow(number, None, str(error))


def mapper_of(names: list[str], context: Context) -> Mapper:
    """The mapping that the user chose, or a guess.

    Raises:
        ReadError: no column is the text, or the mapping does not fit the table.
    """
    chosen = context.options.get("columns")
    mapping = dict(chosen) if isinstance(chosen, Mapping) else guess_roles(names, context.compiled)
    if error := mapping_error(mapping, names, context.compiled):
        raise ReadError(f"{error} The columns are: {', '.join(names[:20])}.")
    return Mapper(mapping, context.compiled)
