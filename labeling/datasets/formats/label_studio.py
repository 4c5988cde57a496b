"""Label Studio JSON: a list of tasks, each with the document as data and its label as one annotation.

Each leaf of the label is a result, named by its path (``seller.name``, ``line_items[0].amount``): choices if the schema
has fixed values, else a text area. Numbers keep their digits, and an empty text area is null. A label that cannot be
written this way (an empty text or list, a value of any type) is one text area named ``gold`` with its JSON.
"""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

from labeling.datasets.formats.base import ExportContext, ExportRow, Format, chunked, extra_columns
from slmstudio.contract.schema.compiled import CompiledSchema, dumps, join, pattern_of
from slmstudio.contract.values.kinds.values import parse_typed

TO_NAME = "text"
WHOLE = "gold"


def tasks(examples: Iterable[ExportRow], about: ExportContext) -> Iterator[bytes]:
    """The list, one task per line."""
    return chunked(_json_list(dumps(task(row, number, about.compiled)) for number, row in enumerate(examples, start=1)))


def _json_list(values: Iterable[str]) -> Iterator[str]:
    before = "[\n"
    for value in values:
        yield before + value
        before = ",\n"
    yield "[]\n" if before == "[\n" else "\n]\n"


def task(row: ExportRow, number: int, compiled: CompiledSchema) -> dict[str, Any]:
    """A document. ``data`` also has its metadata, after our own names."""
    data: dict[str, Any] = {"text": row.text, "id": row.id}
    if row.tags:
        data["tags"] = row.tags
    data |= extra_columns(row)
    annotations = []
    if row.gold is not None:
        annotations.append({"id": number, "ground_truth": True, "result": list(results(row.id, row.gold, compiled))})
    return {"id": number, "data": data, "annotations": annotations, "predictions": []}


def results(seed: str, gold: Any, compiled: CompiledSchema) -> Iterator[dict[str, Any]]:
    """The leaves of a label, or the label as a whole."""
    leaves = list(_leaves(gold, ""))
    if not all(_round_trips(path, value, compiled) for path, value in leaves):
        leaves = [(WHOLE, dumps(gold))]
    for path, value in leaves:
        field = compiled.by_pattern.get(pattern_of(path))
        choice = field is not None and (bool(field.enum) or field.type == "boolean")
        texts = [] if value is None else [value if isinstance(value, str) else dumps(value)]
        yield {
            "id": hashlib.blake2b(f"{seed}\0{path}".encode(), digest_size=5).hexdigest(),
            "from_name": path,
            "to_name": TO_NAME,
            "type": "choices" if choice else "textarea",
            "value": {"choices": texts} if choice else {"text": texts},
        }


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for name, item in value.items():
            yield from _leaves(item, join(path, name))
    elif isinstance(value, list) and value:
        for number, item in enumerate(value):
            yield from _leaves(item, join(path, number))
    else:
        yield path, value


def _round_trips(path: str, value: Any, compiled: CompiledSchema) -> bool:
    """Whether a reader with the schema gets the same leaf from its text."""
    field = compiled.by_pattern.get(pattern_of(path))
    if field is None or path == WHOLE or value == "" or isinstance(value, dict | list):
        return False
    if isinstance(value, str):
        if field.format == "date" and not field.enum:
            return bool(parse_typed(value, field) == value)
        return field.type == "string" and (not field.enum or value in field.enum)
    if value is None:
        return not path.endswith("]")
    return field.type in (("boolean",) if isinstance(value, bool) else ("number", "integer"))


FORMAT = Format(
    name="label-studio",
    title="Label Studio",
    description="JSON tasks with annotations",
    extension="json",
    content_type="application/json",
    write=tasks,
)
