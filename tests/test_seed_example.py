"""The example of the documentation, through the whole application."""

import json

import pytest
from django.contrib.auth import get_user_model
from django.test import Client

from labeling.jobs import run_import
from labeling.models import Document, ImportRun, Project

INSTRUCTION = "Extract invoice fields into the JSON schema."
INPUT = (
    "...Thank you for your business. Invoice A-1029 issued on Jan 14, 2026. Payment terms: Net 30. "
    "Line items omitted for brevity. Total amount due USD 1,248.50. Vendor: Acme Supplies..."
)
OUTPUT = '{"invoice_id":"A-1029","date":"2026-01-14","vendor":"Acme Supplies","total_amount":1248.50}'
AS_PRINTED = {
    "invoice_id": "A-1029",
    "date": "Jan 14, 2026",
    "vendor": "Acme Supplies",
    "total_amount": "1,248.50",
}


@pytest.mark.django_db(transaction=True)
def test_seed_example_from_text_to_training_row(queues: None) -> None:
    client = Client()
    client.force_login(get_user_model().objects.create_superuser("owner"))

    client.post("/", {"name": "Seed", "template": "invoice"})
    project = Project.objects.get()
    assert project.contract.instruction == INSTRUCTION

    client.post("/p/seed/documents/import/", {"rows": json.dumps({"id": "seed", "text": INPUT})})
    run_import(ImportRun.objects.get().pk)
    assert Document.objects.get().text == INPUT

    opened = client.get("/p/seed/label/", follow=True)
    assert INPUT in opened.content.decode()
    pk = Document.objects.get().pk
    state = client.get(f"/p/seed/label/{pk}/state/").json()
    body = {
        "entry": AS_PRINTED,
        "evidence": {},
        "base_version": state["version"],
        "schema": state["schema"],
        "seconds": 20,
        "submit": True,
    }
    saved = client.post(f"/p/seed/label/{pk}/save/", json.dumps(body), content_type="application/json")
    assert saved.status_code == 200, saved.content
    places = {path: INPUT[span[0][0] : span[0][1]] for path, span in saved.json()["spans"].items() if span}
    # Each value is linked to where it stands in the text, the currency with its amount.
    assert places == {**AS_PRINTED, "total_amount": "USD 1,248.50"}

    client.post("/p/seed/datasets/", {"seed": 17, "validation": 0, "holdout": 0})
    rows = client.get("/p/seed/datasets/1/export/instruct/")
    text = b"".join(rows.streaming_content).decode()  # type: ignore[attr-defined]
    row = json.loads(text)
    assert row["instruction"] == INSTRUCTION
    assert row["input"] == INPUT
    assert row["output"] == OUTPUT
