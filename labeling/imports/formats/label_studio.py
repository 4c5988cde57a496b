"""Label Studio's JSON export: tasks with annotations and predictions become rows with gold labels and predictions.

The ``from_name`` of a result is the name of a field or its path (``line_items[0].amount``); the field of a span is its
label. See https://labelstud.io/guide/export for the format.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO, Any, Final

from labeling.imports.formats.base import RESERVE, FileHead, Format, Source
from labeling.imports.formats.column_mapping import UNAMBIGUOUS, arrays, fitting
from labeling.imports.formats.encodings import read_text, to_utf8
from labeling.imports.formats.json_values import first_item, first_line, is_list, is_spread, parsed_values
from labeling.imports.rows import ParsedRow, RowPrediction
from slmstudio.contract.json_text import JsonError, dumps, loads
from slmstudio.contract.schema.compiled import CompiledSchema
from slmstudio.contract.schema.structure import Field, Node, join, pattern_of, split
from slmstudio.contract.values.kinds.values import ambiguity, parse_typed

_TEXTS: Final = ("text", "content", "document", "body", "message", "input", "ocr")
#: key of a result's value, by the type of the control
_KEYS: Final = ("choices", "text", "number", "rating", "datetime", "labels", "taxonomy")
#: in a list
_MAX_ITEMS: Final = 10_000


def rows(source: Source) -> Iterator[ParsedRow]:
    """The tasks of an export. Of several annotations, the newest that was not cancelled is the gold label."""
    return read_text(source, lambda file, encoding: parse_tasks(to_utf8(file, encoding), source.context.compiled))


def parse_tasks(stream: IO[bytes], compiled: CompiledSchema) -> Iterator[ParsedRow]:
    """The tasks of an export in UTF-8 as rows."""
    for number, (task, error, raw) in enumerate(parsed_values(stream), 1):
        if error:
            yield ParsedRow(number, None, error, raw)
            continue
        try:
            yield _row(number, task, compiled, raw)
        except _TaskError as invalid:
            yield ParsedRow(number, {"id": _task_id(task)}, str(invalid), raw)


class _TaskError(ValueError):
    """Why a task is not a valid row."""


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
        raise _TaskError('not a Label Studio task: it has no "data"')
    data = task["data"]
    name, text = _text(data)
    row: dict[str, Any] = {"id": _task_id(task), "text": text}
    row |= {key: value for key, value in data.items() if key not in (name, "id", "external_id", "text", "gold")}
    evidence: dict[str, Any] = {}
    newest = _newest(task.get("annotations", task.get("completions")))
    if newest is not None:
        gold, evidence = _value(newest, compiled, text)
        row["gold"] = fitting(gold, compiled)
    predictions = tuple(_predictions(task.get("predictions"), compiled, text))
    return ParsedRow(number, row, "", raw, evidence=evidence, predictions=predictions)


def _text(data: Mapping[str, Any]) -> tuple[str, str]:
    """The key and the text of the task: a usual key, or the only text in it. URLs are not fetched."""
    texts = {name: value for name, value in data.items() if isinstance(value, str)}
    for name in _TEXTS:
        if name in texts:
            return name, texts[name]
    plain = [name for name, value in texts.items() if not re.match(r"(?:https?|s3|gs|file)://|/data/", value)]
    plain = [name for name in plain if name not in ("id", "external_id")]
    if len(plain) == 1:
        return plain[0], texts[plain[0]]
    if not plain and texts:
        raise _TaskError("the task has no text; files and URLs are not fetched")
    raise _TaskError(f'the task has no "text" among {", ".join(sorted(data)[:10]) or "its data"}')


def _newest(annotations: Any) -> Any:
    if annotations is not None and not isinstance(annotations, list):
        raise _TaskError('"annotations" must be a list')
    active = [
        annotation
        for annotation in annotations or ()
        if isinstance(annotation, dict) and not annotation.get("was_cancelled")
    ]
    active = [
        annotation for annotation in active if isinstance(annotation.get("result"), list) and annotation["result"]
    ]
    return max(
        active,
        key=lambda annotation: str(annotation.get("updated_at") or annotation.get("created_at") or ""),
        default=None,
    )


def _predictions(value: Any, compiled: CompiledSchema, text: str) -> Iterator[RowPrediction]:
    for prediction in value if isinstance(value, list) else ():
        if isinstance(prediction, dict) and isinstance(prediction.get("result"), list) and prediction["result"]:
            try:
                predicted, _ = _value(prediction, compiled, text)
            except _TaskError:
                continue  # a prediction outside the schema cannot fill the form
            yield RowPrediction(dumps(fitting(predicted, compiled)), str(prediction.get("model_version") or "")[:200])


@dataclass
class _LabelBuilder:
    """The label that the results of an annotation add up to. ``text`` is the document's."""

    compiled: CompiledSchema
    text: str
    value: dict[str, Any] = field(default_factory=dict)
    evidence: dict[str, Any] = field(default_factory=dict)


