"""A limit on the work that one schema takes.

A few hundred characters can describe a schema of any size: parts that repeat parts, alternatives of alternatives.
Whatever walks a schema counts its steps here; a step is about a microsecond. Without ``limited`` nothing is counted.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

#: steps to translate, check and compile one schema; the largest real ones take a sixth of them
MAX_STEPS: Final = 2_000_000
_left: ContextVar[list[int] | None] = ContextVar("steps_left", default=None)


class TooMuchWorkError(Exception):
    """A schema takes more steps than allowed."""


@contextmanager
def limited(steps: int = MAX_STEPS) -> Iterator[None]:
    """Limits the steps inside, also where a larger limit is in force."""
    around = _left.get()
    own = [steps if around is None else min(steps, around[0])]
    given = own[0]
    token = _left.set(own)
    try:
        yield
    finally:
        _left.reset(token)
        if around is not None:
            around[0] -= given - own[0]


def spend(steps: int = 1) -> None:
    """Counts steps.

    Raises:
        TooMuchWorkError: none are left.
    """
    left = _left.get()
    if left is not None:
        left[0] -= steps
        if left[0] < 0:
            raise TooMuchWorkError
