"""Reads and validates the next batches in a thread while the database writes the current one."""

import queue
import threading
import time
from types import TracebackType
from typing import Self

from labeling.imports.bulk_copy import Batch, batches
from labeling.imports.formats.registry import OpenFile
from labeling.models import SchemaVersion

_MAX_BATCHES = 2
#: for the row that is being read; a thread that takes longer is left to end with its process
EXIT_SECONDS = 120.0


class Prefetcher:
    """Batches of a file, validated under a schema version. The thread does not use the database.

    ``stop`` ends the thread.
    """

    def __init__(self, opened: OpenFile, version: SchemaVersion, stop: threading.Event) -> None:
        version.compiled  # noqa: B018 - compiled here, where the database can be used
        self.opened, self._version, self._stop = opened, version, stop
        self._queue: queue.Queue[Batch | BaseException | None] = queue.Queue(_MAX_BATCHES)
        self._thread = threading.Thread(target=self._work, name="prefetch", daemon=True)
        self.ended = False

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        until = time.monotonic() + EXIT_SECONDS
        while self._thread.is_alive() and time.monotonic() < until:
            try:  # a full queue would block the thread
                self._queue.get(timeout=0.1)
            except queue.Empty:
                continue

    def next(self, timeout: float) -> Batch | None:
        """The next batch; None after ``timeout`` seconds or after the last batch, which sets ``ended``.

        Raises the errors of the reader.
        """
        try:
            item = self._queue.get(timeout=timeout)
        except queue.Empty:
            return None
        if isinstance(item, BaseException):
            raise item
        self.ended = item is None
        return item

    def _work(self) -> None:
        last: BaseException | None = None
        try:
            for batch in batches(self.opened.rows, lambda: self.opened.progress.share):
                batch.validate(self._version)
                self._queue.put(batch)
                if self._stop.is_set():
                    return
        except BaseException as error:
            last = error
        self._queue.put(last)
