"""Passes over the files of the request log, again and again."""

import logging
import threading
from pathlib import Path

from django.db import Error, connection

from serving.gateway.log_store.store import LogStore
from slmstudio.database.transactions import first_line

logger = logging.getLogger(__name__)
#: seconds between two passes; while the database does not answer
STEP_SECONDS = 0.5
RETRY_SECONDS = 1.0


def store_until(stopped: threading.Event, folder: Path) -> None:
    """Stores the files of a folder until it is stopped, and then a last time."""
    store = LogStore(folder)
    while True:
        is_last = stopped.is_set()
        has_answered = _store(store)
        if is_last:
            return
        stopped.wait(STEP_SECONDS if has_answered else RETRY_SECONDS)


def _store(store: LogStore) -> bool:
    """Whether the database answered."""
    try:
        store.store_files()
    except Error as error:
        logger.warning("the request log waits for the database: %s", first_line(error))
        connection.close()
        return False
    except Exception:  # the next pass tries again
        logger.exception("the request log could not be stored")
        connection.close()
        return False
    return True
