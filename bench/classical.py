"""Classical models on public data, through the product: import, freeze, training and evaluation on a hold-out.

``python -m bench.classical banking77 TRAIN.csv`` for 200, 800, 3,000 and 9,003 labels of BANKING77 and 1,000 held out;
``python -m bench.classical sroie RECEIPTS.jsonl`` for extraction rules on receipts, with 126 held out.

With ``ENCODER [LABELS ...]`` at the end the encoder in that folder is trained instead, with its preset.
"""

import csv
import json
import os
import random
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.harness import stack

SEED = 17
LABELS = (200, 800, 3000, 0)
HELD_OUT = {"banking77": 1000, "sroie": 126}


def messages(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The contract and the documents of BANKING77."""
    with path.open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    intent = {"type": "string", "enum": sorted({line["category"] for line in lines}), "x-slm": {"kind": "class"}}
    schema = {"type": "object", "additionalProperties": False, "required": ["intent"], "properties": {"intent": intent}}
    documents = [
        {"id": f"m{at:05d}", "text": line["text"], "gold": {"intent": line["category"]}}
        for at, line in enumerate(lines)
    ]
    return {"instruction": "Name the intent of the message.", "schema": schema}, documents


def sroie(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The contract of the template for receipts, and the documents of SROIE."""
    from labeling.demo import templates

    template = json.loads((Path(templates.__file__).parent / "catalog" / "receipt.json").read_text(encoding="utf-8"))
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    documents = [{"id": row["id"], "text": row["text"], "gold": row["gold"]} for row in rows]
    return {"instruction": template["instruction"], "schema": template["schema"]}, documents


def frozen(name: str, contract: dict[str, Any], documents: list[dict[str, Any]]) -> Any:
    """A dataset version with a hold-out drawn by the seed, and no validation split."""
    from django.contrib.auth import get_user_model

    from labeling.datasets.freeze import freeze
    from labeling.datasets.freeze_rules import Rules
    from labeling.datasets.near_duplicates import THRESHOLD
    from labeling.imports.bulk_copy import import_rows
    from labeling.imports.rows import ParsedRow
    from labeling.projects.services import create_project, save_contract
    from slmstudio.access import Role

    users = get_user_model().objects
    owner, engineer = users.create(username="owner"), users.create(username="engineer")
    project = create_project(owner=owner, name=name, slug=name, template="receipt", members={engineer: Role.ENGINEER})
    save_contract(
        project=project, user=owner, instruction=contract["instruction"],
        schema_text=json.dumps(contract["schema"]), constraints={"hardware_price_per_hour": 0.1},
    )  # fmt: skip
    random.Random(SEED).shuffle(documents)
    held_out = HELD_OUT[name]
    for part, as_holdout in ((documents[:held_out], True), (documents[held_out:], False)):
        rows = [ParsedRow(number, row) for number, row in enumerate(part, start=1)]
        result = import_rows(project=project, rows=rows, source="bench", as_holdout=as_holdout)
        print(f"{result.imported} imported, {result.duplicates} duplicates, {result.rejected} rejected", flush=True)
    # Published figures keep messages that resemble a held-out one; receipts of the same purchase are left out.
    rules = Rules(similarity=1.0 if name == "banking77" else THRESHOLD)
    return freeze(project=project, user=engineer, validation_share=0, rules=rules), engineer


def trained_encoder(dataset: Any, user: Any, base_model: Any, labels: int) -> Any:
    """A finished training run on some labels, with the hyperparameters that the run form proposes for so many."""
    from training.hyperparameters.dataset_defaults import default_hyperparameters, train_rows
    from training.runs.jobs import run_training
    from training.runs.services import start_training

    known = train_rows(dataset)
    inputs = {"dataset": dataset, "base_model": base_model}
    proposed = default_hyperparameters(**inputs, method="full", rows=labels or known)
    hyperparameters = replace(proposed, train_share=labels / known if labels else 1.0)
    run = start_training(project=dataset.project, user=user, hyperparameters=hyperparameters, **inputs)
    run_training(run.pk)
    run.refresh_from_db()
    run.facts = {**run.facts, "labels": labels or known}
    return run


def measured(dataset: Any, user: Any, model: Any, label: str) -> str:
    """Evaluates a model on the hold-out, which trains it where it is classical, and returns a line of the table."""
    from evaluation.models import ClassicalModel, EvalRun
    from evaluation.runs.jobs import run_evaluation
    from evaluation.runs.services import start_evaluation

    run = start_evaluation(
        project=dataset.project, user=user, dataset=dataset, model=model, split="holdout", confirm_holdout=True
    )
    run_evaluation(run.pk)
    run = EvalRun.objects.with_model().get(pk=run.pk)
    if isinstance(model, ClassicalModel):
        model.refresh_from_db()
    if run.error:
        return f"{label}: {run.error}"
    facts, exact = model.facts, run.scores["document_exact"]
    fields = {name: round(100 * value["rate"], 1) for name, value in run.scores["per_field"].items()}
    protocol = run.scores.get("sroie") or {}
    return (
        f"{label:36} {facts['labels']:6,} labels  exact {100 * exact['rate']:.1f}% ({100 * exact['low']:.1f} to "
        f"{100 * exact['high']:.1f})  training {facts['seconds']:.1f} s  p50 {run.latency['p50']:.1f} ms  p95 "
        f"{run.latency['p95']:.1f} ms  1,000 documents {1000 * run.facts['cost_per_document']:.5f}  valid "
        f"{run.scores['schema_valid']['k']} of {run.scores['schema_valid']['n']}  {fields}  {protocol}"
    )


def main() -> None:
    """Runs the benchmark in a temporary folder."""
    name, path, *encoder = sys.argv[1:]
    if encoder:
        os.environ["MODEL_FOLDERS"] = str(Path(encoder[0]).absolute().parent)
    with stack():
        contract, documents = messages(Path(path)) if name == "banking77" else sroie(Path(path))
        dataset, user = frozen(name, contract, documents)
        splits = ("train", "validation", "holdout")
        print({split: dataset.items.filter(split=split).count() for split in splits}, flush=True)
        if encoder:
            _measure_encoder(dataset, user, Path(encoder[0]), [int(labels) for labels in encoder[1:]] or [0])
        else:
            _measure_classical(dataset, user, LABELS if name == "banking77" else (0,))


def _measure_classical(dataset: Any, user: Any, numbers: Sequence[int]) -> None:
    from evaluation.classical.services import get_or_create, kinds

    for kind in kinds(dataset.schema_version):
        for labels in numbers:
            model = get_or_create(project=dataset.project, user=user, dataset=dataset, kind=kind, labels=labels)
            print(measured(dataset, user, model, kind.label), flush=True)


def _measure_encoder(dataset: Any, user: Any, folder: Path, numbers: Sequence[int]) -> None:
    from training.base_models.preparation import prepare
    from training.base_models.services import register_folder

    base_model = prepare(base_model=register_folder(slug="encoder", name=folder.name, folder=folder))
    for labels in numbers:
        model = trained_encoder(dataset, user, base_model, labels)
        print(measured(dataset, user, model, folder.name), flush=True)


if __name__ == "__main__":
    main()
