"""Label Studio's JSON export: tasks with annotations and predictions become rows with gold and proposals.

What a result is about is told by its ``from_name``: the name of a field, its path (``line_items[0].amount``) or, for
spans, the label itself. See https://labelstud.io/guide/export for the shape.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO, Any, Final

from labeling.imports.formats import Context
from labeling.imports.formats.columns import UNAMBIGUOUS, arrays, without_null
from labeling.imports.formats.json_values import parsed_values
from labeling.imports.rows import ParsedRow, Proposed
from slmstudio.contract.json_text import JsonError, dumps, loads
from slmstudio.contract.schema.compiled import CompiledSchema
from slmstudio.contract.schema.structure import Field, Node, join, pattern_of, split
from slmstudio.contract.values.kinds.values import ambiguity, parse_typed

_TEXTS: Final = ("text", "content", "document", "body", "message", "input", "ocr")
#: key of a result's value, by the type of the control
_KEYS: Final = ("choices", "text", "number", "rating", "datetime", "labels", "taxonomy")
_ROWS_AT_MOST: Final = 10_000


def rows(stream: IO[bytes], context: Context) -> Iterator[ParsedRow]:
    """The tasks of an export. Of several annotations the newest that was not cancelled is the gold."""
    for number, (task, error, raw) in enumerate(parsed_values(stream), 1):
        if error:
            yield ParsedRow(number, None, error, raw)
            continue
        try:
            yield _row(number, task, context.compiled, raw)
        except _TaskError as refused:
            yield ParsedRow(number, {"id": _task_id(task)}, str(refused), raw)


class _TaskError(ValueError):
    """Why a task cannot become a row, as a sentence."""


def _task_id(task: Any) -> Any:
    if not isinstance(task, dict):
        return None
    data = task.get("data")
    own = data.get("id", data.get("external_id")) if isinstance(data, dict) else None
    if isinstance(own, str | int) and not isinstance(own, bool) and own != "":
        return own
    return f"task-{task['id']}" if isinstance(task.get("id"), int | str) else None


def _row(number: int, task: Any, compiled: CompiledSchema, raw: str) -> ParsedRow:
    if not isinstance(task, dict) or not isinstance(task.get("data"), dict):
        raise _TaskError('not a task of Label Studio: there is no "data"')
    data = task["data"]
    name, text = _text(data)
    row: dict[str, Any] = {"id": _task_id(task), "text": text}
    row |= {key: value for key, value in data.items() if key not in (name, "id", "external_id", "text", "gold")}
    evidence: dict[str, Any] = {}
    newest = _newest(task.get("annotations", task.get("completions")))
    if newest is not None:
        gold, evidence = _value(newest, compiled, text)
        row["gold"] = _fitting(gold, compiled)
    proposals = tuple(_proposals(task.get("predictions"), compiled, text))
    return ParsedRow(number, row, "", raw, evidence=evidence, predictions=proposals)


def _text(data: Mapping[str, Any]) -> tuple[str, str]:
    """The name and the text of the task: by its name, or the only text there is. Images are not fetched."""
    texts = {name: value for name, value in data.items() if isinstance(value, str)}
    for name in _TEXTS:
        if name in texts:
            return name, texts[name]
    left = [name for name, value in texts.items() if not re.match(r"(?:https?|s3|gs|file)://|/data/", value)]
    left = [name for name in left if name not in ("id", "external_id")]
    if len(left) == 1:
        return left[0], texts[left[0]]
    if not left and texts:
        raise _TaskError("the task has no text: files and addresses it points to are not fetched")
    raise _TaskError(f'the task has no "text" among {", ".join(sorted(data)[:10]) or "its data"}')


def _newest(annotations: Any) -> Any:
    if annotations is not None and not isinstance(annotations, list):
        raise _TaskError('"annotations" must be a list')
    given = [one for one in annotations or () if isinstance(one, dict) and not one.get("was_cancelled")]
    given = [one for one in given if isinstance(one.get("result"), list) and one["result"]]
    return max(given, key=lambda one: str(one.get("updated_at") or one.get("created_at") or ""), default=None)


def _proposals(given: Any, compiled: CompiledSchema, text: str) -> Iterator[Proposed]:
    for one in given if isinstance(given, list) else ():
        if isinstance(one, dict) and isinstance(one.get("result"), list) and one["result"]:
            try:
                value, _ = _value(one, compiled, text)
            except _TaskError:
                continue  # what a model said beside the schema fills no form
            yield Proposed(dumps(_fitting(value, compiled)), str(one.get("model_version") or "")[:200])


def _fitting(value: Any, compiled: CompiledSchema) -> Any:
    """As it was said; without what is null where the schema does not take that."""
    if not compiled.validate(value):
        return value
    shorter = without_null(value)
    return value if compiled.validate(shorter) else shorter


@dataclass
class _Building:
    """A value while the results are put into it. ``text`` is the document's."""

    compiled: CompiledSchema
    text: str
    value: dict[str, Any] = field(default_factory=dict)
    evidence: dict[str, Any] = field(default_factory=dict)


