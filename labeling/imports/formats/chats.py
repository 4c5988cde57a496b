"""Fine-tuning files, chat logs and traces: the last question of each exchange is a document, the answer a pre-label.

``labeling.imports.conversations`` knows the shapes. An answer is gold only if the user says that people checked it.
"""

import zipfile
from collections.abc import Iterator
from typing import IO, Any, Final

from labeling.imports.conversations.exchanges import Exchange, ShapeError
from labeling.imports.conversations.logs import read_batch
from labeling.imports.conversations.readings import (
    SAMPLE,
    SAMPLE_CHARACTERS,
    BatchJoin,
    Line,
    Reading,
    SharedPrompt,
    fit,
    shared_prompt,
    value_of,
)
from labeling.imports.conversations.shapes import BATCH, SHAPES, Shape, shape_of
from labeling.imports.formats import zip_folder
from labeling.imports.formats.base import (
    HEAD_BYTES,
    RESERVE,
    FileHead,
    Format,
    Option,
    ReadError,
    Session,
    Source,
    open_zip,
)
from labeling.imports.formats.encodings import read_text, to_utf8
from labeling.imports.formats.json_values import CHUNK, first_item, is_list, is_spread, iterate_values, parsed_values
from labeling.imports.formats.jsonl import parse_jsonl
from labeling.imports.rows import ParsedRow, RowPrediction
from slmstudio.contract.json_text import JsonError, dumps, loads

#: lines that detection reads, and files of a zip
_HEAD_LINES, _ZIP_FILES = 20, 50
#: what readers raise for a value that is not of their shape
_BROKEN: Final = (
    ShapeError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    ValueError,
    ArithmeticError,
    RecursionError,
    OSError,
)
_SHAPE = Option("shape", "Shape", {name: shape.title for name, shape in SHAPES.items()}, is_detected=True)
_ANSWERS = Option(
    "answers",
    "Answers",
    {"prelabels": "Pre-labels: an annotator confirms each", "gold": "Gold: verified by humans"},
)
_PROMPT = Option(
    "prompt",
    "Shared prompt",
    {"remove": "Instruction: leave it out of the documents", "keep": "Keep it in the documents"},
)


def rows(source: Source) -> Iterator[ParsedRow]:
    """A row per exchange, of a file or of all files of a zip.

    Raises:
        ReadError: the shape of the file is not known.
    """
    if not source.is_nested and zipfile.is_zipfile(source.path):
        yield from zip_folder.rows(source, only=FORMAT)
        return
    head = _head(source)
    shape = SHAPES.get(source.context.options.get("shape", "")) or _detected(head)
    if shape is None:
        raise ReadError("The file has no exchanges of a known shape. Choose another format.")
    reading = Reading(shape)
    source.session.readings.append(reading)
    reading.shared = _shared(source, head, shape)
    if shape is BATCH:
        source.session.resource(_batch_join).readings.append(reading)
    yield from read_text(source, lambda file, encoding: _parse(source, to_utf8(file, encoding), head, reading))


def _batch_join(session: Session) -> BatchJoin:
    """The join of all files of an upload; lines without a partner are rows at the end of the upload."""
    join = BatchJoin(session.context.folder / "batch.sqlite")
    session.leftovers.append(lambda: _unpaired(join, session))
    return join


def _values(stream: IO[bytes], head: FileHead) -> Iterator[ParsedRow]:
    """The values of a file: the items of a list, values that follow each other, or lines."""
    if is_list(head) or is_spread(head):
        for number, (value, error, raw) in enumerate(parsed_values(stream), 1):
            yield ParsedRow(number, value, error, raw)
    else:
        yield from parse_jsonl(stream)


