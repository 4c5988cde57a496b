"""The gold of a window: what of a document's gold its text contains. Pure.

Rows of lists are in the windows that contain their evidence, so one in an overlap is in both. A single value is in the
windows that contain it. In the others it is null, or left out where its schema does not allow null: outputs of windows
follow ``window_schema``. A value without evidence (a class, a boolean) is in all windows, and one that is not in the
document verbatim is in the first.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from slmstudio.contract.schema.compiled import CompiledSchema, compile_schema
from slmstudio.contract.schema.dialect import is_number
from slmstudio.contract.schema.resolution import follow
from slmstudio.contract.schema.structure import Field, Node
from slmstudio.contract.values.evidence import find
from slmstudio.contract.windows.positions import locate_rows
from slmstudio.contract.windows.windows import Window

#: keywords that say more about the fields of an object
_ALSO_CONSTRAINING = {"allOf", "anyOf", "oneOf", "if", "then", "else", "dependentSchemas"}
#: a value that a window does not have
_ABSENT = object()


def window_schema(compiled: CompiledSchema) -> CompiledSchema:
    """The schema of the output for a window: single values that must not be null are optional, lists may be empty.

    It is the schema itself where all single values may be null. Rows of lists are complete, and objects with
    alternatives are as they were.
    """
    return compile_schema(_relaxed(compiled.schema, compiled.schema, compiled.root, nulls=False))


def nullable_window_schema(compiled: CompiledSchema) -> CompiledSchema:
    """The same, where a value at the top that a window does not have is null instead of left out: servers whose strict
    mode requires all names accept it. Objects whose fields are constrained elsewhere as well are as in the other.
    """
    return compile_schema(_relaxed(compiled.schema, compiled.schema, compiled.root, nulls=True))


def _relaxed(root: dict[str, Any], schema: Any, node: Node, *, nulls: bool) -> Any:
    target = schema
    while isinstance(target, dict) and set(target) & {"$ref"}:
        target = {**follow(root, target["$ref"]), **{key: rule for key, rule in target.items() if key != "$ref"}}
    if not isinstance(target, dict):
        return schema
    if node.item is not None and "minItems" in target:
        return {key: rule for key, rule in target.items() if key != "minItems"}
    if not node.children or "properties" not in target:
        return schema
    fields = {
        name: _relaxed(root, inner, node.children[name], nulls=False) if name in node.children else inner
        for name, inner in target["properties"].items()
    }
    required = target.get("required", [])
    absent = [name for name in required if _may_be_absent(node.children.get(name))]
    if nulls and not _ALSO_CONSTRAINING & set(target):
        nullable = [name for name in absent if name in fields]
        fields |= {name: {"anyOf": [fields[name], {"type": "null"}]} for name in nullable}
        absent = [name for name in absent if name not in nullable]
    kept = [name for name in required if name not in absent]
    relaxed = {**target, "properties": fields, **({"required": kept} if kept != required else {})}
    return relaxed if relaxed != target else schema


def _may_be_absent(node: Node | None) -> bool:
    """Whether a window without evidence of a required value leaves it out."""
    return node is not None and node.field is not None and not node.nullable and node.field.evidence != "none"


def window_gold(compiled: CompiledSchema, gold: Any, text: str, windows: Sequence[Window]) -> list[Any]:
    """The gold of each window of a document: every row and value of ``gold`` is in at least one of them."""
    parts = _of_object(compiled.root, gold, text, windows)
    return [{} if part is _ABSENT else part for part in parts]


def _of_place(node: Node, value: Any, text: str, windows: Sequence[Window]) -> list[Any]:
    if isinstance(value, list) and node.item is not None:
        return _of_list(node.item, value, text, windows)
    if isinstance(value, dict) and node.children:
        return _of_object(node, value, text, windows)
    if isinstance(value, dict) and node.field is not None:
        return _of_map(node.field, value, text, windows)
    return _of_value(node.field, value, text, windows)


def _of_object(node: Node, value: Any, text: str, windows: Sequence[Window]) -> list[Any]:
    objects: list[dict[str, Any]] = [{} for _ in windows]
    for name, inner in value.items():
        child = node.children.get(name)
        parts = _of_place(child, inner, text, windows) if child is not None else [inner] * len(windows)
        for part_object, part in zip(objects, parts, strict=True):
            if part is not _ABSENT:
                part_object[name] = part
    return objects


def _of_list(item: Node, rows: list[Any], text: str, windows: Sequence[Window]) -> list[Any]:
    lists: list[list[Any]] = [[] for _ in windows]
    before = windows[0].start
    for row, position in zip(rows, locate_rows(item, rows, text), strict=True):
        at, start, end = (position.at, position.start, position.end) if position else (before, before, before)
        before = at
        inside = [number for number, window in enumerate(windows) if window.start <= start and end <= window.end]
        for number in inside or [_window_of(at, windows)]:
            lists[number].append(row)
    return lists


def _window_of(offset: int, windows: Sequence[Window]) -> int:
    return next(
        number for number, window in enumerate(windows) if window.start <= offset < window.end or window is windows[-1]
    )


def _of_map(field: Field, value: dict[str, Any], text: str, windows: Sequence[Window]) -> list[Any]:
    """An object with any names: by entry."""
    objects: list[dict[str, Any]] = [{} for _ in windows]
    for name, inner in value.items():
        number = is_number(inner)
        entry = replace(
            field, type="number" if number else "string", kind="number" if number else "text", evidence="expected"
        )
        for part_object, part in zip(objects, _of_value(entry, inner, text, windows), strict=True):
            if part is not _ABSENT:
                part_object[name] = part
    return objects


def _of_value(field: Field | None, value: Any, text: str, windows: Sequence[Window]) -> list[Any]:
    if field is None or field.evidence == "none" or value is None or isinstance(value, bool | dict | list):
        return [value] * len(windows)
    spans = find(value, field, text, limit=None)
    inside = [any(window.start <= span.start and span.end <= window.end for span in spans) for window in windows]
    if not any(inside):
        inside[0] = True
    return [value if here else _ABSENT for here in inside]
