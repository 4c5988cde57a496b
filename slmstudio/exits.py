"""Sentences for child processes that ended without saying why."""

import re
import signal
from pathlib import Path

#: bytes of a log in which its last words are looked for
_TAIL = 64 * 1024
#: how torch's launcher reports in its log which signal one of its processes died of
_RANK_KILLED = re.compile(r"exitcode\s*:\s*-(\d+)")


def explain_exit(code: int, log: Path, *, since: int = 0, launcher: bool = False) -> str:
    """A sentence for an exit code that came without an error event. The log of this child begins at byte ``since``.

    A ``launcher`` ends with 1 whatever became of its processes; its log tells what one of them died of.
    """
    text = _end_of(log, since)
    killed = _RANK_KILLED.search(text) if launcher and code > 0 else None
    code = -int(killed[1]) if killed else code
    last = text.splitlines()[-1] if text else ""
    tail = f"Its last words: {last[-600:]}" if last else ""
    if code == -signal.SIGKILL:
        return "The process was killed, most likely because the machine ran out of memory. Try a smaller batch size."
    if code < 0:
        return f"The process was stopped by signal {_signal_name(-code)}. {tail}".strip()
    if "No space left on device" in tail:
        return "The disk is full. Free some space and start the run again."
    return f"The process ended with code {code}. {tail}".strip()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


def _end_of(log: Path, since: int) -> str:
    """The last of what was written to a log from byte ``since`` on; logs grow over all attempts of a run."""
    try:
        with log.open("rb") as file:
            file.seek(max(since, log.stat().st_size - _TAIL))
            return file.read(_TAIL).decode(errors="replace").strip()
    except OSError:
        return ""
