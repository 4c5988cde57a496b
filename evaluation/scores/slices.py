"""Which documents a gate, a figure or a draw is about: all, those with a failure tag, those with a value in metadata.

As text: ``""``, ``"bad_scan"``, ``"metadata.supplier=ACME"``. Pure.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

_PREFIX = "metadata."


class SliceError(ValueError):
    """A text that names no slice; the message completes "slice ..."."""


@dataclass(frozen=True, slots=True)
class Slice:
    """``tag``, or ``key`` and ``value`` of metadata; all empty: every document."""

    tag: str = ""
    key: str = ""
    value: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises SliceError for ``metadata.`` without a key and a value."""
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
        """As it is read: "bad scan", "supplier: ACME"."""
        return f"{self.key}: {self.value}" if self.key else self.tag.replace("_", " ")

    def holds(self, *, tags: Iterable[str], metadata: Mapping[str, Any] | None) -> bool:
        """Whether a document belongs to it."""
        if self.tag:
            return self.tag in tags
        return not self.key or as_text((metadata or {}).get(self.key)) == self.value


def as_text(value: Any) -> str:
    """A value of metadata as a slice names it: yes and no as JSON writes them; lists and objects name nothing."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None or isinstance(value, list | dict) else str(value)
