"""Keeps the servers of this machine running while they are in use: a killed server is restarted."""

from collections.abc import Callable
from time import monotonic

import psutil
import psycopg

from slmstudio.stack import lifecycle
from slmstudio.stack.errors import StackError
from slmstudio.stack.supervisor import HEALTHY_SECONDS, restart_delay

CHECK_SECONDS = 1.0


class ServerWatchdog:
    """Restarts the servers of ``running`` that have ended, with increasing delays, and prints it.

    A server that cannot be started is retried without limit: the programs wait for it, as for any unavailable server.
    """

    def __init__(self, running: lifecycle.Running | None, say: Callable[[str], None]) -> None:
        self.running = running
        self.say = say
        self._next_check = 0.0
        self._paused_until = float("-inf")
        self._failures = 0

    def check(self) -> None:
        """Checks about once a second, however often it is called. A start takes time, and blocks the caller."""
        if self.running is None or monotonic() < self._next_check:
            return
        self._next_check = monotonic() + CHECK_SECONDS
        try:
            started = lifecycle.restart_ended(self.running)
        except (StackError, OSError, psutil.Error, psycopg.Error) as error:
            wait = self._pause()
            self.say(f"{str(error).strip()} The next attempt is in {wait:.0f} s.")
            return
        if started:
            self._pause()
            verb = "was" if len(started) == 1 else "were"
            self.say(f"{' and '.join(started)} had ended and {verb} restarted.")

    def _pause(self) -> float:
        """Seconds until the next check: more after each failure, reset after a while without one."""
        now = monotonic()
        well = now - self._paused_until > HEALTHY_SECONDS
        self._failures = 1 if well else self._failures + 1
        wait = restart_delay(self._failures)
        self._next_check = self._paused_until = now + wait
        return wait
