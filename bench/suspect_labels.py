"""Planted wrong labels: how many of the labels ranked first are wrong, and how many of the wrong ones are found.

    python -m bench.suspect_labels --texts BANKING77/train.csv [--documents 2500] [--seeds 5]

``--share`` of the labels of a text,category file are changed: to any class (uniform), or to the class whose texts are
most similar (confusable). Out-of-fold probabilities rank the labels; the controls are a random order, and the
probability of gold alone (self-confidence). The file's own errors count as correct labels,
so precision is a lower bound.
"""

import argparse
import csv
import random
import statistics
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from evaluation.label_issues.suspects import checks_of, rank
from slmstudio.text.classifier import TextVectors, out_of_fold

TOP = (0.01, 0.025, 0.05, 0.10)


def confusable(texts: Sequence[str], labels: Sequence[str]) -> dict[str, str]:
    """The most similar other class of each class, by the cosine of the mean TF-IDF vectors."""
    classes = sorted(set(labels))
    vectors = TextVectors(texts).of(texts)
    own = np.asarray(labels)
    centers = np.vstack([np.asarray(vectors[own == name].mean(axis=0)) for name in classes])
    centers /= np.linalg.norm(centers, axis=1, keepdims=True)
    alike = centers @ centers.T
    np.fill_diagonal(alike, -1)
    return {name: classes[int(alike[at].argmax())] for at, name in enumerate(classes)}


def plant(labels: list[str], share: float, near: dict[str, str] | None, rng: random.Random) -> set[int]:
    """Changes a share of the labels in place; returns which."""
    classes = sorted(set(labels))
    wrong = rng.sample(range(len(labels)), round(share * len(labels)))
    for at in wrong:
        others = [name for name in classes if name != labels[at]]
        labels[at] = near[labels[at]] if near else rng.choice(others)
    return set(wrong)


def orders(texts: list[str], labels: list[str], rng: random.Random, seed: int) -> tuple[dict[str, list[int]], set[int]]:
    """Three orders of the documents, and those that confident learning claims to be wrong."""
    probabilities, classes = out_of_fold(texts, labels, seed=seed)
    checks = checks_of(range(len(texts)), "category", labels, probabilities, classes)
    ranked = rank(checks)
    chance = list(range(len(texts)))
    rng.shuffle(chance)
    own = sorted(checks, key=lambda check: check.gold_probability)
    return {
        "ranked": [one.check.document for one in ranked],
        "self-confidence": [check.document for check in own],
        "random": chance,
    }, {one.check.document for one in ranked if one.confident}


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=Path, required=True)
    parser.add_argument("--documents", type=int, default=2500)
    parser.add_argument("--share", type=float, default=0.05)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    with options.texts.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for kind in ("uniform", "confusable"):
        found: dict[tuple[str, float], list[tuple[float, float]]] = defaultdict(list)
        claims: list[tuple[float, float, int]] = []
        for seed in range(1, options.seeds + 1):
            rng = random.Random(seed)
            drawn = rng.sample(rows, min(options.documents, len(rows)))
            texts, labels = [row["text"] for row in drawn], [row["category"] for row in drawn]
            wrong = plant(labels, options.share, confusable(texts, labels) if kind == "confusable" else None, rng)
            ranked, claimed = orders(texts, labels, rng, seed)
            for name, order in ranked.items():
                for top in TOP:
                    head = order[: round(top * len(texts))]
                    hits = len(wrong.intersection(head))
                    found[name, top].append((hits / max(1, len(head)), hits / len(wrong)))
            hits = len(wrong & claimed)
            claims.append((hits / max(1, len(claimed)), hits / len(wrong), len(claimed)))
        print(f"{kind}, {options.share:.1%} of {len(texts)} labels, {options.seeds} seeds: precision, recall (range)")
        for (name, top), pairs in found.items():
            print(f"  {name:16} top {top:5.1%}  {_spread([p for p, _ in pairs])}  {_spread([r for _, r in pairs])}")
        print(
            f"  confident: {statistics.mean(c for *_, c in claims):.0f} labels  "
            f"{_spread([p for p, *_ in claims])}  {_spread([r for _, r, _ in claims])}"
        )  # fmt: skip


def _spread(values: list[float]) -> str:
    return f"{statistics.mean(values):5.1%} ({min(values):.1%}-{max(values):.1%})"


if __name__ == "__main__":
    main()
