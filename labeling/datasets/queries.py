"""Reads of dataset versions: rows, pairs of near-duplicates, and what to know before a model is trained on one.

``labeling.datasets.freeze`` documents ``DatasetVersion.counts`` and ``rules``.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from django.utils.translation import ngettext

from labeling.datasets import splits
from labeling.datasets.files import pairs_key
from labeling.models import DatasetVersion, Project, Split
from slmstudio.contract.schema.compiled import loads
from slmstudio.hooks import Hook
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


def near_duplicate_pairs(dataset: DatasetVersion, *, only_split: bool = False) -> list[dict[str, Any]]:
    """All pairs of near-duplicates (``labeling.datasets.files``): split pairs first (``only_split``: no others), then
    by similarity. Empty for versions from before pairs were stored.
    """
    path = artifacts.local_path(pairs_key(dataset.artifact_key))
    if not path.is_file():
        return []
    with path.open("rb") as file:
        pairs = [loads(line) for line in file]
    return [pair for pair in pairs if pair["sides"][0] != pair["sides"][1]] if only_split else pairs


# -- warnings ----------------------------------------------------------------------------------------------------------

#: documents of a split below which its results say little
FEW = 20
#: validation documents below which the curves of a run say little
FEW_IN_CURVES = 5
#: what a training run needs, and a search, which chooses on validation
OF_TRAINING = {Split.TRAIN: FEW, Split.VALIDATION: FEW_IN_CURVES}
OF_SEARCH = {Split.TRAIN: FEW, Split.VALIDATION: FEW}


#: a project and the size of its hold-out -> why no model can pass the gates on it; "" where one can
holdout_warning: Hook[[Project, int], str] = Hook()


def freeze_warnings(project: Project, sizes: Mapping[Split, int]) -> list[str]:
    """Warnings about a version with splits of these sizes, before it is frozen: for gates, and to compare models."""
    warnings = [*holdout_warning.call(project, sizes[Split.HOLDOUT]), *_small_splits(sizes, {Split.VALIDATION: FEW})]
    return [warning for warning in warnings if warning]


def has_current_schema(dataset: DatasetVersion) -> bool:
    """Whether the schema of a version is the project's current one, also if that was restored."""
    return dataset.schema_version.sha256 == dataset.project.schema_version.sha256


def erased_documents(dataset: DatasetVersion) -> int:
    """The number of its documents whose texts and labels were erased."""
    return int(dataset.items.filter(document__erased_at__isnull=False).count())


def dataset_warnings(dataset: DatasetVersion, least: Mapping[Split, int]) -> list[str]:
    """Warnings about a version: documents were erased, its schema is not the current one, or a split has less documents
    than ``least``.
    """
    warnings = []
    if number := erased_documents(dataset):
        text = ngettext("{n} document of {dataset} was erased", "{n} documents of {dataset} were erased", number)
        warnings.append(f"{text.format(n=number, dataset=dataset)}: no run can start with it. Freeze a new version.")
    if not has_current_schema(dataset):
        current = dataset.project.schema_version
        warnings.append(
            f"{str(dataset).capitalize()} uses schema {dataset.schema_version}, but the current schema is {current}. "
            "Models trained or evaluated on it use the old schema, and their gate reports cannot be approved. Freeze a "
            "new version."
        )
    return [*warnings, *_small_splits(dataset.counts.get("splits", {}), least)]


def _small_splits(sizes: Mapping[Split, int], least: Mapping[Split, int]) -> Iterator[str]:
    for split, minimum in least.items():
        count = sizes.get(split, 0)
        if count < minimum:
            documents = ngettext("document", "documents", count)
            name = "training" if split == Split.TRAIN else split.label.lower()
            yield f"{count} {name} {documents}: too few for reliable results. Label at least {minimum}."
