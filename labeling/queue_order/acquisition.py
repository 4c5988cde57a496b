"""Ranks unlabeled documents by what their label is likely to teach. Pure.

Signals are numbers from 0 to 1 per document: *uncertainty* (1 minus the calibrated confidence), *disagreement* of two
models, and *novelty* (1 minus the highest cosine similarity to a labeled document).
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Places = list[int]
#: documents that are compared with each other, so that similar ones do not follow each other
HEAD = 1_000
#: of the best ones by their signal, how many are candidates for the head
_POOL = 5_000
_CHUNK = 2_000


def by_value(values: Numbers) -> Places:
    """The highest first; ties in the order of the documents."""
    return [int(at) for at in np.argsort(-values, kind="stable")]


def at_random(count: int, seed: int) -> Places:
    """All documents, shuffled."""
    return [int(at) for at in np.random.default_rng(seed).permutation(count)]


def novelty(vectors: Any, labeled: Any) -> Numbers:
    """How far each document is from the labeled ones. ``vectors``: rows of unit length. Without labels, 1."""
    if not labeled.shape[0]:
        return np.ones(vectors.shape[0])
    parts = [
        (vectors[start : start + _CHUNK] @ labeled.T).max(axis=1).toarray().ravel()
        for start in range(0, vectors.shape[0], _CHUNK)
    ]
    distances: Numbers = 1 - np.clip(np.concatenate(parts), 0, 1)
    return distances


def spread(values: Numbers, vectors_of: Callable[[Places], Any], *, head: int = HEAD) -> Places:
    """The highest first, but each of the first ``head`` counts less the more similar it is to an earlier one.

    ``vectors_of``: rows of unit length for some documents; only those of the best ones are asked for.
    """
    order = np.asarray(by_value(values))
    pool = order[: max(_POOL, head)]
    rows = vectors_of(pool.tolist())
    apart = np.ones(len(pool))
    left = values[pool].astype(float)
    chosen: list[int] = []
    for _ in range(min(head, len(pool))):
        at = int(np.argmax(left * apart))
        chosen.append(at)
        apart = np.minimum(apart, 1 - np.clip((rows @ rows[at].T).toarray().ravel(), 0, 1))
        apart[at] = -np.inf
        left[at] = 1.0
    taken = set(chosen)
    return [int(pool[at]) for at in chosen] + [int(pool[at]) for at in range(len(pool)) if at not in taken] + [
        int(at) for at in order[len(pool) :]
    ]  # fmt: skip


def with_control(ranked: Places, share: float, seed: int) -> tuple[Places, set[int]]:
    """The order with a share of places drawn at random, and the documents at them.

    They show what the order is worth, and are representative, so that a hold-out can be drawn from them.
    """
    rng = np.random.default_rng(seed)
    shuffled = iter(rng.permutation(len(ranked)).tolist())
    best = iter(ranked)
    drawn = rng.random(len(ranked)) < share
    placed: set[int] = set()
    result: Places = []
    control: set[int] = set()
    for is_control in drawn.tolist():
        # Of the shuffled ones, the next that the order has not placed yet; it is a uniform draw from the rest.
        source = shuffled if is_control else best
        document = next(place for place in source if place not in placed)
        result.append(document)
        placed.add(document)
        if is_control:
            control.add(document)
    return result, control


def uncertainty(probabilities: Numbers) -> Numbers:
    """1 minus the difference between the two most likely classes; 0 where there is one class."""
    if probabilities.shape[1] < 2:
        return np.zeros(probabilities.shape[0])
    top = np.partition(probabilities, -2, axis=1)[:, -2:]
    margins: Numbers = 1 - (top[:, 1] - top[:, 0])
    return margins


def disagreement(first: Numbers, second: Numbers) -> Numbers:
    """The total variation distance of two predicted distributions over the same classes, from 0 to 1."""
    distances: Numbers = np.abs(first - second).sum(axis=1) / 2
    return distances
