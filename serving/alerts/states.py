"""The state of an alert from what is measured, check by check. Pure: the clock is an argument.

An alert fires once its metric has exceeded the limit at every check for ``for_seconds``, and is resolved once it has
been clear of the limit, with a margin, for as long, and for at least ``MIN_CLEAR_SECONDS``: a value that swings around
the limit neither fires nor resolves at each swing. A check without enough requests concludes nothing.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum

#: a firing alert is clear where its metric is this share of the limit or less (of a lower limit: this much above it)
CLEAR_SHARE = 0.9
MIN_CLEAR_SECONDS = 300
#: checks that are farther apart do not show that the limit was exceeded in between
MAX_GAP = timedelta(minutes=5)
#: a firing alert that cannot be measured for so long is resolved
FORGET = timedelta(hours=6)


class Level(Enum):
    """A value against its limit."""

    OVER = "over"
    #: within the limit, but not by the margin
    NEAR = "near"
    CLEAR = "clear"
    #: not enough requests
    UNKNOWN = "unknown"


class Change(Enum):
    """What a check changed that people are informed of."""

    NONE = "none"
    FIRED = "fired"
    RESOLVED = "resolved"
    #: resolved, as nothing was measured for a long time
    FORGOTTEN = "forgotten"


@dataclass(frozen=True)
class State:
    """``name``: ok, pending or firing, ``since`` when; ``clear_since``: firing, and clear since then."""

    name: str
    since: datetime
    clear_since: datetime | None = None
    checked_at: datetime | None = None
    #: the last check that measured something
    measured_at: datetime | None = None


def level(value: float | None, limit: float, *, is_lower: bool = False) -> Level:
    """``is_lower``: the limit is the lowest good value."""
    if value is None:
        return Level.UNKNOWN
    if is_lower:
        if value < limit:
            return Level.OVER
        return Level.CLEAR if value >= limit * (2 - CLEAR_SHARE) else Level.NEAR
    if value > limit:
        return Level.OVER
    return Level.CLEAR if value <= limit * CLEAR_SHARE else Level.NEAR


def step(state: State, found: Level, now: datetime, *, for_seconds: int) -> tuple[State, Change]:
    """The state after a check."""
    gap = state.checked_at is not None and now - state.checked_at > MAX_GAP
    measured_at = state.measured_at if found == Level.UNKNOWN else now
    state = replace(state, checked_at=now, measured_at=measured_at)
    if state.name == "firing":
        return _firing(state, found, now, gap=gap, clear_seconds=max(for_seconds, MIN_CLEAR_SECONDS))
    if found != Level.OVER:
        # Without requests a pending alert starts over: what is not measured is not exceeded.
        return (state if state.name == "ok" else replace(state, name="ok", since=now)), Change.NONE
    if state.name == "ok" or gap:
        state = replace(state, name="pending", since=now)
    if (now - state.since).total_seconds() >= for_seconds:
        return replace(state, name="firing", since=now, clear_since=None), Change.FIRED
    return state, Change.NONE


def _firing(state: State, found: Level, now: datetime, *, gap: bool, clear_seconds: int) -> tuple[State, Change]:
    if found == Level.UNKNOWN:
        last = state.measured_at or state.since
        if now - last >= FORGET:
            return replace(state, name="ok", since=now, clear_since=None), Change.FORGOTTEN
        return replace(state, clear_since=None), Change.NONE
    if found != Level.CLEAR:
        return replace(state, clear_since=None), Change.NONE
    if state.clear_since is None or gap:
        state = replace(state, clear_since=now)
    assert state.clear_since is not None
    if (now - state.clear_since).total_seconds() >= clear_seconds:
        return replace(state, name="ok", since=now, clear_since=None), Change.RESOLVED
    return state, Change.NONE
