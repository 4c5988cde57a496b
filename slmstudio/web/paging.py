"""Keyset pagination of long lists: as fast at the end of a million rows as at the beginning."""

from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet

SIZE = 30
MAX_COUNTED = 10_000


@dataclass(frozen=True)
class Page:
    """Rows of one page; ``before`` and ``after`` are the keys of the neighboring pages, or None at an end."""

    rows: list[Any]
    before: int | None
    after: int | None


def page(
    rows: QuerySet[Any], *, after: int | None = None, before: int | None = None, newest: bool = False, size: int = SIZE
) -> Page:
    """The page that follows the key ``after`` or precedes ``before``, by primary key, or the first one."""
    backwards = before is not None
    descending = newest != backwards
    key = before if backwards else after
    if key is not None:
        rows = rows.filter(pk__lt=key) if descending else rows.filter(pk__gt=key)
    entries = list(rows.order_by("-pk" if descending else "pk")[: size + 1])
    more = len(entries) > size
    entries = entries[:size]
    if backwards:
        entries.reverse()
        return Page(entries, entries[0].pk if more and entries else None, entries[-1].pk if entries else None)
    return Page(entries, entries[0].pk if entries and key is not None else None, entries[-1].pk if more else None)


@dataclass(frozen=True)
class ApproximateCount:
    """A count that can be an estimate or a lower bound."""

    number: int
    is_estimate: bool = False
    is_lower_bound: bool = False

    def __str__(self) -> str:
        if self.is_lower_bound:
            return f"more than {self.number:,}"
        return f"about {self.number:,}" if self.is_estimate else f"{self.number:,}"


def count(rows: QuerySet[Any], limit: int = MAX_COUNTED) -> ApproximateCount:
    """The number of rows, counted up to ``limit``; a lower bound if there are more."""
    number = rows.order_by()[: limit + 1].count()
    return ApproximateCount(min(number, limit), is_lower_bound=number > limit)


def key_of(text: Any) -> int | None:
    """A positive integer that fits a database key; None for anything else."""
    if not isinstance(text, str) or not text.isascii() or not text.isdigit() or len(text) > 19:
        return None
    number = int(text)
    return number if 0 < number < 2**62 else None
