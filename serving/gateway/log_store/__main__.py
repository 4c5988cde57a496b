"""``python -m serving.gateway.log_store FOLDER``: stores the request log until it is stopped or the gateway ends."""

import logging
import os
import signal
import sys
import threading
from pathlib import Path

import django

#: noted before the slow imports: it may end during them
_PARENT = os.getppid()
#: requests go first, also while this process and the gateway's workers start
NICE = 5
os.nice(NICE)
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "slmstudio.settings")
django.setup()

from django.db import Error, connection  # noqa: E402

from serving.gateway.log_store.store import LogStore  # noqa: E402
from slmstudio.database.retries import first_line  # noqa: E402
from slmstudio.runs.parent_death import die_with_parent  # noqa: E402

logger = logging.getLogger(__name__)
STEP_SECONDS = 0.5
#: seconds between two passes while the database does not answer
RETRY_SECONDS = 1.0


def main(folder: Path) -> int:
    """Stores files; a last time once it is asked to stop."""
    stopped = threading.Event()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: the gateway stops it once its workers have ended
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    die_with_parent(_PARENT, by=signal.SIGTERM)
    store = LogStore(folder)
    while True:
        is_last = stopped.is_set()
        stored = _store(store)
        if is_last:
            return 0
        stopped.wait(STEP_SECONDS if stored else RETRY_SECONDS)


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


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
