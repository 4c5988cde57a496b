"""A label with a broken invariant is submitted only once a person has confirmed it as it stands."""

import json
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from labeling.models import Document, Gold
from tests.labeling.api_client import api_of
from tests.labeling.label_desk import Desk, gold, make_desk
from tests.shared_rows import shared_fixture

TEXT = "Invoice A-1029 of Jan 14, 2026, due Jan 10, 2026 or Jan 9, 2026. Acme Supplies. Total 1,248.50."
ENTRY = {"invoice_id": "A-1029", "date": "Jan 14, 2026", "vendor": "Acme Supplies", "total_amount": "1,248.50"}


@shared_fixture
def desk(db: None) -> Desk:
    return make_desk()


@pytest.fixture
def client(desk: Desk) -> Client:
    client = Client()
    client.force_login(desk.ana)
    return client


def save(client: Client, document: Document, due: str, base: int = 0, **more: Any) -> Any:
    body = {"entry": {**ENTRY, "due_date": due}, "evidence": {}, "base_version": base, "schema": 1, "seconds": 1}
    body |= {"submit": True, **more}
    return client.post(reverse("label_save", args=["desk", document.pk]), json.dumps(body), "application/json")


def test_a_broken_invariant_stops_the_submit_until_it_is_confirmed(desk: Desk, client: Client) -> None:
    document = desk.document(TEXT)
    answer = save(client, document, "Jan 10, 2026")
    assert answer.status_code == 422
    found = answer.json()
    assert [(one["path"], one["rule"]) for one in found["warnings"]] == [("due_date", "invariant")]
    assert not Gold.objects.exists()
    evidence = {"due_date": {"doubts": list(found["doubts"]["due_date"])}}
    # Another value is another doubt.
    assert save(client, document, "Jan 9, 2026", 1, evidence=evidence).status_code == 422
    answer = save(client, document, "Jan 10, 2026", 2, evidence=evidence)
    assert (answer.status_code, answer.json()["warnings"]) == (200, [])
    assert answer.json()["doubts"] == found["doubts"]
    assert Gold.objects.get().revision.evidence["due_date"]["doubts"] == evidence["due_date"]["doubts"]
    state = client.get(reverse("label_state", args=["desk", document.pk])).json()
    assert (state["warnings"], state["doubts"]) == ([], found["doubts"])


def test_program_can_confirm_all_broken_invariants(desk: Desk) -> None:
    document = desk.document(TEXT)
    api = api_of(desk.project, desk.ana)
    body = {"value": {**gold(), "due_date": "2026-01-10"}, "base_version": 0}
    answer = api.post(f"documents/{document.pk}/submit", body)
    assert answer.status == 422
    assert [(row["field"], row["rule"]) for row in answer.json["errors"]] == [("due_date", "invariant")]
    body = {**body, "base_version": 1, "evidence": {"due_date": {"doubts": True}}}
    assert api.post(f"documents/{document.pk}/submit", body).status == 200