def _value(annotation: Mapping[str, Any], compiled: CompiledSchema, text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    building = _Building(compiled, text)
    for result in annotation["result"]:
        if isinstance(result, dict) and isinstance(result.get("value"), dict):
            _take(building, result, text)
    return building.value, building.evidence


def _take(building: _Building, result: Mapping[str, Any], text: str) -> None:
    value = result["value"]
    name = str(result.get("from_name", ""))
    place = _place(value, text)
    if isinstance(value.get("labels"), list) and place is not None:
        for label in value["labels"]:
            _take_span(building, name, str(label), text[place["start"] : place["end"]], place)
        return
    key = next((key for key in _KEYS if key in value), None)
    if key is None:
        return
    given = value[key] if isinstance(value[key], list) else [value[key]]
    if name == "gold" and len(given) == 1 and isinstance(given[0], str):
        try:
            whole = loads(given[0])
        except JsonError as error:
            raise _TaskError(f"the result gold is not JSON: {error}") from None
        if not isinstance(whole, dict):
            raise _TaskError("the result gold is not a JSON object")
        building.value = whole
        return
    path, node = _find(building.compiled, name)
    if node is None:
        raise _TaskError(f"the result {name} is no field of the schema")
    if node.item is not None and node.item.field is not None:
        _put(building, path, [_typed(one, node.item.field, name, building.text) for one in given])
    elif node.field is not None:
        if len(given) > 1:
            raise _TaskError(f"the result {name} has {len(given)} values, and its field takes one")
        _put(building, path, _typed(given[0], node.field, name, building.text) if given else None)
        if place is not None:
            building.evidence[path] = place
    elif given and isinstance(given[0], str):  # a group or a list of rows, as JSON
        _put(building, path, _json(given[0], name))


def _place(value: Mapping[str, Any], text: str) -> dict[str, int] | None:
    start, end = value.get("start"), value.get("end")
    if type(start) is int and type(end) is int and 0 <= start < end <= len(text):
        return {"start": start, "end": end}
    return None


def _take_span(building: _Building, name: str, label: str, said: str, place: dict[str, int]) -> None:
    """A labelled stretch: the label is a field, or one of the choices in a list of rows (a kind and its words)."""
    path, node = _find(building.compiled, label)
    if node is not None and node.item is not None and node.item.field is not None:
        rows = building.value.setdefault(path, []) if _plain_path(path) else None
        if rows is None or len(rows) >= _ROWS_AT_MOST:
            return
        building.evidence[f"{path}[{len(rows)}]"] = place
        rows.append(_typed(said, node.item.field, label, building.text))
        return
    if node is not None and node.field is not None:
        if path not in building.evidence:  # the first place is the evidence, the others say the same
            _put(building, path, _typed(said, node.field, label, building.text))
            building.evidence[path] = place
        return
    for array in arrays(building.compiled.root):
        kind, words = _kind_and_words(array, label)
        if kind is None or words is None or not _plain_path(array.pattern):
            continue
        rows = building.value.setdefault(array.pattern, [])
        if len(rows) >= _ROWS_AT_MOST:
            return
        assert array.item is not None
        row = {kind.name: _choice(label, kind), words.name: said}
        row |= {side: place[side] for side in ("start", "end") if side in array.item.children}
        building.evidence[f"{array.pattern}[{len(rows)}].{words.name}"] = place
        rows.append(row)
        return
    raise _TaskError(f"the label {label} of {name or 'a span'} is neither a field nor a choice of the schema")


def _kind_and_words(array: Node, label: str) -> tuple[Field | None, Field | None]:
    assert array.item is not None
    leaves = [child.field for child in array.item.children.values() if child.field is not None]
    kind = next((leaf for leaf in leaves if leaf.enum and _choice(label, leaf) is not None), None)
    words = next((leaf for leaf in leaves if leaf.type == "string" and not leaf.enum), None)
    return kind, words


def _choice(label: str, kind: Field) -> Any:
    return label if label in kind.enum else parse_typed(label, kind)


def _plain_path(path: str) -> bool:
    return bool(path) and "." not in path and "[" not in path


def _find(compiled: CompiledSchema, name: str) -> tuple[str, Node | None]:
    """The concrete path and the node that a name means: its path, or a name that only one field has."""
    try:
        pattern = pattern_of("".join(_steps(name)))
    except ValueError:
        pattern = name
    nodes = {node.pattern: node for node in compiled.root.nodes() if node.pattern}
    if pattern in nodes and "[]" not in name:
        return name, nodes[pattern]
    folded = re.sub(r"[^a-z0-9]+", "", name.casefold())
    named = [
        node
        for node in nodes.values()
        if "[]" not in node.pattern and re.sub(r"[^a-z0-9]+", "", node.pattern.rsplit(".", 1)[-1].casefold()) == folded
    ]
    return (named[0].pattern, named[0]) if len(named) == 1 and folded else (name, None)


def _steps(name: str) -> Iterator[str]:
    path = ""
    for step in split(name):
        if step is None:
            raise ValueError
        path = join(path, step)
    yield path


def _put(building: _Building, path: str, value: Any) -> None:
    place: Any = building.value
    steps = [step for step in split(path) if step is not None]
    for step, following in zip(steps, [*steps[1:], None], strict=True):
        fits = isinstance(place, list if isinstance(step, int) else dict)
        if not fits:
            raise _TaskError(f"the result {path} contradicts another one")
        if isinstance(step, int):
            if step > _ROWS_AT_MOST:
                raise _TaskError(f"the result {path} is too far down its list")
            while len(place) <= step:
                place.append({} if isinstance(following, str) else [] if following is not None else None)
        if following is None:
            place[step] = value
        elif isinstance(step, str):
            place = place.setdefault(step, [] if isinstance(following, int) else {})
        else:
            place = place[step]


def _typed(value: Any, wanted: Field, name: str, document: str) -> Any:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, str) or value == "":
        return None if value == "" else value
    if wanted.enum and value in wanted.enum:
        return value
    if wanted.type == "string" and not wanted.enum and wanted.format != "date":
        return value
    if wanted.type in ("number", "integer", "any", "object", "array"):
        try:
            return loads(value)  # digit for digit, where it is a number as JSON has them
        except JsonError:
            pass
    read = parse_typed(value, wanted, document)
    if read is None and (unclear := ambiguity(value, wanted, document)):
        raise _TaskError(f"the result {name}: {unclear} Write {UNAMBIGUOUS}, or set date_order in the schema")
    if read is None:
        raise _TaskError(f"the result {name} is “{value[:60]}”, which its field {wanted.pattern} cannot be")
    return read


def _json(text: str, name: str) -> Any:
    try:
        return loads(text)
    except JsonError as error:
        raise _TaskError(f"the result {name} is not JSON: {error}") from None
