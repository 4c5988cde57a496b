"""The rules of a freeze: how its documents are filtered, grouped and stratified. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from labeling.datasets.near_duplicates import THRESHOLD


@dataclass(frozen=True)
class Rules:
    """The rules of a version. By default: all labeled documents, grouped by near-duplicates.

    ``group_by`` is "", "source" or "metadata.<key>"; ``stratify`` "", "tags" or the pattern of a class field.
    ``large_families``: "", "whole" or "spread" (``labeling.datasets.splits.assign_splits``).
    ``states``, ``origins`` and ``tags`` include documents with one of these, ``without_tags`` excludes; ``most`` limits
    training and validation together. Rules do not apply to hold-out documents. ``silver``: "", or which pre-labels
    become silver labels: those with which another one agrees ("agreement"), or with a "confidence" of all fields of at
    least ``silver_confidence``.
    """

    similarity: float = THRESHOLD
    group_by: str = ""
    large_families: str = ""
    stratify: str = ""
    states: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    without_tags: tuple[str, ...] = ()
    most: int | None = None
    silver: str = ""
    silver_confidence: float = 0.95

    def matches(self, *, state: str, origin: str, tags: Sequence[str]) -> bool:
        """Whether a document passes the filters."""
        return (
            (not self.states or state in self.states)
            and (not self.origins or origin in self.origins)
            and (not self.tags or any(tag in self.tags for tag in tags))
            and not any(tag in self.without_tags for tag in tags)
        )


def rules_of(saved: dict[str, Any]) -> Rules:
    """The rules that a run or a version stores."""
    names = Rules.__dataclass_fields__
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in saved.items() if name in names
    }
    return Rules(**values)
