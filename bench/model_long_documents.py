"""A fine-tuned model on long documents: ``python -m bench.model_long_documents --base FOLDER``.

Trains a base model on statements of one and two pages with 30 transactions each, in windows where they are longer than
the sequence length, and reads statements of ten pages with 300 transactions. The merged output is scored as one
document.
"""

import argparse
import tempfile
from pathlib import Path

from bench.small_model import Task
from slmstudio.contract.scoring.scorer import DocumentScore, summarize
from tests.contract.windows.statements import SCHEMA, statement
from training.hyperparameters.presets import preset
from training.ml.data.rows import Row

INSTRUCTION = "Extract the account, the balances and every transaction of the statement."


def rows(first: int, count: int, pages: tuple[int, ...], lines: int) -> list[Row]:
    """Statements with these numbers of pages, in turns."""
    made = [statement(first + at, pages=pages[at % len(pages)], lines=lines) for at in range(count)]
    return [Row(f"s{first + at}", "train", one.text, one.gold) for at, one in enumerate(made)]


def main() -> None:
    """Prints the scores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, required=True, help="folder of the base model")
    parser.add_argument("--train", type=int, default=24)
    parser.add_argument("--test", type=int, default=3)
    parser.add_argument("--pages", type=int, default=10, help="of a test document")
    parser.add_argument("--lines", type=int, default=30, help="transactions of a page")
    parser.add_argument("--epochs", type=float, default=4)
    parser.add_argument("--length", type=int, default=1024, help="sequence length in tokens")
    parser.add_argument("--keep", type=Path, help="folder for models and outputs (default: temporary)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="slm-long-") as temporary:
        task = Task(options.keep or Path(temporary), options.base, INSTRUCTION, SCHEMA)
        train = rows(0, options.train, (1, 2), options.lines)
        chosen = preset(len(train), "full", "extraction")
        model = task.train("long", train, chosen, max_length=options.length, epochs=options.epochs, augmentation="none")
        print(f"{len(train)} statements, windows {model.windows}, training {model.minutes:.1f} min", flush=True)
        test = rows(10_000, options.test, (options.pages,), options.lines)
        outputs = task.answer(model, test, name="long-test")
        for row, output, score in zip(test, outputs, task.scores(test, outputs), strict=True):
            print(
                f"{row.id}: {output['finish_reason']}, {output.get('windows', 1)} windows, "
                f"{output['latency_ms'] / 1000:.0f} s, {output['output_tokens']} tokens, {describe([score])}",
                flush=True,
            )
        print(f"all: {describe(task.scores(test, outputs))}")


def describe(scores: list[DocumentScore]) -> str:
    """Field accuracy, and each field's."""
    found = summarize(scores)
    fields = {name: f"{100 * one['rate']:.1f}" for name, one in found["per_field"].items()}
    return f"field accuracy {100 * found['field_exact']['rate']:.1f}%, exact {found['document_exact']['k']}, {fields}"


if __name__ == "__main__":
    main()
