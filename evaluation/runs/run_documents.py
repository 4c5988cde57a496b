"""The documents of an evaluation: those of its split, or those of its benchmark."""

from collections.abc import Iterator
from typing import Any

from evaluation.models import EvalRun
from labeling.datasets import queries as dataset_queries


def documents(run: EvalRun) -> dict[str, int]:
    """Id -> primary key of each document, in processing order."""
    found = dict(_items(run).values_list("document__external_id", "document_id"))
    if run.benchmark is None:
        return found
    place = {key: number for number, key in enumerate(run.benchmark.documents)}
    return dict(sorted(found.items(), key=lambda pair: place[pair[1]]))


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
