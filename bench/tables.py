"""Invoices with line items: an encoder, a decoder and their hybrid model on the same hold-out, field by field.

    .venv/bin/python -m bench.tables [--encoder all-minilm-l6-v2] [--decoder smollm2-135m-instruct] [--keep FOLDER]

Invoices are generated for the template *Invoice with line items*: six orders of columns, one to five rows, descriptions
over two lines, rows without a quantity, other dates and numbers. Without ``--keep`` the studio is temporary.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from bench.harness import table
from labeling.demo.sample_words import ENGLISH
from slmstudio.stack.environment import servers
from slmstudio.storage.installation import ROOT

TEMPLATE = "invoice-with-lines"
GOODS = (
    *("Hydraulic pump", "Copper pipe 22 mm", "Office chair, grey", "Site survey", "Cable drum 50 m", "Safety gloves"),
    *("Printer paper A4", "Monthly support", "LED panel 60x60", "Freight", "Ball valve DN 20", "Wall paint white"),
)
MAKES = ("North", "Alder", "Kestrel", "Orion", "Tamar", "Vesta", "Quill", "Birch", "Sable", "Marlow")
TRADES = ("Supplies", "Tools", "Logistics", "Services", "Trading", "Components")
FORMS = ("Ltd", "Inc.", "GmbH", "LLC", "plc")
CURRENCIES = {"EUR": "EUR", "USD": "$", "GBP": "£", "CHF": "CHF"}
COLUMNS = (
    ("description", "quantity", "unit_price", "amount"),
    ("quantity", "description", "unit_price", "amount"),
    ("number", "description", "quantity", "unit_price", "amount"),
    ("description", "unit_price", "quantity", "amount"),
    ("number", "quantity", "description", "amount"),
    ("description", "amount"),
)
HEADS = {"description": "Description", "quantity": "Qty", "unit_price": "Price", "amount": "Amount", "number": "Pos"}
TERMS = ("Net 30", "Net 14 days", "30 days net", "Due on receipt", "2% 10 days, net 30")


def main() -> None:
    """Trains both models, combines them, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", default="all-minilm-l6-v2")
    parser.add_argument("--decoder", default="smollm2-135m-instruct")
    parser.add_argument("--train", type=int, default=300, help="documents of training and validation")
    parser.add_argument("--holdout", type=int, default=60)
    parser.add_argument("--keep", type=Path, help="folder for studio and rows")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="slm-tables-") as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        rows = [json.dumps(row) for row in generate(options.train + options.holdout)]
        for name, part in (("holdout", rows[: options.holdout]), ("train", rows[options.holdout :])):
            (folder / f"{name}.jsonl").write_text("\n".join(part) + "\n", encoding="utf-8")
        os.environ["SLM_HOME"] = str(folder / "studio")
        command = [sys.executable, "manage.py", "run_loop", "--template", TEMPLATE, "--validation-share", "0.15"]
        command += ["--train", str(folder / "train.jsonl"), "--holdout", str(folder / "holdout.jsonl")]
        subprocess.run([*command, "--base-model", options.encoder], cwd=ROOT, check=True)
        show(options.decoder)


def generate(number: int, seed: int = 1) -> Iterator[dict[str, Any]]:
    """Documents with gold, the same for every longer run with the seed."""
    for position in range(number):
        draw = random.Random(f"table {seed} {position}")
        text, gold = invoice(draw)
        yield {"id": f"table-{seed}-{position + 1:04}", "text": text, "gold": gold}


def invoice(draw: random.Random) -> tuple[str, dict[str, Any]]:
    """The text and the gold of one invoice."""
    columns = draw.choice(COLUMNS)
    code = draw.choice(list(CURRENCIES))
    vendor = (
        f"{draw.choice(MAKES)}{draw.choice(('', ' & Sons', ' Brothers'))} {draw.choice(TRADES)} {draw.choice(FORMS)}"
    )
    day = date(2025, 1, 1) + timedelta(days=draw.randrange(700))
    due = day + timedelta(days=draw.choice((10, 14, 30)))
    written = draw.choice(("%Y-%m-%d", "%d %b %Y", "%B %d, %Y"))
    gold: dict[str, Any] = {
        "invoice_id": f"{draw.choice(('INV-', 'R', '', '2025/'))}{draw.randrange(1000, 99999)}",
        "date": str(day),
        "vendor": vendor,
        "currency": code,
        "payment_terms": draw.choice((None, *TERMS)),
        "line_items": [item(draw, columns) for _ in range(draw.randint(1, 5))],
    }
    subtotal = sum(round(row["amount"] * 100) for row in gold["line_items"])
    tax = round(subtotal * draw.choice((0.05, 0.1, 0.2)))
    gold |= {"subtotal": subtotal / 100, "tax": tax / 100, "total_amount": (subtotal + tax) / 100}
    words = {name: draw.choice(ENGLISH[name]) for name in ("number", "date", "order", "delivered", "due", "total")}
    head = [vendor, f"{words['number']} {gold['invoice_id']}", f"{words['date']} {day.strftime(written)}"]
    if draw.random() < 0.5:
        gold["due_date"] = str(due)
        head.append(f"{words['due']} {due.strftime(written)}")
    if draw.random() < 0.5:
        head.append(f"{words['delivered']} {(day - timedelta(days=3)).strftime(written)}")
    if draw.random() < 0.5:
        head.append(f"{words['order']} {draw.randrange(10**5, 10**6)}")
    if gold["payment_terms"]:
        head.append(f"Terms: {gold['payment_terms']}")
    draw.shuffle(head)
    lines = ["  ".join(HEADS[name] for name in columns)]
    lines += [printed(draw, number, row, columns) for number, row in enumerate(gold["line_items"], 1)]
    sums = [("Subtotal", subtotal), ("Tax", tax), (words["total"], subtotal + tax)]
    lines += [f"{name}  {CURRENCIES[code]} {amount / 100:,.2f}" for name, amount in sums]
    return "\n".join([draw.choice(ENGLISH["title"]), *head, "", *lines]), gold


