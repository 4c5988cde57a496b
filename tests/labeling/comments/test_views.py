"""Beside the form: comments, the history of a label, going back to an old version, and pre-filled forms."""

import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from labeling.annotation import predictions
from labeling.annotation import services as annotation_services
from labeling.models import Annotation, Comment, Document, Mention, Project, Review
from tests.html_whitespace import collapse
from tests.labeling.label_desk import Desk, gold, make_desk
from tests.shared_rows import shared_fixture

pytestmark = pytest.mark.django_db


@shared_fixture
def desk(db: None) -> Desk:
    return make_desk()


def client_of(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def url(name: str, document: Document) -> str:
    return reverse(name, args=["desk", document.pk])


def post(client: Client, name: str, document: Document, body: Any) -> Any:
    return client.post(
        url(name, document), body if isinstance(body, str) else json.dumps(body), content_type="application/json"
    )


def draft(desk: Desk, document: Document, user: User, value: Any, base: int = 0) -> Any:
    return annotation_services.save_draft(document=document, user=user, value=value, evidence={}, base_version=base)


def test_comment_is_added_read_and_resolved(desk: Desk) -> None:
    document = desk.document()
    ana, ben = client_of(desk.ana), client_of(desk.ben)
    answer = post(ana, "label_comments", document, {"path": "vendor", "text": "Is it <b>this</b>, @ben-desk?"}).json()
    assert (answer["count"], answer["commented"]) == (1, {"vendor": 1})
    assert "&lt;b&gt;this" in answer["html"]
    assert "<b>this" not in answer["html"]
    assert answer["members"] == ["ana-desk", "ben-desk", "owner-desk"]
    state = ben.get(url("label_state", document)).json()
    assert (state["comments"], state["commented"]) == (1, {"vendor": 1})
    assert Mention.objects.get().read_at is None
    assert "Is it" in ben.get(url("label_comments", document)).json()["html"]
    assert Mention.objects.get().read_at is not None
    settled = post(ben, "label_resolve", document, {"comment": Comment.objects.get().pk}).json()
    assert (settled["count"], settled["commented"]) == (0, {})
    assert "resolved by ben-desk" in collapse(settled["html"])


@pytest.mark.parametrize(
    "body",
    [
        {"text": ""}, {"text": "x" * 5000}, {"text": 3}, {"text": "half \ud800"}, {"text": "x", "path": ["vendor"]},
        {"text": "x", "path": "a[" * 400}, "not json", [],
    ],
)  # fmt: skip
def test_invalid_comment_is_refused(desk: Desk, body: Any) -> None:
    answer = post(client_of(desk.ana), "label_comments", desk.document(), body)
    assert answer.status_code == 422
    assert answer.json()["message"]
    assert not Comment.objects.exists()


def test_comment_of_another_document_is_404(desk: Desk) -> None:
    here, there = desk.document(), desk.document()
    client = client_of(desk.ana)
    post(client, "label_comments", there, {"text": "x"})
    number = Comment.objects.get().pk
    assert post(client, "label_resolve", here, {"comment": number}).status_code == 404
    assert post(client, "label_resolve", here, {"comment": "1; drop"}).status_code == 422
    assert Comment.objects.get().resolved_at is None


def test_history_names_users_and_changes(desk: Desk) -> None:
    document = desk.document()
    draft(desk, document, desk.ben, {"vendor": "<i>Acme</i>"})
    draft(desk, document, desk.ana, {"vendor": "Acme Supplies", "invoice_id": "A-1029"}, 1)
    text = client_of(desk.ana).get(url("label_history", document)).text
    assert "<strong>ana-desk</strong>" in text
    assert '<del dir="auto">&lt;i&gt;Acme&lt;/i&gt;</del>' in text
    assert '<ins dir="auto">Acme Supplies</ins>' in text
    assert text.index("invoice_id") < text.index("vendor"), "in the order of the schema"
    assert text.count("data-restore") == 1, "the newest need not be gone back to"
    other = client_of(desk.ana).get(url("label_history", desk.document()))
    assert "No changes yet." in other.text


def test_overlap_hides_history_of_others(desk: Desk) -> None:
    document = desk.document(overlap=2)
    draft(desk, document, desk.ben, {"vendor": "Bens secret"})
    assert "Bens secret" not in client_of(desk.ana).get(url("label_history", document)).text
    assert "Bens secret" in client_of(desk.ben).get(url("label_history", document)).text
    assert "Bens secret" in client_of(desk.owner).get(url("label_history", document)).text


def test_overlap_shows_history_of_others_after_a_review(desk: Desk) -> None:
    document = desk.document(overlap=2)
    draft(desk, document, desk.ben, {"vendor": "Bens vendor"})
    annotation = Annotation.objects.get()
    Review.objects.create(
        document=document,
        annotation=annotation,
        revision=annotation.revisions.get(),
        decision=Review.Decision.ADJUDICATE,
        reviewer=desk.owner,
    )
    assert "Bens vendor" in client_of(desk.ana).get(url("label_history", document)).text


def predicted(desk: Desk, document: Document, **changes: Any) -> None:
    Project.objects.update(withheld_share=0, confidence_floor=0.8)
    proposal = predictions.PredictionInput(
        document.pk, json.dumps({**gold(), "total_amount": 1248.5, **changes}), {"date": 0.5, "vendor": 0.9}
    )
    project = Project.objects.get(pk=desk.project.pk)
    predictions.record(
        project=project, schema_version=project.schema_version, proposals=[proposal], model="m", source="t"
    )


def state_of(desk: Desk, document: Document) -> dict[str, Any]:
    return dict(client_of(desk.ana).get(url("label_state", document)).json())


def save(desk: Desk, document: Document, base: int, entry: Any, evidence: Any, **more: Any) -> Any:
    body = {"entry": entry, "evidence": evidence, "base_version": base, "schema": 1, "seconds": 1, "submit": False}
    return post(client_of(desk.ana), "label_save", document, {**body, **more})


def test_pre_filled_form_lists_fields_for_attention(desk: Desk) -> None:
    document = desk.document()
    predicted(desk, document)
    state = state_of(desk, document)
    assert state["prediction"]["model"] == "m"
    assert state["exceptions"] == {"date": ["the model is 50% confident"]}
    number = state["prediction"]["id"]
    answer = save(desk, document, 0, state["entry"], {"date": {"seen": True}}, prediction=number).json()
    assert answer["exceptions"] == {}
    # Seen was the value that stood there then.
    entry = {**state["entry"], "date": "soon"}
    answer = save(desk, document, 1, entry, answer["evidence"], prediction=number).json()
    assert list(answer["exceptions"]) == ["date"]


def test_submitted_label_needs_no_attention(desk: Desk) -> None:
    document = desk.document()
    predicted(desk, document)
    number = state_of(desk, document)["prediction"]["id"]
    answer = save(desk, document, 0, state_of(desk, document)["entry"], {}, prediction=number, submit=True)
    assert answer.status_code == 200, answer.json()
    state = state_of(desk, document)
    assert (state["prediction"]["id"], state["exceptions"]) == (number, None)


@pytest.mark.parametrize(
    "fields", [[], {"vendor": "x"}, {"vendor": -1}, {"vendor": True}, {str(n): 1 for n in range(1001)}]
)
def test_invalid_field_seconds_are_refused(desk: Desk, fields: Any) -> None:
    answer = save(desk, desk.document(), 0, {}, {}, field_seconds=fields)
    assert answer.status_code == 400
    assert "field_seconds" in answer.json()["message"]


def test_field_seconds_of_unknown_fields_are_dropped(desk: Desk) -> None:
    document = desk.document()
    save(desk, document, 0, {"vendor": "A"}, {}, field_seconds={"vendor": 2.5, "nothing": 9, "date": 0})
    save(desk, document, 1, {"vendor": "B"}, {}, field_seconds={"vendor": 99_999})
    assert Annotation.objects.get().field_seconds == {"vendor": 602.5}
