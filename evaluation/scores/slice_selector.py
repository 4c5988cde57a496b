"""Selectors of slices: all documents, those with a failure tag, or those with a metadata value.

Written as ``""``, ``"bad_scan"``, ``"metadata.supplier=ACME"``. Pure.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

_PREFIX = "metadata."


class SliceError(ValueError):
    """The text is not a slice; the message completes "slice ..."."""


@dataclass(frozen=True, slots=True)
class Slice:
    """``tag``, or ``key`` and ``value`` of metadata; all empty for every document."""

    tag: str = ""
    key: str = ""
    value: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parses a slice. Raises SliceError for ``metadata.`` without a key and a value."""
        if not text.startswith(_PREFIX):
            return cls(tag=text)
        key, equals, value = text.removeprefix(_PREFIX).partition("=")
        if not (key and equals and value):
            raise SliceError(f"must be a failure tag, or metadata.KEY=VALUE; found {text!r}")
        return cls(key=key, value=value)

    def __str__(self) -> str:
        return f"{_PREFIX}{self.key}={self.value}" if self.key else self.tag

    @property
    def words(self) -> str:
        """The label for people: "bad scan", "supplier: ACME"."""
        return f"{self.key}: {self.value}" if self.key else self.tag.replace("_", " ")

    def holds(self, *, tags: Iterable[str], metadata: Mapping[str, Any] | None) -> bool:
        """Whether a document is in the slice."""
        if self.tag:
            return self.tag in tags
        return not self.key or as_text((metadata or {}).get(self.key)) == self.value


def as_text(value: Any) -> str:
    """A metadata value as text, booleans as in JSON; "" for null, lists and objects."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None or isinstance(value, list | dict) else str(value)