def item(draw: random.Random, columns: tuple[str, ...]) -> dict[str, Any]:
    """A row: with the fields that these columns print."""
    quantity, price = draw.randint(1, 40), draw.randrange(150, 90000)
    row: dict[str, Any] = {"description": draw.choice(GOODS), "quantity": quantity, "unit_price": price / 100}
    if draw.random() < 0.3:
        row["description"] += f", type {draw.choice('ABCDEF')}{draw.randrange(10, 99)}"
    return {name: value for name, value in row.items() if name in columns} | {"amount": quantity * price / 100}


def printed(draw: random.Random, number: int, row: dict[str, Any], columns: tuple[str, ...]) -> str:
    """The lines of a row."""
    description, _, rest = row["description"].partition(", type ")
    cells = {"number": str(number), "amount": f"{row['amount']:,.2f}", "description": row["description"]}
    if rest and draw.random() < 0.5:
        cells["description"] = f"{description},"
    if "quantity" in row:
        cells["quantity"] = str(row["quantity"])
    if "unit_price" in row:
        cells["unit_price"] = f"{row['unit_price']:,.2f}"
    line = "  ".join(cells[name] for name in columns)
    return line if cells["description"] == row["description"] else f"{line}\n   type {rest}"


def show(decoder: str) -> None:
    """Trains the decoder on the encoder's dataset, combines them, and prints what each has right."""
    with servers():
        import django

        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "slmstudio.settings")
        django.setup()
        made = runs(decoder)
        names = list(made["encoder"].scores["per_field"])
        lines = [(name, *(_share(run.scores["per_field"][name]) for run in made.values())) for name in names]
        lines.append(("all fields", *(_share(run.scores["field_exact"]) for run in made.values())))
        lines.append(("documents", *(_share(run.scores["document_exact"]) for run in made.values())))
        lines.append(("p50, ms", *(f"{run.latency['p50']:,.0f}" for run in made.values())))
        print(table("the same hold-out", ("field", *made), lines))


def _share(score: dict[str, Any]) -> str:
    return f"{100 * score['k'] / score['n']:.1f}% of {score['n']}" if score["n"] else "–"


def runs(decoder: str) -> dict[str, Any]:
    """The evaluations on the hold-out of the encoder that is there, of a decoder and of their hybrid model."""
    from evaluation.hybrids.services import start_hybrid
    from evaluation.models import EvalRun
    from evaluation.runs.services import start_evaluation
    from slmstudio.runs.models import Status
    from slmstudio.workers.live_workers import ensure_workers
    from training.base_models.services import find_base_model
    from training.hyperparameters.dataset_defaults import default_hyperparameters
    from training.runs.services import measure_lengths, start_training

    first = EvalRun.objects.on_holdout().order_by("pk")[0]
    on_validation = EvalRun.objects.get(model_version=first.model_version, split="validation")
    project, dataset, user = first.project, first.dataset, first.created_by
    assert user is not None
    base = find_base_model(decoder)
    at: dict[str, Any] = {"project": project, "user": user, "dataset": dataset}

    with ensure_workers(["default", "gpu"], say=print):

        def ended(run: Any) -> Any:
            while run.is_live:
                time.sleep(1)
                run.refresh_from_db()
            assert run.status == Status.DONE, run.error
            return run

        def evaluate(model: Any, split: str) -> Any:
            return ended(start_evaluation(**at, model=model, split=split, confirm_holdout=True))

        ended(measure_lengths(dataset=dataset, base_model=base, user=user))
        base.refresh_from_db()
        settings = default_hyperparameters(dataset=dataset, base_model=base, method="full")
        trained = ended(start_training(**at, base_model=base, hyperparameters=settings, name="decoder"))
        validated, held_out = (evaluate(trained, split) for split in ("validation", "holdout"))
        hybrid = ended(start_hybrid(encoder=on_validation, decoder=validated, user=user))
        return {"encoder": first, "decoder": held_out, "hybrid": evaluate(hybrid, "holdout")}


if __name__ == "__main__":
    main()
