"""How an exception of a job ends its run."""

import errno
import logging
from types import TracebackType

from slmstudio.database.transactions import RETRY_SECONDS, UNAVAILABLE, with_retries
from slmstudio.errors import Refused
from slmstudio.runs.models import BackgroundRun
from training.child_processes import ChildCancelled, ChildFailed

log = logging.getLogger(__name__)


class FailureHandler:
    """Turns an exception of a job into the final state of its run: failed with a message, or cancelled.

    Unexpected exceptions are raised again.
    """

    def __init__(self, run: BackgroundRun) -> None:
        self.run = run

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if error is None:
            return False
        if isinstance(error, ChildCancelled):
            with_retries(self.run.cancelled)
            return True
        if isinstance(error, (ChildFailed, Refused)):
            self._fail(str(error))
            return True
        log.error("run %s of %s stopped", self.run.pk, type(self.run).__name__, exc_info=error)
        # If the database has been unreachable for half an hour, the reaper ends the run.
        self._fail(failure_sentence(error), seconds=0.0 if isinstance(error, UNAVAILABLE) else RETRY_SECONDS)
        return False

    def _fail(self, sentence: str, seconds: float = RETRY_SECONDS) -> None:
        with_retries(lambda: self.run.fail(sentence), seconds)


def failure_sentence(error: BaseException) -> str:
    """A message for an unexpected error. The error's own text goes to the log only: it may name hosts, users and paths,
    and all members of a project can read the page of a run.
    """
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "The disk is full. Free some space and start the run again."
    if isinstance(error, (KeyboardInterrupt, SystemExit)):
        return "The worker was stopped during the run. Start the run again."
    return f"Internal error ({type(error).__name__}). See the worker's log."
