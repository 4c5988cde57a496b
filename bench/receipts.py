"""Receipts of SROIE from rows to figures, with the defaults of ``manage.py run_loop``, and where the errors are.

    .venv/bin/python -m bench.receipts --data receipts.jsonl --seeds 1 2 3 [--holdout 125] [-- --epochs 4 ...]

Each seed draws another hold-out and trains anew; what follows ``--`` goes to ``run_loop``. The rows keep their pages
where the file has them. A line per seed: F1 by SROIE's protocol, the share of correct values per field, schema-valid
outputs, latency, minutes of training; the shares of correct values on receipts of companies that training lacks. Then
the errors of each field: another stretch of the text; the same letters and digits with other punctuation, spaces or
letter case; not in the text at all.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from slmstudio.storage.installation import ROOT

FIELDS = ("company", "date", "address", "total")
HOLDOUT = 125


def main() -> None:
    """Runs every seed and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help='JSONL rows {"id", "text", "gold"}')
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--holdout", type=int, default=HOLDOUT, help="receipts that are held out")
    parser.add_argument("--keep", type=Path, help="folder for studio, rows and outputs (default: temporary)")
    options, passed = parser.parse_known_args()
    rows = [line for line in options.data.read_text(encoding="utf-8").splitlines() if line.strip()]
    with tempfile.TemporaryDirectory(prefix="slm-receipts-") as temporary:
        folder = options.keep or Path(temporary)
        for seed in options.seeds:
            draw = folder / f"seed-{seed}"
            report = run(draw, rows, seed, options.holdout, [argument for argument in passed if argument != "--"])
            show(seed, report, draw)


def run(folder: Path, rows: list[str], seed: int, holdout: int, options: list[str]) -> dict[str, Any]:
    """The report of a pipeline on one draw."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = random.Random(seed).sample(rows, len(rows))
    for name, part in (("holdout", drawn[:holdout]), ("train", drawn[holdout:])):
        (folder / f"{name}.jsonl").write_text("\n".join(part) + "\n", encoding="utf-8")
    command = [sys.executable, "manage.py", "run_loop", "--template", "receipt", "--no-free"]
    command += ["--train", str(folder / "train.jsonl"), "--holdout", str(folder / "holdout.jsonl")]
    command += ["--report", str(folder / "report.json"), "--outputs", str(folder / "outputs"), *options]
    environment = {key: value for key, value in os.environ.items() if key not in ("DATABASE_URL", "REDIS_URL")}
    with (folder / "log.txt").open("wb") as log:
        subprocess.run(
            command, cwd=ROOT, env={**environment, "SLM_HOME": str(folder.parent / "studio")}, stdout=log, check=True
        )
    report: dict[str, Any] = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return report


def show(seed: int, report: dict[str, Any], folder: Path) -> None:
    """Prints the figures of a run and its errors by kind."""
    tuned = report["tuned"]
    fields = "  ".join(f"{name} {100 * tuned['per_field'][name]:.1f}" for name in FIELDS)
    latency = tuned["latency_ms"]
    print(
        f"seed {seed}: F1 {100 * tuned['sroie']['f1']:.1f}  {fields}  valid {100 * tuned['schema_valid_rate']:.1f}%  "
        f"p50 {latency['p50'] / 1000:.2f} s  p95 {latency['p95'] / 1000:.2f} s  "
        f"training {report['training']['seconds'] / 60:.0f} min",
        flush=True,
    )
    texts = {str(row["id"]): row["text"] for row in _rows(folder / "holdout.jsonl")}
    known = {_letters(row["gold"]["company"] or "") for row in _rows(folder / "train.jsonl")}
    outputs = _rows(folder / "outputs/tuned.jsonl")
    other = [row for row in outputs if _letters(row["gold"]["company"] or "") not in known]
    print(
        f"  {len(other)} of companies that training lacks: "
        + "  ".join(f"{name} {_right(other, name)}" for name in FIELDS)
    )
    for name in FIELDS:
        kinds: Counter[str] = Counter()
        for row in outputs:
            gold, value = row["gold"].get(name), (row["output"] or {}).get(name)
            if gold != value:
                kinds[error_kind(gold, value, texts[row["id"]])] += 1
        if kinds:
            print(f"  {name}: " + ", ".join(f"{count} {kind}" for kind, count in kinds.most_common()), flush=True)


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _right(outputs: list[dict[str, Any]], name: str) -> str:
    """The share of correct values of a field, in percent."""
    right = sum(row["gold"].get(name) == (row["output"] or {}).get(name) for row in outputs)
    return f"{100 * right / len(outputs):.1f}" if outputs else "–"


def error_kind(gold: str | None, value: str | None, text: str) -> str:
    """The kind of a wrong value of a text."""
    if not value or not gold:
        return "missing" if gold else "not in the gold"
    if _letters(gold) == _letters(value):
        return "other punctuation, spaces or case"
    return "another stretch of the text" if _letters(value) in _letters(text) else "not in the text"


def _letters(text: str) -> str:
    return "".join(letter for letter in text.casefold() if letter.isalnum())


if __name__ == "__main__":
    main()
