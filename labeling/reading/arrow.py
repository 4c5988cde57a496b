"""Hugging Face Datasets on disk: Arrow and Parquet files, read batch after batch. Only pyarrow, no torch."""

import json
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from labeling.reading import Context, ReadError
from labeling.reading.table import MOST_COLUMNS, Preview, mapper_of
from labeling.rows import ParsedRow
from slmstudio.contract.jsontext import dumps

_ROWS: Final = 256


def _batches(path: Path) -> Iterator[Any]:
    """Record batches of a file: Parquet, Arrow IPC stream (as ``save_to_disk`` writes it) or Arrow IPC file.

    Raises:
        ReadError: it is none of these, or broken.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with path.open("rb") as file:
        magic = file.read(6)
    try:
        if magic.startswith(b"PAR1"):
            with pq.ParquetFile(path) as table:
                yield table.schema_arrow
                yield from table.iter_batches(batch_size=_ROWS)
        elif magic == b"ARROW1":
            with pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as reader:
                yield reader.schema
                for number in range(reader.num_record_batches):
                    yield from _sliced(reader.get_batch(number))
        else:
            with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as reader:
                yield reader.schema
                for batch in reader:
                    yield from _sliced(batch)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ReadError(f"It is no Arrow or Parquet file that can be read: {str(error)[:200]}.") from None


def _sliced(batch: Any) -> Iterator[Any]:
    for start in range(0, batch.num_rows, _ROWS):
        yield batch.slice(start, _ROWS)


def _class_names(schema: Any) -> dict[str, list[str]]:
    """Columns that hold the number of a class, and the names behind the numbers, as Datasets notes them."""
    try:
        noted = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = noted.get("info", {}).get("features", {})
        return {
            name: [str(one) for one in feature["names"]]
            for name, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and isinstance(feature["names"], list)
        }
    except (ValueError, AttributeError, KeyError, TypeError):
        return {}


def rows(path: Path, context: Context) -> Iterator[ParsedRow]:
    """The rows of a file, by the columns that ``options["columns"]`` maps, or by a guess at them."""
    number = 0
    found = _batches(path)
    schema = next(found)
    names = _names(schema)
    classes = _class_names(schema)
    mapper = mapper_of(names, context)
    for batch in found:
        for record in batch.to_pylist():
            number += 1
            try:
                plain = {name: _plain(value, classes.get(name)) for name, value in record.items()}
                yield ParsedRow(number, mapper.row(plain), raw=_raw(plain))
            except (ValueError, TypeError, ArithmeticError) as error:
                yield ParsedRow(number, None, str(error))


def _names(schema: Any) -> list[str]:
    if len(schema.names) > MOST_COLUMNS:
        raise ReadError(f"The table has {len(schema.names):,} columns; at most {MOST_COLUMNS} are read.")
    if len(set(schema.names)) != len(schema.names):
        raise ReadError("Two columns have the same name.")
    return [str(name) for name in schema.names]


def _raw(record: Mapping[str, Any]) -> str:
    try:
        return dumps(record)
    except (ValueError, TypeError):
        return ""


def _plain(value: Any, classes: list[str] | None = None) -> Any:
    """A cell as JSON has it: exact numbers, dates as texts, bytes refused."""
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int):
        return classes[value] if classes is not None and 0 <= value < len(classes) else value
    if isinstance(value, float):
        number = Decimal(repr(value))
        if not number.is_finite():
            raise ValueError(f"a cell holds {value}, which is not a number in JSON")
        return int(number) if number == number.to_integral_value() and abs(number) < 2**53 else number
    if isinstance(value, Decimal):
        return value
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, bytes | bytearray):
        raise ValueError("a cell holds bytes (an image or a sound), which are not read from a table")
    return str(value)


def preview(path: Path, most: int = 8) -> Preview:
    """The names of the columns and the first rows as texts.

    Raises:
        ReadError: it cannot be read.
    """
    found = _batches(path)
    schema = next(found)
    names = _names(schema)
    classes = _class_names(schema)
    shown: list[list[str]] = []
    for batch in found:
        for record in batch.slice(0, most - len(shown)).to_pylist():
            shown.append([_shown(record[name], classes.get(name)) for name in names])
        if len(shown) >= most:
            break
    return Preview(names, shown)


def _shown(value: Any, classes: list[str] | None) -> str:
    try:
        plain = _plain(value, classes)
    except (ValueError, ArithmeticError) as error:
        return str(error)
    return "" if plain is None else plain if isinstance(plain, str) else dumps(plain)
