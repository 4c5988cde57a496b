"""Reads and judges the next rows in a thread of its own, while the database writes those before."""

import queue
import threading
from types import TracebackType
from typing import Self

from labeling.imports.bulk_copy import Batch, batches
from labeling.imports.formats.readers import Reading
from labeling.models import SchemaVersion

_AHEAD = 2


class ReadAhead:
    """Batches of a reading, judged under a schema version. The thread asks nothing of the database."""

    def __init__(self, reading: Reading, version: SchemaVersion, stop: threading.Event) -> None:
        version.compiled  # noqa: B018 - compiled here, where the database may be asked
        self.reading, self._version, self._stop = reading, version, stop
        self._queue: queue.Queue[Batch | BaseException | None] = queue.Queue(_AHEAD)
        self._thread = threading.Thread(target=self._work, name="read-ahead", daemon=True)
        self.ended = False

    @staticmethod
    def signal() -> threading.Event:
        """What tells the thread, and readers that ask for it, to stop."""
        return threading.Event()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        while self._thread.is_alive():
            try:  # a full queue would hold the thread
                self._queue.get(timeout=0.1)
            except queue.Empty:
                continue
        self._thread.join()

    def next(self, timeout: float) -> Batch | None:
        """The next batch; None when none came in time (seconds), or when there are no more: then ``ended`` is set.

        Raises what the reader raised.
        """
        try:
            found = self._queue.get(timeout=timeout)
        except queue.Empty:
            return None
        if isinstance(found, BaseException):
            raise found
        self.ended = found is None
        return found

    def _work(self) -> None:
        last: BaseException | None = None
        try:
            for batch in batches(self.reading.rows, self.reading.share):
                batch.judge(self._version)
                self._queue.put(batch)
                if self._stop.is_set():
                    return
        except BaseException as error:
            last = error
        self._queue.put(last)
