"""Reads of dataset versions: rows, and pairs of near-duplicates.

``labeling.datasets.freeze`` documents ``DatasetVersion.counts`` and ``rules``.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from labeling.datasets import splits
from labeling.datasets.files import pairs_key
from labeling.models import DatasetVersion, Document
from slmstudio.contract.schema.compiled import loads
from slmstudio.storage import artifacts


def file_path(dataset: DatasetVersion) -> Path:
    """The version's JSONL file on this machine.

    Raises:
        FileNotFoundError: it is missing from the artifact store.
    """
    path = artifacts.local_path(dataset.artifact_key)
    if not path.is_file():
        raise FileNotFoundError(f"The file of {dataset} is missing from the artifact store ({dataset.artifact_key}).")
    return path


def rows(dataset: DatasetVersion, split: str | None = None) -> Iterator[dict[str, Any]]:
    """The rows of a version in the file's order, or those of one split; numbers are exact.

    Raises:
        FileNotFoundError: as ``file_path``.
    """
    with file_path(dataset).open("rb") as file:
        for line in file:
            row = loads(line, max_characters=None)
            if split is None or row["split"] == split:
                yield row


def row_page(dataset: DatasetVersion, *, split: str | None, start: int, count: int) -> list[dict[str, Any]]:
    """``count`` rows of a version or split, from number ``start``; earlier lines are not parsed.

    Raises:
        FileNotFoundError: as ``file_path``.
    """
    if split is not None:
        earlier = splits.ORDER[: splits.ORDER.index(split)]
        count = max(0, min(count, dataset.counts["splits"][split] - start))
        start += sum(dataset.counts["splits"][name] for name in earlier)
    with file_path(dataset).open("rb") as file:
        return [loads(line, max_characters=None) for line in islice(file, start, start + count)]


def row_offsets(dataset: DatasetVersion, split: str) -> list[int]:
    """File offsets of the rows of a split, shortest row first, without parsing them.

    Raises:
        FileNotFoundError: as ``file_path``.
    """
    earlier = splits.ORDER[: splits.ORDER.index(split)]
    first = sum(dataset.counts["splits"][name] for name in earlier)
    offsets = []
    place = 0
    with file_path(dataset).open("rb") as file:
        for number, line in enumerate(islice(file, first + dataset.counts["splits"][split])):
            if number >= first:
                offsets.append((len(line), place))
            place += len(line)
    return [place for _, place in sorted(offsets)]


def rows_at(dataset: DatasetVersion, chosen: Iterable[int]) -> list[dict[str, Any]]:
    """The rows at these file offsets, in this order.

    Raises:
        FileNotFoundError: as ``file_path``.
    """
    with file_path(dataset).open("rb") as file:
        rows = []
        for place in chosen:
            file.seek(place)
            rows.append(loads(file.readline(), max_characters=None))
        return rows


@dataclass(frozen=True)
class NearDuplicatePair:
    """Two near-duplicate documents, each with its split, or the reason for its exclusion."""

    document: Document
    other: Document
    similarity: float
    sides: tuple[str, str]

    @property
    def is_split(self) -> bool:
        """Whether they are in different splits, or one is excluded."""
        return self.sides[0] != self.sides[1]


def near_duplicate_pairs(
    dataset: DatasetVersion, *, start: int, count: int, only_split: bool = False
) -> tuple[list[NearDuplicatePair], int]:
    """Pairs of near-duplicates from number ``start``, and their total number.

    Split pairs come first (``only_split``: no others), then by similarity. Empty for versions from before pairs were
    stored.
    """
    path = artifacts.local_path(pairs_key(dataset.artifact_key))
    if not path.is_file():
        return [], 0
    with path.open("rb") as file:
        pairs = [loads(line) for line in file]
    if only_split:
        pairs = [pair for pair in pairs if pair["sides"][0] != pair["sides"][1]]
    page = pairs[start : start + count]
    keys = [pair[side] for pair in page for side in ("a", "b")]
    documents = Document.objects.only("external_id", "text").in_bulk(keys)
    shown = [
        NearDuplicatePair(
            documents[pair["a"]], documents[pair["b"]], float(pair["similarity"]), (pair["sides"][0], pair["sides"][1])
        )
        for pair in page
        if pair["a"] in documents and pair["b"] in documents
    ]
    return shown, len(pairs)
