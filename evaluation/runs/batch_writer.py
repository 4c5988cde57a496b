"""Results of a run, written to the database in batches as they come."""

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Generic, TypeVar

Row = TypeVar("Row")
#: results and seconds after which a batch is written
BATCH = 25
SECONDS = 2.0


class BatchWriter(ABC, Generic[Row]):
    """Collects results; a subclass writes them and the run's progress. A batch that failed is written again."""

    def __init__(self) -> None:
        self._pending: list[Row] = []
        self._written_at = time.monotonic()

    def put(self, row: Row) -> None:
        """Takes one result, and writes the batch where it is due."""
        self._pending.append(row)
        if len(self._pending) >= BATCH or time.monotonic() - self._written_at >= SECONDS:
            self.flush()

    def flush(self) -> None:
        """Writes the pending results."""
        if self._pending:
            self.write(self._pending)
            self._pending = []
        self._written_at = time.monotonic()

    @abstractmethod
    def write(self, rows: Sequence[Row]) -> None:
        """Writes one batch and moves the run's progress. Must be idempotent."""
