"""How well a learning curve predicts what more labels bring, against what really came.

    python -m bench.learning_curve --texts BANKING77/train.csv [--labels 800] [--seeds 5]

A curve is fitted to classifiers of 12, 25, 50 and 100% of the labels (three subsets each), measured on validation
texts. Its prediction for more labels is compared with classifiers that are trained on them, on the same texts. The
controls are "no change" and a straight line through the last two sizes.
"""

import argparse
import csv
import random
import statistics
from pathlib import Path

import numpy as np

from evaluation.learning_curves.fit import Measurement, fit
from slmstudio.text.classifier import TextClassifier, TextVectors

SHARES = (0.12, 0.25, 0.5, 1.0)
Rows = list[dict[str, str]]


def measured(train: Rows, validation: Rows) -> Measurement:
    """A classifier trained on some rows, measured on others."""
    vectors = TextVectors(row["text"] for row in train)
    model = TextClassifier(vectors.of(row["text"] for row in train), [row["category"] for row in train])
    guesses = model.probabilities(vectors.of(row["text"] for row in validation)).argmax(axis=1)
    right = sum(model.classes[at] == row["category"] for at, row in zip(guesses, validation, strict=True))
    return Measurement(len(train), right, len(validation))


def main() -> None:
    """Prints predictions and results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=Path, required=True)
    parser.add_argument("--labels", type=int, default=800)
    parser.add_argument("--validation", type=int, default=400)
    parser.add_argument("--subsets", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    with options.texts.open(newline="") as file:
        rows = list(csv.DictReader(file))
    errors: dict[tuple[str, float], list[float]] = {}
    inside: dict[float, list[bool]] = {}
    for seed in range(1, options.seeds + 1):
        rng = random.Random(seed)
        drawn = rng.sample(rows, options.validation + 2 * options.labels)
        validation, pool = drawn[: options.validation], drawn[options.validation :]
        own = pool[: options.labels]
        found = []
        for share in SHARES:
            for _ in range(options.subsets if share < 1 else 1):
                found.append(measured(rng.sample(own, round(share * len(own))), validation))
        curve = fit(found)
        assert curve is not None
        sizes = sorted({one.labels for one in found})
        mean = {size: statistics.mean(1 - one.error for one in found if one.labels == size) for size in sizes[-2:]}
        slope = (mean[sizes[-1]] - mean[sizes[-2]]) / (sizes[-1] - sizes[-2])
        for factor in (1.125, 1.25, 1.5, 2.0):
            count = round(factor * options.labels)
            came = measured(pool[:count], validation)
            real, predicted = 1 - came.error, curve.law.accuracy(count)
            low, high = curve.band(count)
            # The new classifier is measured on the same texts, so only the curve's own uncertainty counts.
            inside.setdefault(factor, []).append(low <= real <= high)
            straight = mean[sizes[-1]] + slope * (count - sizes[-1])
            for name, guess in (("curve", predicted), ("no change", mean[sizes[-1]]), ("straight", straight)):
                errors.setdefault((name, factor), []).append(guess - real)
            print(
                f"{seed} {count} labels: predicted {predicted:.3f} ({low:.3f}-{high:.3f}), came {real:.3f}", flush=True
            )
    for (name, factor), own_errors in errors.items():
        print(
            f"x{factor}: {name:10} bias {np.mean(own_errors):+.3f}, mean absolute error "
            f"{np.mean(np.abs(own_errors)):.3f}"
        )
    for factor, hits in inside.items():
        print(f"x{factor}: in the 90% band {sum(hits)} of {len(hits)}")


if __name__ == "__main__":
    main()
