"""What silver labels add to a classifier with few gold labels, against training without them.

    python -m bench.silver_labels --texts BANKING77/train.csv [--gold 400] [--seeds 5]

Teachers of the silver labels: two classifiers trained on the same gold labels (words, characters) that must agree
(self-training), and a simulated large model that is right for ``--accuracy`` of the texts and otherwise names a similar
class; two independent samples of it must agree. Each is compared with gold alone, with the teacher's labels without a
filter, and with the true labels of the texts that the filter kept.
"""

import argparse
import csv
import random
import statistics
from collections import defaultdict
from pathlib import Path

import numpy as np

from bench.suspect_labels import confusable
from slmstudio.text.classifier import TextClassifier, TextVectors

Labels = list[str]


def accuracy(texts: Labels, labels: Labels, test: list[dict[str, str]]) -> float:
    """Of a classifier trained on some texts."""
    vectors = TextVectors(texts)
    model = TextClassifier(vectors.of(texts), labels)
    guesses = model.probabilities(vectors.of(row["text"] for row in test)).argmax(axis=1)
    return float(np.mean([model.classes[at] == row["category"] for at, row in zip(guesses, test, strict=True)]))


def two_classifiers(texts: Labels, labels: Labels, pool: Labels) -> tuple[Labels, Labels]:
    """The labels that two classifiers of the gold texts give the pool."""
    found = []
    for characters in (False, True):
        vectors = TextVectors(texts, characters=characters)
        model = TextClassifier(vectors.of(texts), labels)
        found.append([model.classes[at] for at in model.probabilities(vectors.of(pool)).argmax(axis=1)])
    return found[0], found[1]


def two_samples(true: Labels, near: dict[str, str], right: float, rng: random.Random) -> tuple[Labels, Labels]:
    """Two samples of a model: half of its errors are the same in both, as those of one model are."""
    one: Labels = []
    other: Labels = []
    for label in true:
        stubborn = rng.random() < (1 - right) / 2
        for sample in (one, other):
            wrong = stubborn or rng.random() < (1 - right) / (1 + right)
            sample.append(near[label] if wrong else label)
    return one, other


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=Path, required=True)
    parser.add_argument("--gold", type=int, default=400)
    parser.add_argument("--pool", type=int, default=2000)
    parser.add_argument("--test", type=int, default=1500)
    parser.add_argument("--accuracy", type=float, nargs="*", default=[0.7, 0.8, 0.9])
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    with options.texts.open(newline="") as file:
        rows = list(csv.DictReader(file))
    near = confusable([row["text"] for row in rows], [row["category"] for row in rows])
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for seed in range(1, options.seeds + 1):
        rng = random.Random(seed)
        drawn = rng.sample(rows, options.gold + options.pool + options.test)
        gold, rest = drawn[: options.gold], drawn[options.gold :]
        pool, test = rest[: options.pool], rest[options.pool :]
        texts, labels = [row["text"] for row in gold], [row["category"] for row in gold]
        unlabeled, true = [row["text"] for row in pool], [row["category"] for row in pool]
        alone = accuracy(texts, labels, test)
        teachers = {"two classifiers": two_classifiers(texts, labels, unlabeled)}
        for right in options.accuracy:
            teachers[f"large model, {right:.0%}"] = two_samples(true, near, right, rng)
        for name, (one, other) in teachers.items():
            kept = [at for at in range(len(unlabeled)) if one[at] == other[at]]
            silver = [*texts, *(unlabeled[at] for at in kept)]
            found[name, "kept"].append(len(kept) / len(unlabeled))
            found[name, "right"].append(statistics.mean(one[at] == true[at] for at in kept))
            found[name, "gold"].append(alone)
            found[name, "silver"].append(accuracy(silver, [*labels, *(one[at] for at in kept)], test))
            found[name, "unfiltered"].append(accuracy([*texts, *unlabeled], [*labels, *one], test))
            found[name, "true"].append(accuracy(silver, [*labels, *(true[at] for at in kept)], test))
            print(
                seed,
                name,
                {key: round(own[-1], 3) for (teacher, key), own in found.items() if teacher == name},
                flush=True,
            )
    for name in dict.fromkeys(teacher for teacher, _ in found):
        parts = [f"{key} {statistics.mean(found[name, key]):.1%}" for teacher, key in found if teacher == name]
        gains = [b - a for a, b in zip(found[name, "gold"], found[name, "silver"], strict=True)]
        print(
            f"{name}: {', '.join(parts)}; gain {statistics.mean(gains):+.1%} ({min(gains):+.1%} to {max(gains):+.1%})"
        )


if __name__ == "__main__":
    main()
