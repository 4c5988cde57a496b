"""How well the learning curve of a language model predicts what more labels bring, against what really came.

    python -m bench.model_learning_curve --base FOLDER --texts BANKING77/train.csv [--labels 800]

A base model is fine-tuned with the preset on 12, 25, 50 and 100% of the labels, each a part of the next, and measured
on validation messages. The curve fitted to them, as the page of a learning curve does, is compared with models that are
trained on more labels.
"""

import argparse
import tempfile
from pathlib import Path

from bench import banking77
from bench.small_model import Task
from evaluation.learning_curves.fit import Measurement, fit
from training.hyperparameters.presets import preset
from training.ml.data.rows import Row

#: those of ``evaluation.learning_curves.services``
SHARES = (0.12, 0.25, 0.5, 1.0)


def main() -> None:
    """Prints each measurement, then predictions and results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, required=True, help="folder of the base model")
    parser.add_argument("--texts", type=Path, required=True)
    parser.add_argument("--labels", type=int, default=800)
    parser.add_argument("--more", type=float, nargs="*", default=[2.0], help="multiples of the labels to predict")
    parser.add_argument("--validation", type=int, default=400)
    parser.add_argument("--seed", type=int, default=17)
    options = parser.parse_args()
    schema, rows = banking77.read(options.texts, options.seed)
    validation, pool = rows[: options.validation], rows[options.validation :]
    with tempfile.TemporaryDirectory(prefix="slm-curve-") as folder:
        task = Task(Path(folder), options.base, banking77.INSTRUCTION, schema)
        found = [measured(task, pool[: round(share * options.labels)], validation) for share in SHARES]
        curve = fit(found)
        assert curve is not None
        for factor in options.more:
            count = round(factor * options.labels)
            came = measured(task, pool[:count], validation)
            low, high = curve.band(count)
            print(
                f"{count} labels: predicted {curve.law.accuracy(count):.1%} ({low:.1%} to {high:.1%}), came "
                f"{1 - came.error:.1%}; no change {1 - found[-1].error:.1%}",
                flush=True,
            )


def measured(task: Task, train: list[Row], validation: list[Row]) -> Measurement:
    """A model trained on some messages, measured on others."""
    name = f"labels-{len(train)}"
    model = task.train(name, train, preset(len(train), "lora", "classification"), max_length=128)
    outputs = task.answer(model, validation, name=name, at_once=8)
    right = sum(score.exact for score in task.scores(validation, outputs))
    print(f"{len(train)} labels: {right / len(validation):.1%}, training {model.minutes:.1f} min", flush=True)
    return Measurement(len(train), right, len(validation))


if __name__ == "__main__":
    main()
