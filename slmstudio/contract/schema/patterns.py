"""Regular expressions of schemas: by RE2 in time linear in the text, the others with a time limit.

RE2 has no look-around and no back-references, which generators write (Pydantic for decimals, zod for durations). Those
are matched by ``regex``, which may take exponential time: each match has MATCH_SECONDS, and a pattern that has taken
BUDGET_SECONDS in a row is not tried again for REST_SECONDS. What was not matched in time does not match.
"""

import re
import threading
import time
from functools import lru_cache
from typing import Any

import re2  # type: ignore[import-untyped]
import regex

MATCH_SECONDS = 0.05
BUDGET_SECONDS = 0.5
REST_SECONDS = 10.0
_MAX_CHARACTERS = 10_000
_HEX_ESCAPE = re.compile(r"(?<!\\)((?:\\\\)*)\\u([0-9a-fA-F]{4})")
_CODE_POINT = re.compile(r"(?<!\\)((?:\\\\)*)\\u\{([0-9a-fA-F]{1,6})\}")
_TOKEN = re.compile(r"\\.|\[(?:\\.|[^\]\\])*\]|\$|.", re.DOTALL)


class PatternError(ValueError):
    """An invalid regular expression."""


class TimedPattern:
    """A pattern that RE2 does not support, with a limit on the time that it takes."""

    def __init__(self, pattern: str) -> None:
        self._pattern = regex.compile(_as_python(pattern), regex.ASCII)
        self._lock = threading.Lock()
        self._spent = 0.0
        self._rests_until = 0.0

    def search(self, text: str) -> Any:
        """The match, or None, also if there was no time to find one."""
        began = time.monotonic()
        if began < self._rests_until or len(text) > _MAX_CHARACTERS:
            return None
        try:
            return self._pattern.search(text, timeout=MATCH_SECONDS)
        except TimeoutError:
            with self._lock:
                self._spent += time.monotonic() - began
                if self._spent >= BUDGET_SECONDS:
                    self._spent, self._rests_until = 0.0, time.monotonic() + REST_SECONDS
            return None


def _as_python(pattern: str) -> str:
    r"""``$`` of ECMA 262 is the end, not also the place before a last line break: ``\Z``."""
    pattern = _CODE_POINT.sub(r"\1\\x{\2}", pattern)
    pattern = re.sub(r"\\x\{([0-9a-fA-F]+)\}", lambda found: f"\\U{int(found.group(1), 16):08x}", pattern)
    return "".join(r"\Z" if token == "$" else token for token in _TOKEN.findall(pattern))


@lru_cache(maxsize=4096)
def compile_pattern(pattern: str) -> Any:
    """An object whose ``search`` matches a JSON Schema ``pattern``.

    Raises:
        PatternError: it is not valid, with RE2's reason.
    """
    options = re2.Options()
    options.log_errors = False
    options.max_mem = 4 << 20
    try:
        return re2.compile(_HEX_ESCAPE.sub(r"\1\\x{\2}", pattern), options)
    except (re2.error, UnicodeError) as error:
        reason = error.args[0] if error.args else ""
        text = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
    try:
        return TimedPattern(pattern)
    except (regex.error, ValueError, OverflowError, RecursionError):
        raise PatternError(text) from None


def pattern_matches(pattern: str, text: str) -> bool:
    """Whether ``pattern`` matches anywhere in ``text``, as JSON Schema defines it (not anchored)."""
    return compile_pattern(pattern).search(text) is not None
