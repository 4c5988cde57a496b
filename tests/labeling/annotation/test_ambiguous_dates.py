"""No way in guesses what 03/04/2026 means: the form asks, an import and the REST interface say so."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from labeling.models import Annotation, Document, Gold
from tests.labeling.api_client import api_of
from tests.labeling.import_files import read, stored
from tests.labeling.label_desk import Desk, gold, make_desk
from tests.shared_rows import shared_fixture

TEXT = "Invoice A-1029 of 03/04/2026. Acme Supplies. Total 1,248.50."
ENTRY = {"invoice_id": "A-1029", "date": "03/04/2026", "vendor": "Acme Supplies", "total_amount": "1,248.50"}


@shared_fixture
def desk(db: None) -> Desk:
    return make_desk()


@pytest.fixture
def client(desk: Desk) -> Client:
    client = Client()
    client.force_login(desk.ana)
    return client


def save(client: Client, document: Document, entry: Any, base: int = 0, **more: Any) -> Any:
    body = {"entry": entry, "evidence": {}, "base_version": base, "schema": 1, "seconds": 1, "submit": False, **more}
    return client.post(reverse("label_save", args=["desk", document.pk]), json.dumps(body), "application/json")


def test_form_asks_about_ambiguous_date(desk: Desk, client: Client) -> None:
    document = desk.document(TEXT)
    found = save(client, document, ENTRY).json()
    assert [(problem["path"], problem["rule"]) for problem in found["problems"]] == [("date", "ambiguous")]
    assert found["readings"] == {"date": ["2026-04-03", "2026-03-04"]}
    assert "date" not in found["shown"]
    assert Annotation.objects.get().value["date"] == "03/04/2026"
    state = client.get(reverse("label_state", args=["desk", document.pk])).json()
    assert (state["entry"]["date"], state["readings"]) == ("03/04/2026", found["readings"])
    assert save(client, document, ENTRY, 1, submit=True).status_code == 422
    assert not Gold.objects.exists()
    answer = save(client, document, {**ENTRY, "date": "2026-03-04"}, 2, submit=True)
    assert answer.status_code == 200
    assert answer.json()["evidence"]["date"] == {"start": TEXT.index("03/04"), "end": TEXT.index("03/04") + 10}
    assert Gold.objects.get().revision.value["date"] == "2026-03-04"


@pytest.mark.parametrize(("other", "expected"), [("27/03/2026", "2026-04-03"), ("03/27/2026", "2026-03-04")])
def test_other_dates_resolve_ambiguity(desk: Desk, client: Client, other: str, expected: str) -> None:
    found = save(client, desk.document(f"{TEXT} Ordered {other}."), ENTRY).json()
    assert (found["problems"], found["shown"]["date"]) == ([], expected)


def test_api_rejects_ambiguous_date(desk: Desk) -> None:
    document = desk.document(TEXT)
    api = api_of(desk.project, desk.ana)
    answer = api.post(f"documents/{document.pk}/submit", {"value": {**gold(), "date": "03/04/2026"}, "base_version": 0})
    assert answer.status == 422
    assert [(row["field"], row["rule"]) for row in answer.json["saved"]["problems"]] == [("date", "ambiguous")]
    assert not Gold.objects.exists()


HEAD = "text,invoice_id,date,due_date,vendor,total_amount\n"


@pytest.mark.parametrize(
    ("text", "due", "expected"),
    [
        ("Invoice A-1029 of 27/03/2026, due 03/04/2026", "", "2026-04-03"),
        ("Invoice A-1029", "04/27/2026", "2026-03-04"),
        ("Invoice A-1029", "05/06/2026", None),
    ],
)
def test_table_dates_are_resolved_by_row(tmp_path: Path, text: str, due: str, expected: str | None) -> None:
    (row,) = read(stored(tmp_path, "t.csv", f'{HEAD}"{text}",A-1029,03/04/2026,{due},Acme,1\n'))
    if expected is not None:
        assert row.data["gold"]["date"] == expected
    else:
        assert "the column date: 03/04/2026 is ambiguous" in row.error
