"""Error messages for child processes that ended without an error event."""

import json
import re
import signal
from pathlib import Path

#: bytes at the end of a log that are searched for its last lines
_TAIL = 64 * 1024
#: prefix of the log line in which a process whose events are not read reports its error, followed by JSON
ERROR_PREFIX = "slmstudio says: "
#: how torch's launcher reports its failed processes in its log: the signal that killed one is negative
_RANK_ENDED = re.compile(r"exitcode\s*:\s*(-?\d+)")
_ROOT_CAUSE = "Root Cause (first observed failure)"
#: the last line of a traceback, which in a launcher's log precedes the launcher's own
_RAISED = re.compile(r"(?:\[\w+\]:\s*)?(?!\S*ChildFailedError)[\w.]+(?:Error|Exception)\b")


def explain_exit(code: int, log: Path, *, since: int = 0, launcher: bool = False) -> str:
    """An error message for an exit code without an error event. The log of this child begins at byte ``since``.

    A ``launcher`` always exits with 1; its log has the exit code of the process that failed.
    """
    text = _end_of(log, since)
    if launcher and code > 0:
        code = _end_of_rank(text) or code
    last = _last_line(text, launcher=launcher)
    tail = f"Last output: {last[-600:]}" if last else ""
    if code == -signal.SIGKILL:
        return "The process was killed, most likely because the machine ran out of memory. Try a smaller batch size."
    if code < 0:
        return f"The process was stopped by signal {_signal_name(-code)}. {tail}".strip()
    if "No space left on device" in tail:
        return "The disk is full. Free some space and start the run again."
    return f"The process exited with code {code}. {tail}".strip()


def was_killed(code: int, log: Path, *, since: int = 0, launcher: bool = False) -> bool:
    """Whether a child that failed without an event was killed, rather than ended by an error of its own.

    If one of several processes is killed, the launcher kills the others and exits with 1. A launcher that reports no
    failed process counts as killed.
    """
    if code < 0 or not launcher:
        return code < 0
    text = _end_of(log, since)
    ended = _end_of_rank(text)
    return not _error_line(text) if ended is None else ended < 0


def rank_error(log: Path, *, since: int = 0) -> dict[str, str] | None:
    """The error that one of several processes reported in the log, in the form of an event: ``kind`` and ``message``.
    None if none did, or if the error has no specific message.
    """
    return next((words for words in _error_line(_end_of(log, since)) if words["kind"] != "crash"), None)


def _error_line(text: str) -> list[dict[str, str]]:
    errors = []
    for line in text.splitlines():
        _, mark, rest = line.partition(ERROR_PREFIX)  # the launcher may prefix the process's number
        if not mark:
            continue
        try:
            event = json.loads(rest)
            errors.append({name: str(event[name]) for name in ("kind", "message")})
        except (ValueError, KeyError, TypeError):
            continue
    return errors


def _end_of_rank(text: str) -> int | None:
    """The exit code that torch's launcher reports as the cause; None if it reports none. A killed process takes
    precedence over the others, which fail as a result.
    """
    codes = [int(code) for code in _RANK_ENDED.findall(text)]
    if not codes or -signal.SIGKILL in codes:
        return -signal.SIGKILL if codes else None
    cause = _RANK_ENDED.search(text, max(0, text.rfind(_ROOT_CAUSE)))
    return int(cause[1]) if cause else codes[0]


def _last_line(text: str, *, launcher: bool) -> str:
    """The log's last line. A launcher's is the frame around its report, so there the last exception raised."""
    lines = text.splitlines()
    if launcher:
        if spoken := _error_line(text):
            return spoken[0]["message"]
        raised = [line for line in lines if _RAISED.match(line)]
        lines = raised or [line for line in lines if any(map(str.isalnum, line))]
    return lines[-1] if lines else ""


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


def _end_of(log: Path, since: int) -> str:
    """The last part of a log after byte ``since``; logs grow over all attempts of a run."""
    try:
        with log.open("rb") as file:
            file.seek(max(since, log.stat().st_size - _TAIL))
            return file.read(_TAIL).decode(errors="replace").strip()
    except OSError:
        return ""
