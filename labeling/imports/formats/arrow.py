"""Hugging Face Datasets on disk: Arrow and Parquet files, read in batches with pyarrow.

A small file can unpack to any size, so a child process with a memory limit opens it, and dies with its parent:
``python -m labeling.imports.formats.arrow PATH FOLDER``, for a sample with a folder for temporary files, else "". The
child writes lines: ``n`` and the column names, for each row ``r`` and its JSON, or ``e`` and why it cannot be read,
then ``.``, or ``x`` and why the file cannot be read.
"""

import json
import os
import resource
import signal
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from labeling.imports.formats import zip_folder
from labeling.imports.formats.base import FileHead, Format, Source
from labeling.imports.formats.column_mapping import MAX_COLUMNS, Sample, parse_records
from labeling.imports.formats.line_child import ChildStopped, LineChild
from labeling.imports.rows import MAX_LINE, ParsedRow, ReadError
from slmstudio.contract.json_text import dumps
from slmstudio.runs.parent_death import die_with_parent

#: of a batch in memory; fewer rows if they are long
_BATCH_ROWS: Final = 64
_BATCH_BYTES: Final = 16 * 1024**2
_MAX_CELL_LENGTH: Final = 2_000
#: rows of a sample, those of them that are shown, and the characters of one
_SAMPLE_ROWS: Final = 100
_PREVIEW_ROWS: Final = 8
_MAX_SAMPLE_LINE: Final = 200_000
#: a file of a hundred bytes can claim any number of rows
MAX_ROWS: Final = 10_000_000
#: without a row, after which reading ends
TIMEOUT_SECONDS: Final = 60.0
#: of the child process
MEMORY_BYTES: Final = 1024**3
#: other memory pools reserve address space, which the limit would count
_ENVIRONMENT: Final = {"ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "2", "OMP_NUM_THREADS": "1"}
_MEMORY: Final = "reading it takes too much memory"
_EXTENSIONS: Final = (".arrow", ".parquet")


# -- in the child process ----------------------------------------------------------------------------------------------


def _batches(path: Path, rows: int) -> Iterator[Any]:
    """The schema of a file, then its record batches: Parquet, Arrow IPC stream (as ``save_to_disk`` writes it) or file.

    Raises:
        ReadError: it is none of these, or damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with path.open("rb") as file:
        magic = file.read(6)
    try:
        if magic.startswith(b"PAR1"):
            with pq.ParquetFile(path, memory_map=True) as table:
                yield table.schema_arrow
                yield from table.iter_batches(batch_size=rows, use_threads=False)
        elif magic == b"ARROW1":
            with pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as reader:
                yield reader.schema
                for number in range(reader.num_record_batches):
                    yield from _sliced(reader.get_batch(number), rows)
        else:
            with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as reader:
                yield reader.schema
                for batch in reader:
                    yield from _sliced(batch, rows)
    except MemoryError:
        raise ReadError(f"It cannot be read: {_MEMORY}.") from None
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ReadError(f"It is not a valid Arrow or Parquet file: {str(error)[:200]}.") from None


def _sliced(batch: Any, rows: int) -> Iterator[Any]:
    for start in range(0, batch.num_rows, rows):
        yield batch.slice(start, rows)


def _pieces(batch: Any) -> Iterator[Any]:
    """A batch in small pieces."""
    if batch.num_rows > 1 and batch.nbytes > _BATCH_BYTES:
        half = batch.num_rows // 2
        yield from _pieces(batch.slice(0, half))
        yield from _pieces(batch.slice(half))
    else:
        yield batch


def _records(batch: Any) -> Iterator[tuple[dict[str, Any] | None, str]]:
    """The rows of a batch, or the error of a row that cannot be read.

    Raises:
        ReadError: the batch points outside its own memory. Arrow trusts its files: reading such an offset would crash
            this process.
    """
    import pyarrow as pa

    try:
        batch.validate()
    except pa.ArrowException as error:
        raise ReadError(f"The file is damaged: {str(error)[:200]}.") from None
    try:
        batch.validate(full=True)
        yield from ((record, "") for record in batch.to_pylist())
        return
    except (pa.ArrowException, ValueError, ArithmeticError, MemoryError):
        pass  # one of its rows; which one is found below
    for number in range(batch.num_rows):
        yield _record(batch.slice(number, 1))


def _record(row: Any) -> tuple[dict[str, Any] | None, str]:
    import pyarrow as pa

    try:
        row.validate(full=True)
        return row.to_pylist()[0], ""
    except UnicodeDecodeError as error:
        return None, f"a cell is not valid UTF-8: byte {error.start + 1:,} cannot be read"
    except MemoryError:
        return None, _MEMORY
    except (pa.ArrowException, ValueError, ArithmeticError) as error:
        return None, f"a cell cannot be read: {str(error)[:200]}"


def _class_names(schema: Any) -> dict[str, list[str]]:
    """Columns that hold class numbers, and the class names, from the metadata of Datasets."""
    try:
        metadata = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = metadata.get("info", {}).get("features", {})
        return {
            name: [str(class_name) for class_name in feature["names"]]
            for name, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and isinstance(feature["names"], list)
        }
    except (ValueError, AttributeError, KeyError, TypeError):
        return {}


def lines(path: Path) -> Iterator[str]:
    """The lines that the child process writes for a file.

    Raises:
        ReadError: it cannot be read to its end.
    """
    batches = _batches(path, _BATCH_ROWS)
    schema = next(batches)
    names, classes = _names(schema), _class_names(schema)
    yield f"n{dumps(names)}"
    count = 0
    for batch in batches:
        for piece in _pieces(batch):
            for record, error in _records(piece):
                count += 1
                yield _line(record, error, classes)
        if count > MAX_ROWS:
            raise ReadError(f"It has more than {MAX_ROWS:,} rows; split it.")


def sample_lines(path: Path, folder: Path) -> Iterator[str]:
    """The lines that the child process writes for a sample of a file, or of the first table of a zipped folder: ``n``
    and the names, then one line per row; the first rows have an ``s`` line with their cells as shown before it.

    Raises:
        ReadError: it cannot be read.
    """
    if zipfile.is_zipfile(path):
        table = folder / "table"
        zip_folder.unpack_first(path, _EXTENSIONS, table)
        path = table
    batches = _batches(path, _BATCH_ROWS)
    schema = next(batches)
    names, classes = _names(schema), _class_names(schema)
    yield f"n{dumps(names)}"
    count = 0
    for batch in batches:
        for piece in _pieces(batch.slice(0, _SAMPLE_ROWS - count)):
            for record, error in _records(piece):
                count += 1
                if count <= _PREVIEW_ROWS:
                    cells = [error] if record is None else [_format_cell(record[n], classes.get(n)) for n in names]
                    yield f"s{dumps(cells)}"
                line = _line(record, error, classes)
                yield line if len(line) <= _MAX_SAMPLE_LINE else f"e{dumps('the row is too long for the preview')}"
        if count >= _SAMPLE_ROWS:
            return


def _line(record: dict[str, Any] | None, error: str, classes: Mapping[str, list[str]]) -> str:
    if record is not None:
        try:
            text = dumps({name: _plain(value, classes.get(name)) for name, value in record.items()})
        except MemoryError:
            error = _MEMORY
        except (ValueError, TypeError, ArithmeticError) as invalid:
            error = str(invalid)
        else:
            if len(text) <= MAX_LINE:
                return f"r{text}"
            error = f"the row is longer than {MAX_LINE // 1_000_000} MB"
    return f"e{dumps(error)}"


def _names(schema: Any) -> list[str]:
    try:
        names = [str(name) for name in schema.names]
    except UnicodeDecodeError:
        raise ReadError("The name of a column is not valid UTF-8.") from None
    if len(names) > MAX_COLUMNS:
        raise ReadError(f"The table has {len(names):,} columns; the maximum is {MAX_COLUMNS}.")
    if len(set(names)) != len(names):
        raise ReadError("Two columns have the same name.")
    return names


def _plain(value: Any, classes: list[str] | None = None) -> Any:
    """A cell as JSON: exact numbers, dates as texts, no bytes."""
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int):
        return classes[value] if classes is not None and 0 <= value < len(classes) else value
    if isinstance(value, float):
        number = Decimal(repr(value))
        if not number.is_finite():
            raise ValueError(f"a cell contains {value}, which is not a number in JSON")
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
        raise ValueError("a cell contains binary data (an image or audio), which cannot be imported")
    return str(value)


def _format_cell(value: Any, classes: list[str] | None) -> str:
    try:
        plain = _plain(value, classes)
    except (ValueError, ArithmeticError) as error:
        return str(error)
    text = "" if plain is None else plain if isinstance(plain, str) else dumps(plain)
    return text[:_MAX_CELL_LENGTH]


def main() -> None:
    """Writes the lines of one file."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Limits written memory, not mapped files: the file itself may be larger.
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    with os.fdopen(os.dup(1), "wb", buffering=1 << 16) as out:
        os.dup2(2, 1)  # output of libraries goes to standard error
        try:
            path, folder = Path(sys.argv[1]), sys.argv[2]
            for line in sample_lines(path, Path(folder)) if folder else lines(path):
                out.write(line.encode() + b"\n")
            out.write(b".\n")
        except ReadError as error:
            out.write(b"x" + dumps(str(error)).encode() + b"\n")
        except MemoryError:
            out.write(b"x" + dumps("Reading it takes too much memory.").encode() + b"\n")


# -- in the parent process ---------------------------------------------------------------------------------------------


def rows(source: Source) -> Iterator[ParsedRow]:
    """The rows of a file, or of all Arrow and Parquet files of a zipped folder, with the roles of
    ``options["columns"]`` or guessed ones.

    Raises:
        ReadError: it cannot be read, or no column is the text.
    """
    if not source.is_nested and zipfile.is_zipfile(source.path):
        yield from zip_folder.rows(source, only=FORMAT)
        return
    records = _records_of(source.path, source.context.stopped)
    yield from parse_records(json.loads(next(records)[1]), records, source.context)


def sample(path: Path) -> Sample:
    """The first rows of a file, or of the first table in a zipped folder.

    Raises:
        ReadError: it cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="sample-") as folder:
        records = [*_records_of(path, lambda: False, folder)]
    shown = [json.loads(text) for tag, text in records[1:] if tag == "s"]
    return Sample(json.loads(records[0][1]), shown, [[tag, text] for tag, text in records[1:] if tag != "s"])


def _records_of(path: Path, stopped: Callable[[], bool], sample_folder: str = "") -> Iterator[tuple[str, str]]:
    """The child's lines, each as its first letter and the rest; the first holds the names."""
    child = LineChild("labeling.imports.formats.arrow", str(path.resolve()), sample_folder, environment=_ENVIRONMENT)
    try:
        while (line := child.line(TIMEOUT_SECONDS, stopped)) is not None:
            if line == b".":
                return
            tag, text = chr(line[0]), line[1:].decode()
            if tag == "x":
                raise ReadError(json.loads(text))
            yield tag, text
        raise ReadError("It cannot be read: the file is damaged, or reading it takes too much memory.")
    except ChildStopped:
        return
    except TimeoutError:
        raise ReadError(f"Nothing could be read within {TIMEOUT_SECONDS:.0f} seconds.") from None
    finally:
        child.close()


def _detect(head: FileHead) -> bool:
    return head.data.startswith((b"PAR1", b"ARROW1", b"\xff\xff\xff\xff")) or any(
        name.endswith(_EXTENSIONS) for name in head.zip_names
    )


FORMAT = Format(
    "dataset",
    "Hugging Face Datasets: Arrow or Parquet",
    rows,
    detect=_detect,
    usual_extensions=(".arrow", ".parquet", ".zip"),
    is_binary=True,
    sample=sample,
)


if __name__ == "__main__":
    main()
