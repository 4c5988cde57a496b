"""Windows and merging on statements of ten pages with 300 transactions: ``python -m bench.long_documents``.

The model is simulated: in each window it reads what is there, and with a given probability it misses a row or reads an
amount wrong. The merged output is scored as one document; next to it the outputs of all windows one after another, and
what is left if a document is cut at the first window. No real model runs, so this measures windows and merging alone.
"""

import argparse
import random
from collections.abc import Callable
from typing import Any

from bench.harness import table
from slmstudio.contract.json_text import dumps
from slmstudio.contract.schema.compiled import compile_schema
from slmstudio.contract.scoring.scorer import DocumentScore, score_document, summarize
from slmstudio.contract.windows.merge import merge_outputs
from slmstudio.contract.windows.windows import Window, split_windows
from tests.contract.windows.statements import SCHEMA, Statement, statement

COMPILED = compile_schema(SCHEMA)


def words(text: str) -> int:
    """The tokens of this benchmark."""
    return len(text.split())


def reader(made: Statement, rate: float, draw: random.Random) -> Callable[[Window], dict[str, Any]]:
    """A model with an error in a share of the rows, half of them missing and half with a wrong amount."""

    def read(window: Window) -> dict[str, Any]:
        output = made.read(window)
        rows = []
        for row in output["transactions"]:
            chance = draw.random()
            if chance >= rate / 2:
                rows.append({**row, "amount": row["amount"] + 1} if chance < rate else row)
        return {**output, "transactions": rows}

    return read


def scores(made: Statement, windows: list[Window], read: Callable[[Window], dict[str, Any]]) -> list[DocumentScore]:
    """The scores of one document: merged, joined without merging, cut at the first window."""
    values = [read(window) for window in windows]
    merged = merge_outputs(COMPILED, made.text, windows, [dumps(value) for value in values]).raw
    joined: dict[str, Any] = {}
    for value in values:
        joined |= {name: entry for name, entry in value.items() if entry is not None}
    joined["transactions"] = [row for value in values for row in value["transactions"]]
    raws = [merged, dumps(joined), dumps(values[0])]
    return [score_document(COMPILED, text=made.text, gold=made.gold, raw=raw) for raw in raws]


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=10)
    options = parser.parse_args()
    rows = []
    for limit in (150, 400, 1000):
        for rate in (0.0, 0.01, 0.05):
            documents: list[list[DocumentScore]] = []
            count = 0
            for seed in range(options.documents):
                made = statement(seed)
                windows = split_windows(made.text, limit=limit, count=words)
                count += len(windows)
                documents.append(scores(made, windows, reader(made, rate, random.Random(seed))))
            merged, joined, cut = ([document[place] for document in documents] for place in range(3))
            rows.append(
                [
                    f"{limit} words", f"{count / options.documents:.1f}", f"{100 * rate:g}%",
                    f"{sum(score.exact for score in merged)} of {len(merged)}",
                    *(f"{100 * summarize(scored)['field_exact']['rate']:.1f}" for scored in (merged, joined, cut)),
                ]
            )  # fmt: skip
    print(table("Field accuracy in %", ["window", "windows", "row errors", "exact", "merged", "joined", "cut"], rows))


if __name__ == "__main__":
    main()
