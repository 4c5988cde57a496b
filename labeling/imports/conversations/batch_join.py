"""Joins the two files of a batch by ``custom_id``, in either order, on disk: neither file fits into memory."""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from labeling.imports.conversations.logs import is_batch_request
from labeling.imports.conversations.readings import Reading, SharedPrompt
from slmstudio.contract.json_text import dumps, loads


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a batch: its value, number and file."""

    value: dict[str, Any]
    number: int
    file: str = ""


@dataclass
class BatchJoin:
    """Lines that have no partner yet. ``readings`` are those of its files."""

    path: Path
    readings: list[Reading] = field(default_factory=list)

    def __post_init__(self) -> None:
        # One thread reads the rows and another one closes the file.
        self._rows = sqlite3.connect(self.path, check_same_thread=False, isolation_level=None)
        self._rows.execute("PRAGMA journal_mode = OFF")
        self._rows.execute("PRAGMA synchronous = OFF")
        self._rows.execute(
            "CREATE TABLE line (key TEXT, request INTEGER, number INTEGER, file TEXT, value TEXT, "
            "PRIMARY KEY (key, request))"
        )

    @property
    def shared(self) -> SharedPrompt:
        """What the requests share; known once their file was opened."""
        return next((reading.shared for reading in self.readings if reading.shared.instruction), SharedPrompt())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._rows.close()
        self.path.unlink(missing_ok=True)

    def add(self, line: Line) -> tuple[Line, Line] | None:
        """The request and the response, if the partner of the line was read; else the line is kept.

        Raises:
            ValueError: a line with the id was read before.
        """
        key, is_request = line.value["custom_id"], is_batch_request(line.value)
        partner = self._rows.execute(
            "DELETE FROM line WHERE key = ? AND request = ? RETURNING number, file, value", (key, not is_request)
        ).fetchone()
        if partner is not None:
            other = Line(loads(partner[2]), partner[0], partner[1])
            return (line, other) if is_request else (other, line)
        try:
            self._rows.execute(
                "INSERT INTO line VALUES (?, ?, ?, ?, ?)", (key, is_request, line.number, line.file, dumps(line.value))
            )
        except sqlite3.IntegrityError:
            raise ValueError(f"an earlier line has the custom_id {key[:100]}") from None
        return None

    def unpaired(self) -> Iterator[tuple[Line, bool]]:
        """The lines that have no partner, and whether each is a request."""
        rows = self._rows.execute("SELECT value, number, file, request FROM line ORDER BY request, file, number")
        for value, number, file, is_request in rows:
            yield Line(loads(value), number, file), bool(is_request)
