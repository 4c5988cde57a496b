"""Calibration of a real model before and after: ``python -m bench.confidence [--steps N] [--documents N]``.

SmolLM2-135M is fine-tuned with a few steps on messages of banking77 (the twenty queues of ``examples/routing``), packed
with labeled documents for its calibration, and measured on other messages, which neither the training nor the
calibration has seen. Prints Markdown: expected calibration error and AUGRC of the token probabilities and of the
calibrated confidence, and what limits for an error budget achieve there.
"""

import argparse
import asyncio
import json
import random
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.harness import ROOT, child_events, prepared, write_dataset
from evaluation.inference.spec import DocumentsRef, EvalSpec
from examples.rows import HERE, routing
from serving.confidence.automation import Scored, augrc, calibration_error
from serving.confidence.budget import Budget, LimitPoint, choose
from serving.confidence.calibration import Calibration
from serving.confidence.signals import field_signals
from serving.ml.loading import load_package
from serving.packages.spec import PackSpec
from slmstudio.contract.json_text import loads
from slmstudio.contract.schema.compiled import compile_schema
from slmstudio.runs.child_environment import cpu_settings
from training.spec import ContractRef, DatasetRef, ModelRef, RunSpec

MODEL = "smollm2-135m-instruct"
BUDGETS = (Budget(1, 5, "document"), Budget(1, 10, "document"), Budget(1, 20, "document"))


def main() -> None:
    """Trains, packs, measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=Path, default=ROOT.parent / "shared/data/banking77/train.csv")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--documents", type=int, default=300, help="for the calibration, and as many to measure")
    parser.add_argument("--home", type=Path, help="keeps the prepared model and the package (default: thrown away)")
    parser.add_argument("--seed", type=int, default=14)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        _run(options, options.home or Path(temporary))


def _run(options: argparse.Namespace, home: Path) -> None:
    rows = routing(options.messages)
    random.Random(options.seed).shuffle(rows)
    measured, calibration = rows[: options.documents], rows[options.documents : 2 * options.documents]
    package = home / "package"
    if not package.is_dir():
        _build(options, home, package, calibration, rows[2 * options.documents :])
    evidence = json.loads((package / "evidence/calibration.json").read_text(encoding="utf-8"))
    began = time.monotonic()
    raw, calibrated, invalid = asyncio.run(_measure(package, Calibration.of(evidence["calibration"]), measured))
    right = sum(scored.is_correct for scored in raw)
    print(f"{len(raw)} valid of {len(measured)} outputs ({invalid} invalid), {right / len(raw):.1%} right,", end=" ")
    print(f"{(time.monotonic() - began) / len(measured):.2f} s each; {options.steps} steps, seed {options.seed}\n")
    print("| | Token probability | Calibrated |\n|---|---:|---:|")
    print(f"| Mean confidence | {_mean(raw):.1%} | {_mean(calibrated):.1%} |")
    print(f"| Expected calibration error | {calibration_error(raw):.1%} | {calibration_error(calibrated):.1%} |")
    print(f"| AUGRC | {augrc(raw):.4f} | {augrc(calibrated):.4f} |\n")
    print("| Budget | Limit | Automatic | Wrong of them |\n|---|---:|---:|---:|")
    limits = [LimitPoint(**row) for row in evidence["summary"]["limits"]["document"]]
    for budget in BUDGETS:
        for basis in ("proven", "expected"):
            limit = choose(limits, replace(budget, basis=basis))
            print(f"| {budget.wrong} in {budget.of}, {basis} | {_achieved(limit, calibrated, len(measured))} |")


def _mean(values: list[Scored]) -> float:
    return sum(scored.confidence for scored in values) / len(values)


def _achieved(limit: LimitPoint | None, values: list[Scored], documents: int) -> str:
    if limit is None:
        return "none | 0 | –"
    kept = [scored for scored in values if scored.confidence >= limit.limit]
    wrong = sum(not scored.is_correct for scored in kept)
    shown = f"{wrong} of {len(kept)} ({wrong / len(kept):.1%})" if kept else "–"
    return f"{limit.limit:.3f} | {len(kept) / documents:.0%} | {shown}"


def _build(
    options: argparse.Namespace,
    home: Path,
    package: Path,
    calibration: list[dict[str, Any]],
    train: list[dict[str, Any]],
) -> None:
    contract = json.loads((HERE / "routing/contract.json").read_text(encoding="utf-8"))
    promise = ContractRef(instruction=contract["instruction"], schema=contract["schema"])
    dataset = home / "dataset.jsonl"
    home.mkdir(parents=True, exist_ok=True)
    write_dataset(dataset, {"validation": calibration[:8], "train": train})
    spec = RunSpec(
        base_model=ModelRef(path=str(prepared(MODEL, home))), dataset=DatasetRef(path=str(dataset)), contract=promise,
        output_dir=str(home / "run"), max_steps=options.steps, epochs=1, sample_documents=0, max_length=512,
        eval_every=options.steps, too_long="leave_out",
    )  # fmt: skip
    _child("training.ml.train", home / "train.yaml", spec.to_yaml())
    model = ModelRef(path=str(home / "run/merged"))
    labeled, parity = home / "calibration.jsonl", home / "parity.jsonl"
    labeled.write_text("".join(json.dumps({"text": row["text"], "gold": row["gold"]}) + "\n" for row in calibration))
    first = calibration[0]
    parity.write_text(json.dumps({**first, "raw": json.dumps(first["gold"])}) + "\n", encoding="utf-8")
    evaluation = EvalSpec(
        model=model, contract=promise, documents=DocumentsRef(path=str(dataset), split="validation"), outputs="unused"
    )
    pack = PackSpec(
        evaluation=evaluation, engine="transformers", model=model, output_dir=str(package), parity=str(parity),
        calibration=str(labeled),
    )  # fmt: skip
    _child("serving.ml.pack", home / "pack.yaml", pack.to_yaml())


def _child(module: str, file: Path, spec: str) -> None:
    file.write_text(spec, encoding="utf-8")
    for _ in child_events(module, str(file), cpu_settings()):
        pass


async def _measure(
    folder: Path, calibration: Calibration, rows: list[dict[str, Any]]
) -> tuple[list[Scored], list[Scored], int]:
    """The token probabilities and calibrated confidences on documents that the calibration has not seen."""
    package = load_package(folder)
    schema = compile_schema(package.schema.schema)
    await package.engine.start()
    raw, calibrated, invalid = [], [], 0
    try:
        for row in rows:
            answer = await package.engine.answer(row["text"])
            if answer.finish_reason != "stop" or schema.check(answer.raw)[1]:
                invalid += 1
                continue
            output = loads(answer.raw)
            [field] = field_signals(schema, output, row["text"], answer.confidence)
            right = output == row["gold"]
            raw.append(Scored(field.signals.minimum, right))
            calibrated.append(Scored(calibration.probability(field.pattern, field.signals), right))
    finally:
        await package.engine.close()
    return raw, calibrated, invalid


if __name__ == "__main__":
    main()
