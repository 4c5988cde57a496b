"""Labels that a classifier needs for the same accuracy, by the order in which documents are labeled.

    python -m bench.queue_order --texts BANKING77/train.csv [--seeds 5]

A pool of texts is labeled in batches; before each batch the order is computed again from what is labeled. Accuracy is
measured on texts outside the pool. The control is the random order with the same first batch, pool and test texts.
"""

import argparse
import csv
import json
import random
import statistics
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from labeling.queue_order.ranking import (
    Numbers,
    Places,
    at_random,
    by_value,
    disagreement,
    novelty,
    spread,
    uncertainty,
)
from slmstudio.text.classifier import TextClassifier, TextVectors


@dataclass
class Round:
    """What an order can use: vectors and predictions of the pool, and what is labeled."""

    words: Any
    labeled: Any
    probabilities: Numbers
    other: Callable[[], Numbers]
    seed: int


def combined(state: Round) -> Places:
    """Uncertain ones, apart from each other."""
    return spread(uncertainty(state.probabilities), lambda places: state.words[places])


ORDERS: dict[str, Callable[[Round], Places]] = {
    "random": lambda state: at_random(len(state.probabilities), state.seed),
    "confidence": lambda state: by_value(1 - state.probabilities.max(axis=1)),
    "margin": lambda state: by_value(uncertainty(state.probabilities)),
    "disagreement": lambda state: by_value(disagreement(state.probabilities, state.other())),
    "diversity": lambda state: spread(novelty(state.words, state.labeled), lambda at: state.words[at]),
    "combined": combined,
}


def curve(name: str, rows: list[dict[str, str]], options: argparse.Namespace, seed: int) -> dict[int, float]:
    """Accuracy by number of labels for one order."""
    rng = random.Random(seed)
    drawn = rng.sample(rows, options.pool + options.test)
    pool, test = drawn[: options.pool], drawn[options.pool :]
    labeled = list(range(options.first))
    found = {}
    while True:
        texts = [pool[at]["text"] for at in labeled]
        labels = [pool[at]["category"] for at in labeled]
        words = TextVectors(texts)
        own = words.of(texts)
        model = TextClassifier(own, labels)
        guesses = model.probabilities(words.of(row["text"] for row in test)).argmax(axis=1)
        found[len(labeled)] = float(
            np.mean([model.classes[at] == row["category"] for at, row in zip(guesses, test, strict=True)])
        )
        if len(labeled) >= options.most:
            return found
        done = set(labeled)
        rest = [at for at in range(len(pool)) if at not in done]
        open_texts = [pool[at]["text"] for at in rest]
        vectors = words.of(open_texts)

        def committee(
            texts: list[str] = texts, labels: list[str] = labels, open_texts: list[str] = open_texts
        ) -> Numbers:
            characters = TextVectors(texts, characters=True)
            return TextClassifier(characters.of(texts), labels).probabilities(characters.of(open_texts))

        state = Round(vectors, own, model.probabilities(vectors), committee, seed)
        labeled += [rest[at] for at in ORDERS[name](state)[: options.batch]]


def needed(curve: dict[int, float], target: float) -> float | None:
    """Labels for an accuracy, linear between measurements; None where it is not reached."""
    last: tuple[int, float] | None = None
    for count, value in curve.items():
        if value >= target:
            if last is None or value == last[1]:
                return float(count)
            return last[0] + (count - last[0]) * (target - last[1]) / (value - last[1])
        last = (count, value)
    return None


def main() -> None:
    """Prints accuracy by labels, and the labels for the accuracy of the random order at its end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--pool", type=int, default=5000)
    parser.add_argument("--test", type=int, default=2000)
    parser.add_argument("--first", type=int, default=100)
    parser.add_argument("--batch", type=int, default=150)
    parser.add_argument("--most", type=int, default=1600)
    parser.add_argument("--orders", default=",".join(ORDERS))
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    with options.texts.open(newline="") as file:
        rows = list(csv.DictReader(file))
    curves: dict[str, list[dict[int, float]]] = defaultdict(list)
    for seed in range(1, options.seeds + 1):
        for name in options.orders.split(","):
            curves[name].append(curve(name, rows, options, seed))
            print(seed, name, f"{list(curves[name][-1].values())[-1]:.3f}", flush=True)
        if options.output:
            options.output.write_text(json.dumps(curves))
    for name, own in curves.items():
        print(name, *(f"{count}: {statistics.mean(c[count] for c in own):.3f}" for count in own[0]))
    for share in (0.5, 0.75, 1.0):
        at = [min(c, key=lambda count: abs(count - share * options.most)) for c in curves["random"]]
        for name, own in curves.items():
            ratios = []
            for control, labels, mine in zip(curves["random"], at, own, strict=True):
                count = needed(mine, control[labels])
                ratios.append((count or options.most) / labels)
            print(f"{name:14} as accurate as random at {at[0]}: {_interval(ratios)}")


def _interval(values: list[float]) -> str:
    """Mean with its 95% t interval."""
    from scipy.stats import t

    mean = statistics.mean(values)
    if len(values) < 2:
        return f"{mean:.1%}"
    half = t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / len(values) ** 0.5
    return f"{mean:.1%} of the labels ({mean - half:.1%} to {mean + half:.1%})"


if __name__ == "__main__":
    main()