def _shared(source: Source, head: FileHead, shape: Shape) -> SharedPrompt:
    """What the first prompts of the file share."""
    exchanges: list[Exchange] = []
    size = 0
    share = source.session.progress.share
    for row in read_text(source, lambda file, encoding: _values(to_utf8(file, encoding), head)):
        size += len(row.raw)
        exchanges += _exchanges(row, shape)
        if len(exchanges) >= SAMPLE or size > SAMPLE_CHARACTERS:
            break
    source.session.progress.share = share
    functions = list(dict.fromkeys(name for exchange in exchanges for name in exchange.functions))
    if len(functions) > 1:
        raise ReadError(
            f"The answers call {len(functions)} functions ({', '.join(functions[:5])}), but a project has one schema. "
            "Import the rows of each function as a separate file into a separate project."
        )
    return shared_prompt(exchanges[:SAMPLE])


def _exchanges(row: ParsedRow, shape: Shape) -> list[Exchange]:
    """The exchanges of a value, without those that are broken."""
    if row.error or not isinstance(row.data, dict):
        return []
    try:
        if shape is BATCH:
            return [read_batch(row.data, None)]
        return list(shape.read(row.data))
    except _BROKEN:
        return []


def _parse(source: Source, stream: IO[bytes], head: FileHead, reading: Reading) -> Iterator[ParsedRow]:
    for row in _values(stream, head):
        if row.error:
            yield row
        elif not isinstance(row.data, dict):
            yield ParsedRow(row.number, None, "it is not an object", row.raw)
        elif reading.shape is BATCH:
            yield from _batch_row(source, row, reading)
        else:
            yield from _shape_rows(source, row, reading)


def _shape_rows(source: Source, row: ParsedRow, reading: Reading) -> Iterator[ParsedRow]:
    count = 0
    try:
        for exchange in reading.shape.read(row.data):
            count += 1
            _check_function(source.session, reading, exchange)
            reading.note(exchange)
            # The rows of a page have no line of their own.
            yield _row(source.session, row.number, exchange, reading.shared, row.raw if count == 1 else "")
    except _BROKEN as error:
        reason = str(error) if isinstance(error, ShapeError) else f"it does not have the shape {reading.shape.title}"
        yield ParsedRow(row.number, {"id": row.data.get("id")}, reason, row.raw)


def _batch_row(source: Source, row: ParsedRow, reading: Reading) -> Iterator[ParsedRow]:
    if not BATCH.matches(row.data):
        yield ParsedRow(
            row.number, None, "it is not a batch line: it has no custom_id, or neither body nor response", row.raw
        )
        return
    join = source.session.resource(_batch_join)
    try:
        pair = join.add(Line(row.data, row.number, source.name if source.is_nested else ""))
    except ValueError as error:
        yield ParsedRow(row.number, {"id": row.data["custom_id"]}, str(error), row.raw)
        return
    if pair is not None:
        yield _batch_exchange(source.session, join, row.number, pair[0].value, pair[1].value)


def _batch_exchange(
    session: Session, join: BatchJoin, number: int, request: dict[str, Any], response: dict[str, Any] | None
) -> ParsedRow:
    raw = dumps(request)
    try:
        exchange = read_batch(request, response)
        _check_function(session, join.readings[0], exchange)
    except _BROKEN as error:
        reason = str(error) if isinstance(error, ShapeError) else "its request or response cannot be read"
        return ParsedRow(number, {"id": request["custom_id"]}, reason, raw)
    join.readings[0].note(exchange)
    return _row(session, number, exchange, join.shared, raw)


def _check_function(session: Session, reading: Reading, exchange: Exchange) -> None:
    """All answers of an upload that are calls must call the same function, once each: the arguments are the label.

    Raises:
        ShapeError: the answer does not.
    """
    if len(exchange.functions) > 1:
        raise ShapeError(f"the answer calls functions {len(exchange.functions)} times; a label is one call")
    for function in exchange.functions:
        known = next((earlier.function for earlier in session.readings if earlier.function), function)
        if function != known:
            raise ShapeError(
                f"the answer calls {function[:60]}, but earlier answers call {known[:60]}; a project has one schema"
            )
        reading.function = function


