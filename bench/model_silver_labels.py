"""What silver labels add to a language model with few gold labels, with real models as teachers.

    python -m bench.model_silver_labels --base FOLDER --texts BANKING77/train.csv [--gold 400] [--pool 2000]

The student is a base model, fine-tuned with the preset. The teachers are that model after training on the gold labels,
and sentence embeddings with a logistic regression on the same gold; a silver label is kept where both name the same
class. Compared are gold alone, gold with silver, and gold with the true labels of the same messages.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

from bench import banking77
from bench.small_model import Task, gold_of
from evaluation.inference.classical_spec import ClassicalTrainSpec
from evaluation.ml.classical.model import ClassicalModel
from slmstudio.contract.json_text import JsonError, loads
from slmstudio.contract.schema.compiled import CompiledSchema
from training.hyperparameters.presets import preset
from training.ml.data.rows import Row
from training.spec import ContractRef, DatasetRef


def main() -> None:
    """Prints the accuracy of each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, required=True, help="folder of the base model")
    parser.add_argument("--texts", type=Path, required=True)
    parser.add_argument("--gold", type=int, default=400)
    parser.add_argument("--pool", type=int, default=2000)
    parser.add_argument("--test", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=17)
    options = parser.parse_args()
    schema, rows = banking77.read(options.texts, options.seed)
    test, rest = rows[: options.test], rows[options.test :]
    gold, pool = rest[: options.gold], rest[options.gold : options.gold + options.pool]
    with tempfile.TemporaryDirectory(prefix="slm-silver-") as folder:
        task = Task(Path(folder), options.base, banking77.INSTRUCTION, schema)
        teacher = student(task, "gold", gold, test)
        written = [parsed(one["raw"]) for one in task.answer(teacher, pool, name="pool", at_once=8)]
        other = embeddings(task.compiled, gold, pool + test)
        print(f"embeddings, {len(gold)} gold labels: {share_right(other[len(pool) :], test):.1%}")
        kept = [at for at in range(len(pool)) if written[at] == other[at]]
        chosen = [pool[at] for at in kept]
        right = share_right([written[at] for at in kept], chosen)
        print(f"kept {len(kept)} of {len(pool)}, of these right {right:.1%}", flush=True)
        student(task, "silver", gold + gold_of([written[at] for at in kept], chosen), test)
        student(task, "true", gold + chosen, test)


def student(task: Task, name: str, train: list[Row], test: list[Row]) -> Any:
    """The base model trained on rows, with its accuracy printed."""
    model = task.train(name, train, preset(len(train), "lora", "classification"), max_length=128)
    outputs = task.answer(model, test, name=f"{name}-test", at_once=8)
    found = sum(score.exact for score in task.scores(test, outputs)) / len(test)
    print(f"{name}, {len(train)} labels: {found:.1%}, training {model.minutes:.1f} min", flush=True)
    return model


def embeddings(compiled: CompiledSchema, gold: list[Row], rows: list[Row]) -> list[Any]:
    """What sentence embeddings with a logistic regression on ``gold`` name."""
    spec = ClassicalTrainSpec(
        kind="embeddings", contract=ContractRef(instruction="-", schema={}), dataset=DatasetRef(path=""), output_dir=""
    )
    model = ClassicalModel.train(spec, compiled, gold)
    return [loads(model.predict(row.text).text) for row in rows]


def parsed(raw: str) -> Any:
    """An output; None where it is not complete."""
    try:
        return loads(raw)
    except JsonError:
        return None


def share_right(values: list[Any], rows: list[Row]) -> float:
    """The share of labels that are gold."""
    return sum(value == row.gold for value, row in zip(values, rows, strict=True)) / max(1, len(rows))


if __name__ == "__main__":
    main()
