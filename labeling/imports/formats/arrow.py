"""Hugging Face Datasets on disk: Arrow and Parquet files, read batch after batch. Only pyarrow, no torch.

A small file may unpack to any size. So a child process opens it, with a limit on memory (``arrow_child``), and writes
lines: ``n`` and the names of the columns, then for each row ``r`` and its JSON, or ``e`` and why it cannot be read.
"""

import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from labeling.imports.formats import Context, ReadError
from labeling.imports.formats.archive import unpack_first
from labeling.imports.formats.table import MOST_COLUMNS, Preview, mapper_of
from labeling.imports.rows import MAX_LINE, ParsedRow
from slmstudio.contract.json_text import dumps
from slmstudio.runs.child_environment import child_environment

#: rows that are held at once, fewer where they are long
_ROWS: Final = 64
_BYTES: Final = 16 * 1024**2
_MOST_SHOWN: Final = 2_000
#: rows of a sample that are tried, and those of them that are shown
_SAMPLED: Final = 100
_PREVIEWED: Final = 8
#: characters of one row of a sample
_SAMPLED_LINE: Final = 200_000
#: a file of a hundred bytes may claim any number of rows
MOST_ROWS: Final = 10_000_000
#: seconds within which something has to come of a file
SECONDS: Final = 60.0
_ROOT = Path(__file__).resolve().parents[3]
_MEMORY: Final = "reading it takes too much memory"


# -- in the child process ----------------------------------------------------------------------------------------------


def _batches(path: Path, rows: int) -> Iterator[Any]:
    """The schema of a file, then its record batches: Parquet, Arrow IPC stream (as ``save_to_disk`` writes it) or file.

    Raises:
        ReadError: it is none of these, or broken.
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
        raise ReadError(f"It is no Arrow or Parquet file that can be read: {str(error)[:200]}.") from None


def _sliced(batch: Any, rows: int) -> Iterator[Any]:
    for start in range(0, batch.num_rows, rows):
        yield batch.slice(start, rows)


def _pieces(batch: Any) -> Iterator[Any]:
    """A batch in pieces that are not large."""
    if batch.num_rows > 1 and batch.nbytes > _BYTES:
        half = batch.num_rows // 2
        yield from _pieces(batch.slice(0, half))
        yield from _pieces(batch.slice(half))
    else:
        yield batch


def _records(batch: Any) -> Iterator[tuple[dict[str, Any] | None, str]]:
    """The rows of a batch, or why one cannot be read; one that cannot costs only itself.

    Raises:
        ReadError: the batch points outside of its own memory. Arrow trusts its files: a place that is not there would
            end this process and not only the import.
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
        pass  # some row of it; which one is seen below
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


def lines(path: Path) -> Iterator[str]:
    """What the child process writes about a file.

    Raises:
        ReadError: it cannot be read, or not to its end.
    """
    found = _batches(path, _ROWS)
    schema = next(found)
    names, classes = _names(schema), _class_names(schema)
    yield f"n{dumps(names)}"
    count = 0
    for batch in found:
        for piece in _pieces(batch):
            for record, error in _records(piece):
                count += 1
                yield _line(record, error, classes)
        if count > MOST_ROWS:
            raise ReadError(f"It has more than {MOST_ROWS:,} rows, which is more than is taken at once.")


def sample_lines(path: Path, folder: Path) -> Iterator[str]:
    """What the child process writes about the beginning of a file, or of the first table of a zipped folder: ``n`` and
    the names, and for each row its line, after ``s`` and its cells as shown for the first of them.

    Raises:
        ReadError: it cannot be read.
    """
    if zipfile.is_zipfile(path):
        table = folder / "table"
        unpack_first(path, (".arrow", ".parquet"), table)
        path = table
    found = _batches(path, _ROWS)
    schema = next(found)
    names, classes = _names(schema), _class_names(schema)
    yield f"n{dumps(names)}"
    count = 0
    for batch in found:
        for piece in _pieces(batch.slice(0, _SAMPLED - count)):
            for record, error in _records(piece):
                count += 1
                if count <= _PREVIEWED:
                    cells = [error] if record is None else [_shown(record[n], classes.get(n)) for n in names]
                    yield f"s{dumps(cells)}"
                line = _line(record, error, classes)
                yield line if len(line) <= _SAMPLED_LINE else f"e{dumps('the row is too long to be tried here')}"
        if count >= _SAMPLED:
            return


def _line(record: dict[str, Any] | None, error: str, classes: Mapping[str, list[str]]) -> str:
    if record is not None:
        try:
            text = dumps({name: _plain(value, classes.get(name)) for name, value in record.items()})
        except MemoryError:
            error = _MEMORY
        except (ValueError, TypeError, ArithmeticError) as refused:
            error = str(refused)
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
    if len(names) > MOST_COLUMNS:
        raise ReadError(f"The table has {len(names):,} columns; at most {MOST_COLUMNS} are read.")
    if len(set(names)) != len(names):
        raise ReadError("Two columns have the same name.")
    return names


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


