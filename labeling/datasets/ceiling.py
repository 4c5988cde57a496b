"""The ceiling of each field: the share of gold values that are in the document's text.

A model that copies cannot exceed it. Counted while a version is frozen, for train and validation; of the hold-out only
documents are counted, over all fields, so that they stay unread. ``DatasetVersion.counts["ceiling"]`` is ``{"fields":
{pattern: {split: {"values", "in_text", "documents"}}}, "not_copied": {pattern: reason}, "holdout_documents"}``:
``documents`` have at least one value that is not in their text, and ``not_copied`` has the fields whose values need not
be there (keys of ``NOT_COPIED``).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from labeling.datasets.splits import HOLDOUT, TRAIN, VALIDATION
from labeling.models import DatasetVersion
from slmstudio.contract.schema.compiled import CompiledSchema, dumps, loads
from slmstudio.contract.schema.structure import Field
from slmstudio.contract.scoring.pairing import Leaf, pair
from slmstudio.contract.values import evidence
from slmstudio.contract.values.kinds.registry import KINDS
from slmstudio.storage import artifacts

SPLITS = (TRAIN, VALIDATION)
NOT_COPIED = {
    "choice": "one of a fixed set of values",
    "free": "free text",
    "no_evidence": "not expected in the text",
}
#: maximum number of listed values of a field and a split
MAX_LISTED = 1_000


def reason_not_copied(field: Field) -> str:
    """Why values of a field need not be in the text (a key of ``NOT_COPIED``); "" if they are expected there."""
    if field.evidence != "none":
        return ""
    if field.is_choice:
        return "choice"
    return "no_evidence" if KINDS[field.kind].scored else "free"


class CeilingCounter:
    """Counts the rows of a version, and collects the values that are not in their text."""

    def __init__(self, compiled: CompiledSchema) -> None:
        self._root = compiled.root
        self._not_copied = {field.pattern: why for field in compiled.fields if (why := reason_not_copied(field))}
        self._counts = {
            field.pattern: {split: {"values": 0, "in_text": 0, "documents": 0} for split in SPLITS}
            for field in compiled.fields
            if field.pattern not in self._not_copied
        }
        self._listed: dict[tuple[str, str], list[dict[str, Any]]] = {}
        self._holdout_documents = 0

    def add(self, row: Mapping[str, Any], document: int) -> None:
        """Counts one row of the version's file. ``document``: its key."""
        split = row["split"]
        if split == HOLDOUT:
            copied = self._copied(row)
            missing = (leaf for leaf in copied if not evidence.is_present(leaf.gold, leaf.field, row["text"]))
            self._holdout_documents += any(True for _ in missing)
        if split not in SPLITS:
            return
        absent = set()
        for leaf in self._copied(row):
            pattern, value = leaf.field.pattern, leaf.gold
            count = self._counts[pattern][split]
            count["values"] += 1
            if evidence.is_present(value, leaf.field, row["text"]):
                count["in_text"] += 1
                continue
            count["documents"] += pattern not in absent
            absent.add(pattern)
            listed = self._listed.setdefault((pattern, split), [])
            if len(listed) < MAX_LISTED:
                listed.append({"document": document, "id": row["id"], "split": split, "field": pattern, "gold": value})

    def _copied(self, row: Mapping[str, Any]) -> Iterator[Leaf]:
        """The values of gold that are expected in the text."""
        for leaf in pair(self._root, row["gold"], None):
            is_scalar = leaf.gold is not None and not isinstance(leaf.gold, bool | dict | list)
            if leaf.field.pattern not in self._not_copied and is_scalar and str(leaf.gold).strip():
                yield leaf

    def counts(self) -> dict[str, Any]:
        """The value of ``DatasetVersion.counts["ceiling"]``."""
        return {
            "fields": self._counts,
            "not_copied": self._not_copied,
            "holdout_documents": self._holdout_documents,
        }

    def text(self) -> str:
        """The values that are not in their text, one JSON object per line, by field and split."""
        places = ((pattern, split) for pattern in self._counts for split in SPLITS)
        return "".join(f"{dumps(row)}\n" for place in places for row in self._listed.get(place, ()))


@dataclass(frozen=True)
class FieldCeiling:
    """One field. ``reason``: why its values need not be in the text, else "". ``share``: None without values."""

    pattern: str
    title: str
    values: int
    in_text: int
    documents: int
    reason: str = ""

    @property
    def absent(self) -> int:
        """The number of values that are not in their text."""
        return self.values - self.in_text

    @property
    def share(self) -> float | None:
        """The ceiling, from 0 to 1."""
        return self.in_text / self.values if self.values else None


def ceiling_of(dataset: DatasetVersion) -> list[FieldCeiling]:
    """The ceiling of each field in schema order, over train and validation; empty for versions from before it."""
    counted = dataset.counts.get("ceiling")
    if not counted:
        return []
    fields = []
    for field in dataset.schema_version.compiled.fields:
        splits = counted["fields"].get(field.pattern, {}).values()
        values, in_text, documents = (
            sum(of_split[name] for of_split in splits) for name in ("values", "in_text", "documents")
        )
        reason = NOT_COPIED.get(counted["not_copied"].get(field.pattern, ""), "")
        fields.append(FieldCeiling(field.pattern, field.title, values, in_text, documents, reason))
    return fields


def absent_key(artifact_key: str) -> str:
    """The artifact key of the absent values that belong to the rows at ``artifact_key``."""
    return f"{artifact_key.rpartition('/')[0]}/absent_values.jsonl"


def absent_values(dataset: DatasetVersion, field: str = "") -> list[dict[str, Any]]:
    """The listed gold values that are not in their text (``{"document", "id", "split", "field", "gold"}``); of a field
    (its pattern), or of all.
    """
    path = artifacts.local_path(absent_key(dataset.artifact_key))
    if not path.is_file():
        return []
    with path.open("rb") as file:
        return [row for row in map(loads, file) if not field or row["field"] == field]
