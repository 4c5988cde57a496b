"""Selectors of slices: all documents, those with a failure tag, with a metadata value, or of known or new families.

Written as ``""``, ``"bad_scan"``, ``"metadata.supplier=ACME"``, ``"families=new"``. A family is known if it occurs in
training (``labeling.datasets.families``). Pure.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

_PREFIX = "metadata."
_FAMILIES = "families="
KNOWN, NEW = "known", "new"


class SliceError(ValueError):
    """The text is not a slice; the message completes "slice ..."."""


@dataclass(frozen=True, slots=True)
class Slice:
    """``tag``, or ``key`` and ``value`` of metadata, or ``families``: known or new; all empty for every document."""

    tag: str = ""
    key: str = ""
    value: str = ""
    families: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parses a slice. Raises SliceError for ``metadata.`` without a key and a value, and for other families."""
        if text.startswith(_FAMILIES):
            if (families := text.removeprefix(_FAMILIES)) not in (KNOWN, NEW):
                raise SliceError(f"of families must be {_FAMILIES}{KNOWN} or {_FAMILIES}{NEW}; found {text!r}")
            return cls(families=families)
        if not text.startswith(_PREFIX):
            return cls(tag=text)
        key, equals, value = text.removeprefix(_PREFIX).partition("=")
        if not (key and equals and value):
            raise SliceError(f"must be a tag, or metadata.KEY=VALUE; found {text!r}")
        return cls(key=key, value=value)

    def __str__(self) -> str:
        if self.families:
            return f"{_FAMILIES}{self.families}"
        return f"{_PREFIX}{self.key}={self.value}" if self.key else self.tag

    @property
    def words(self) -> str:
        """The label for people: "bad scan", "supplier: ACME", "new families"."""
        if self.families:
            return f"{self.families} families"
        return f"{self.key}: {self.value}" if self.key else self.tag.replace("_", " ")

    def holds(self, *, tags: Iterable[str], metadata: Mapping[str, Any] | None, is_known: bool | None = None) -> bool:
        """Whether a document is in the slice. ``is_known``: whether its family is; None: it has none."""
        if self.families:
            return is_known is (self.families == KNOWN)
        if self.tag:
            return self.tag in tags
        return not self.key or as_text((metadata or {}).get(self.key)) == self.value


def as_text(value: Any) -> str:
    """A metadata value as text, booleans as in JSON; "" for null, lists and objects."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None or isinstance(value, list | dict) else str(value)