def _value(annotation: Mapping[str, Any], compiled: CompiledSchema, text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    builder = _LabelBuilder(compiled, text)
    for result in annotation["result"]:
        if isinstance(result, dict) and isinstance(result.get("value"), dict):
            _apply_result(builder, result, text)
    return builder.value, builder.evidence


def _apply_result(builder: _LabelBuilder, result: Mapping[str, Any], text: str) -> None:
    value = result["value"]
    name = str(result.get("from_name", ""))
    place = _place(value, text)
    if isinstance(value.get("labels"), list) and place is not None:
        for label in value["labels"]:
            _apply_span(builder, name, str(label), text[place["start"] : place["end"]], place)
        return
    key = next((key for key in _KEYS if key in value), None)
    if key is None:
        return
    values = value[key] if isinstance(value[key], list) else [value[key]]
    if name == "gold" and len(values) == 1 and isinstance(values[0], str):
        try:
            whole = loads(values[0])
        except JsonError as error:
            raise _TaskError(f"the result gold is not JSON: {error}") from None
        if not isinstance(whole, dict):
            raise _TaskError("the result gold is not a JSON object")
        builder.value = whole
        return
    path, node = _find(builder.compiled, name)
    if node is None:
        raise _TaskError(f"the result {name} is not a field of the schema")
    if node.item is not None and node.item.field is not None:
        _put(builder, path, [_typed(item, node.item.field, name, builder.text) for item in values])
    elif node.field is not None:
        if len(values) > 1:
            raise _TaskError(f"the result {name} has {len(values)} values; its field takes one")
        _put(builder, path, _typed(values[0], node.field, name, builder.text) if values else None)
        if place is not None:
            builder.evidence[path] = place
    elif values and isinstance(values[0], str):  # an object or a list of rows, as JSON
        _put(builder, path, _json(values[0], name))


def _place(value: Mapping[str, Any], text: str) -> dict[str, int] | None:
    start, end = value.get("start"), value.get("end")
    if type(start) is int and type(end) is int and 0 <= start < end <= len(text):
        return {"start": start, "end": end}
    return None


def _apply_span(builder: _LabelBuilder, name: str, label: str, span: str, place: dict[str, int]) -> None:
    """A labeled span: the label is a field, or a choice in a list of rows (of a choice and a text)."""
    path, node = _find(builder.compiled, label)
    if node is not None and node.item is not None and node.item.field is not None:
        rows = builder.value.setdefault(path, []) if _plain_path(path) else None
        if rows is None or len(rows) >= _MAX_ITEMS:
            return
        builder.evidence[f"{path}[{len(rows)}]"] = place
        rows.append(_typed(span, node.item.field, label, builder.text))
        return
    if node is not None and node.field is not None:
        if path not in builder.evidence:  # the first span is the evidence; the others repeat the value
            _put(builder, path, _typed(span, node.field, label, builder.text))
            builder.evidence[path] = place
        return
    for array in arrays(builder.compiled.root):
        choice, content = _choice_and_text(array, label)
        if choice is None or content is None or not _plain_path(array.pattern):
            continue
        rows = builder.value.setdefault(array.pattern, [])
        if len(rows) >= _MAX_ITEMS:
            return
        assert array.item is not None
        row = {choice.name: _choice(label, choice), content.name: span}
        row |= {side: place[side] for side in ("start", "end") if side in array.item.children}
        builder.evidence[f"{array.pattern}[{len(rows)}].{content.name}"] = place
        rows.append(row)
        return
    raise _TaskError(f"the label {label} of {name or 'a span'} is neither a field nor a choice of the schema")


def _choice_and_text(array: Node, label: str) -> tuple[Field | None, Field | None]:
    assert array.item is not None
    leaves = [child.field for child in array.item.children.values() if child.field is not None]
    choice = next((leaf for leaf in leaves if leaf.enum and _choice(label, leaf) is not None), None)
    content = next((leaf for leaf in leaves if leaf.type == "string" and not leaf.enum), None)
    return choice, content


def _choice(label: str, field: Field) -> Any:
    return label if label in field.enum else parse_typed(label, field)


def _plain_path(path: str) -> bool:
    return bool(path) and "." not in path and "[" not in path


def _find(compiled: CompiledSchema, name: str) -> tuple[str, Node | None]:
    """The path and the node of a name: a path, or a name that only one field has."""
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


def _put(builder: _LabelBuilder, path: str, value: Any) -> None:
    place: Any = builder.value
    steps = [step for step in split(path) if step is not None]
    for step, following in zip(steps, [*steps[1:], None], strict=True):
        fits = isinstance(place, list if isinstance(step, int) else dict)
        if not fits:
            raise _TaskError(f"the result {path} contradicts another one")
        if isinstance(step, int):
            if step > _MAX_ITEMS:
                raise _TaskError(f"the index of the result {path} is too large")
            while len(place) <= step:
                place.append({} if isinstance(following, str) else [] if following is not None else None)
        if following is None:
            place[step] = value
        elif isinstance(step, str):
            place = place.setdefault(step, [] if isinstance(following, int) else {})
        else:
            place = place[step]


def _typed(value: Any, expected: Field, name: str, document: str) -> Any:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, str) or value == "":
        return None if value == "" else value
    if expected.enum and value in expected.enum:
        return value
    if expected.type == "string" and not expected.enum and expected.format != "date":
        return value
    if expected.type in ("number", "integer", "any", "object", "array"):
        try:
            return loads(value)  # digit for digit, where it is a number as JSON has them
        except JsonError:
            pass
    read = parse_typed(value, expected, document)
    if read is None and (unclear := ambiguity(value, expected, document)):
        raise _TaskError(f"the result {name}: {unclear} Write {UNAMBIGUOUS}, or set date_order in the schema")
    if read is None:
        raise _TaskError(f"the result {name} is “{value[:60]}”, which is not a value of its field {expected.pattern}")
    return read


def _json(text: str, name: str) -> Any:
    try:
        return loads(text)
    except JsonError as error:
        raise _TaskError(f"the result {name} is not JSON: {error}") from None


def detect(head: FileHead) -> bool:
    """A list of tasks, or one task per line."""
    if is_list(head) or is_spread(head):
        return _is_task(first_item(head), head.data)
    return head.start.startswith(b"{") and _is_task(first_line(head), b"")


def _is_task(value: object, head: bytes) -> bool:
    """Whether a value is a task; by its keys in the head if it is too long to be parsed."""
    if isinstance(value, dict):
        return isinstance(value.get("data"), dict) and bool(
            {"annotations", "predictions", "completions"} & value.keys()
        )
    return value is None and b'"data"' in head and b'"annotations"' in head and b'"from_name"' in head


FORMAT = Format(
    "labelstudio",
    "Label Studio: JSON export",
    rows,
    usual_extensions=(".json", ".jsonl"),
    detect=detect,
    options=(RESERVE,),
)
