"""The documents of an evaluation, those of its split or of its benchmark, and its few-shot examples."""

import random
from collections.abc import Iterator
from itertools import islice
from typing import Any

from django.db.models.functions import Collate, Length

from evaluation.inference.backend import ModelUnavailable
from evaluation.models import EvalRun
from labeling.datasets import queries as dataset_queries
from labeling.models import DatasetItem, DatasetVersion, Document, Split


def documents(run: EvalRun) -> dict[str, int]:
    """Id -> primary key of each document, in processing order."""
    keys = dict(_items(run).values_list("document__external_id", "document_id"))
    if run.benchmark is None:
        return keys
    place = {key: number for number, key in enumerate(run.benchmark.documents)}
    return dict(sorted(keys.items(), key=lambda pair: place[pair[1]]))


def count(run: EvalRun) -> int:
    """The number of documents."""
    return int(_items(run).count())


def rows(run: EvalRun) -> Iterator[dict[str, Any]]:
    """Their rows in the dataset file, in its order.

    Raises:
        FileNotFoundError: the artifact store no longer has the file.
    """
    if run.benchmark is None:
        yield from dataset_queries.rows(run.dataset, run.split)
        return
    wanted = set(documents(run))
    for row in dataset_queries.rows(run.dataset):
        if str(row["id"]) in wanted:
            yield row


def _items(run: EvalRun) -> Any:
    if run.benchmark is None:
        return run.dataset.items.filter(split=run.split)
    return run.dataset.items.filter(document__in=run.benchmark.documents)


EXAMPLES = 2


def few_shot_examples(run: EvalRun) -> list[dict[str, Any]]:
    """``{"text", "gold"}`` of two labeled documents, drawn by the dataset's seed from the shorter half.

    They are from the training split, or from validation where the training split is evaluated, so no answer is shown
    before it is asked for. Fewer than two where the split has fewer. A benchmark stores its
    own, and so does an optimized prompt.

    Raises:
        ModelUnavailable: one of them is in the hold-out now.
        FileNotFoundError: the artifact store no longer has the dataset file.
    """
    keys = few_shot_keys(run)
    if in_holdout(keys):
        raise ModelUnavailable(f"A few-shot example of {run.dataset} is in the hold-out now. Freeze a new version.")
    return rows_of(run.dataset if run.prompt is None else run.prompt.dataset, keys)


def rows_of(dataset: DatasetVersion, keys: list[int]) -> list[dict[str, Any]]:
    """``{"text", "gold"}`` of documents of a version, in the order of their keys.

    Raises:
        FileNotFoundError: as ``few_shot_examples``.
    """
    items = dataset.items.filter(document__in=keys).values_list("document__external_id", "document_id")
    place = {external_id: keys.index(key) for external_id, key in items}
    matching = (row for row in dataset_queries.rows(dataset) if str(row["id"]) in place)
    rows = sorted(islice(matching, len(place)), key=lambda row: place[str(row["id"])])
    return [{"text": row["text"], "gold": row["gold"]} for row in rows]


def few_shot_keys(run: EvalRun) -> list[int]:
    """Keys of the documents of ``few_shot_examples``."""
    if run.prompt is not None:
        return list(run.prompt.examples)
    if run.benchmark is not None:
        return list(run.benchmark.examples)
    return sample_few_shot_keys(run.dataset, Split.VALIDATION if run.split == Split.TRAIN else Split.TRAIN)


def sample_few_shot_keys(dataset: DatasetVersion, split: str) -> list[int]:
    """Keys of two documents of a split (fewer where it has fewer), drawn by the dataset's seed from the shorter half.
    The database sorts, because pages call this too and a dataset file can be large.
    """
    items = dataset.items.filter(split=split)
    count = items.count()
    half = min(count, max(EXAMPLES, count // 2))
    # By code points, whatever the database's collation.
    ordered = items.order_by(Length("document__text"), Collate("document__external_id", "C"))
    drawn = random.Random(dataset.seed).sample(range(half), min(EXAMPLES, half))
    return [ordered.values_list("document_id", flat=True)[place] for place in drawn]


def in_holdout(keys: list[int]) -> bool:
    """Whether one of these documents is in the hold-out, now or in any dataset version."""
    ever = DatasetItem.objects.filter(document__in=keys, split=Split.HOLDOUT)
    return ever.exists() or Document.objects.filter(pk__in=keys, holdout=True).exists()