def _shown(value: Any, classes: list[str] | None) -> str:
    try:
        plain = _plain(value, classes)
    except (ValueError, ArithmeticError) as error:
        return str(error)
    text = "" if plain is None else plain if isinstance(plain, str) else dumps(plain)
    return text[:_MOST_SHOWN]


# -- in the process that asks ------------------------------------------------------------------------------------------


def rows(path: Path, context: Context) -> Iterator[ParsedRow]:
    """The rows of a file, by the columns that ``options["columns"]`` maps, or by a guess at them.

    Raises:
        ReadError: it cannot be read, or no column is known to be the text.
    """
    told = _told(path, context.stopped)
    yield from _parsed(json.loads(next(told)[1]), told, context)


def _parsed(names: list[str], told: Iterable[tuple[str, str]], context: Context) -> Iterator[ParsedRow]:
    mapper = mapper_of(names, context)
    for number, (tag, text) in enumerate(told, 1):
        if tag == "e":
            yield ParsedRow(number, None, json.loads(text))
            continue
        try:
            yield ParsedRow(number, mapper.row(json.loads(text, parse_float=Decimal)), raw=text)
        except (ValueError, TypeError, ArithmeticError, RecursionError) as refused:
            yield ParsedRow(number, None, str(refused))


@dataclass(frozen=True)
class Sample:
    """The names of the columns, the first rows as texts, and more rows as the child told them: all of it JSON-ready."""

    names: list[str]
    shown: list[list[str]]
    told: list[list[str]]

    @property
    def preview(self) -> Preview:
        """What is shown of it."""
        return Preview(self.names, self.shown)

    def rows(self, context: Context) -> Iterator[ParsedRow]:
        """Its rows as an import would read them."""
        return _parsed(self.names, [(tag, text) for tag, text in self.told], context)


def sample(path: Path) -> Sample:
    """The first rows of a file, or of the first table in a zipped folder.

    Raises:
        ReadError: it cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="sample-") as folder:
        told = [*_told(path, lambda: False, folder)]
    shown = [json.loads(text) for tag, text in told[1:] if tag == "s"]
    return Sample(json.loads(told[0][1]), shown, [[tag, text] for tag, text in told[1:] if tag != "s"])


def preview(path: Path) -> Preview:
    """The names of the columns and the first rows as texts.

    Raises:
        ReadError: it cannot be read.
    """
    return sample(path).preview


def _told(path: Path, stopped: Callable[[], bool], sample_folder: str = "") -> Iterator[tuple[str, str]]:
    """The child's lines, each as its first letter and the rest; the names are always the first."""
    child = subprocess.Popen(
        [sys.executable, "-m", "labeling.imports.formats.arrow_child", str(path.resolve()), sample_folder],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=_ROOT,
        # Memory pools of their own kind take address space beforehand, which the limit would count.
        env={
            **child_environment(),
            "ARROW_DEFAULT_MEMORY_POOL": "system",
            "MALLOC_ARENA_MAX": "2",
            "OMP_NUM_THREADS": "1",
        },
        start_new_session=True,
    )
    try:
        for line in _read_lines(child, stopped):
            if line == b".":
                return
            tag, text = chr(line[0]), line[1:].decode()
            if tag == "x":
                raise ReadError(json.loads(text))
            yield tag, text
        raise ReadError("It cannot be read: the file is damaged, or reading it takes too much memory.")
    finally:
        child.kill()
        child.wait()
        if child.stdout is not None:
            child.stdout.close()


def _read_lines(child: "subprocess.Popen[bytes]", stopped: Callable[[], bool]) -> Iterator[bytes]:
    """Whole lines until the child has ended; none for too long is a reason to give it up."""
    assert child.stdout is not None
    source = child.stdout.fileno()
    pieces: list[bytes] = []
    with selectors.DefaultSelector() as selector:
        selector.register(source, selectors.EVENT_READ)
        until = time.monotonic() + SECONDS
        while True:
            if not selector.select(timeout=0.5):
                if stopped():
                    yield b"."
                    return
                if time.monotonic() > until:
                    raise ReadError(f"Nothing of it could be read within {SECONDS:.0f} seconds.")
                continue
            piece = os.read(source, 1 << 18)
            if not piece:
                return
            until = time.monotonic() + SECONDS
            first, *more = piece.split(b"\n")
            pieces.append(first)
            for line in more:
                yield b"".join(pieces)
                pieces = [line]