def _unpaired(join: BatchJoin, session: Session) -> Iterator[ParsedRow]:
    for line, is_request in join.unpaired():
        if is_request:
            row = _batch_exchange(session, join, line.number, line.value, None)
        else:
            reason = "no request has this custom_id; import the input file of the batch together with this file"
            row = ParsedRow(line.number, {"id": line.value["custom_id"]}, reason, dumps(line.value))
        yield ParsedRow(row.number, row.data, row.error, row.raw, line.file, predictions=row.predictions)


def _row(session: Session, number: int, exchange: Exchange, shared: SharedPrompt, raw: str) -> ParsedRow:
    """An exchange as a document with its answer as a pre-label or gold."""
    options, compiled = session.context.options, session.context.compiled
    keep = options.get("prompt") == "keep" or not exchange.is_single
    data: dict[str, Any] = {
        "id": exchange.id or None,
        "text": exchange.text if keep else shared.document(exchange.text),
    }
    named = {"model": exchange.model, "time": exchange.time}
    if exchange.system and exchange.system != shared.system:
        named["instruction"] = exchange.system
    data |= {name: value for name, value in named.items() if value}
    if exchange.answer is None or not exchange.answer.strip():
        return ParsedRow(number, data, "", raw)
    value = fit(value_of(exchange.answer), compiled)
    if options.get("answers") != "gold" or exchange.is_suggestion:
        text = exchange.answer if isinstance(value, str) else dumps(value)
        return ParsedRow(number, data, "", raw, predictions=(RowPrediction(text, exchange.model[:200]),))
    if not isinstance(value, dict):
        return ParsedRow(number, data, "the answer is not a JSON object", raw)
    return ParsedRow(number, {**data, "gold": value}, "", raw)


# -- detection ---------------------------------------------------------------------------------------------------------


def _head(source: Source) -> FileHead:
    with source.path.open("rb") as file:
        return FileHead(source.path, source.name, file.read(HEAD_BYTES))


def detect(head: FileHead) -> bool:
    """A file with exchanges, or a zip of such files."""
    return _is_zip_of_chats(head) if head.is_zip else _detected(head) is not None


def _detected(head: FileHead) -> Shape | None:
    """The shape of the first row that has one; by its first key if it is longer than the head."""
    start = head.start
    if not start.startswith((b"{", b"[")):
        return None
    if start.startswith(b"["):
        return next(filter(None, map(shape_of, _first_items(head))), None)
    lines = start.split(b"\n", _HEAD_LINES)[:_HEAD_LINES]
    shape = next(filter(None, (shape_of(_loaded(line)) for line in lines)), None)
    if shape is None and is_spread(head):
        shape = shape_of(first_item(head))
    if shape is None and b'"resourceSpans"' in start[:200]:
        return SHAPES["otlp"]
    return shape


def _first_items(head: FileHead) -> Iterator[Any]:
    for number, value in enumerate(iterate_values(iter([head.start[:CHUNK]]))):
        if number >= _HEAD_LINES or not value.complete:
            return
        yield _loaded(value.text)


def _loaded(text: bytes) -> Any:
    try:
        return loads(text)
    except JsonError:
        return None


def _is_zip_of_chats(head: FileHead) -> bool:
    if not 0 < len(head.zip_names) <= _ZIP_FILES or not all(
        n.endswith((".jsonl", ".json", "/")) for n in head.zip_names
    ):
        return False
    with open_zip(head.path, head.name) as archive:
        for entry in archive.infolist():
            if entry.is_dir():
                continue
            try:
                with archive.open(entry) as file:
                    inner = FileHead(head.path, entry.filename, file.read(HEAD_BYTES))
            except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError):
                return False
            if _detected(inner) is None:
                return False
    return True


FORMAT = Format(
    "chats",
    "Fine-tuning files, chat logs, traces: exchanges with a model",
    rows,
    detect=detect,
    options=(_SHAPE, _ANSWERS, _PROMPT, RESERVE),
    is_line_based=True,
    is_reviewed=True,
)
