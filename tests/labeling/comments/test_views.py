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


def test_invalid_comment_is_refused(desk: Desk) -> None:
    document, other, client = desk.document(), desk.document(), client_of(desk.ana)
    invalid: list[Any] = [{"text": ""}, {"text": 3}, {"text": "half \ud800"}, {"text": "x", "path": ["vendor"]},
                          "not json", []]  # fmt: skip
    for body in invalid:
        answer = post(client, "label_comments", document, body)
        assert answer.status_code == 422, body
        assert answer.json()["message"]
    assert not Comment.objects.exists()
    post(client, "label_comments", other, {"text": "x"})
    number = Comment.objects.get().pk
    assert post(client, "label_resolve", document, {"comment": number}).status_code == 404
    assert post(client, "label_resolve", document, {"comment": "1; drop"}).status_code == 422
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


def test_overlap_hides_history_of_others_until_a_review(desk: Desk) -> None:
    document = desk.document(overlap=2)
    draft(desk, document, desk.ben, {"vendor": "Bens secret"})

    def is_shown(user: User) -> bool:
        return "Bens secret" in client_of(user).get(url("label_history", document)).text

    assert [is_shown(user) for user in (desk.ana, desk.ben, desk.owner)] == [False, True, True]
    annotation = Annotation.objects.get()
    Review.objects.create(
        document=document,
        annotation=annotation,
        revision=annotation.revisions.get(),
        decision=Review.Decision.ADJUDICATE,
        reviewer=desk.owner,
    )
    assert is_shown(desk.ana)


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


def test_pre_filled_form_lists_fields_for_attention_until_the_submit(desk: Desk) -> None:
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
    assert save(desk, document, 2, state["entry"], {}, prediction=number, submit=True).status_code == 200
    state = state_of(desk, document)
    assert (state["prediction"]["id"], state["exceptions"]) == (number, None)


def test_invalid_field_seconds_are_refused(desk: Desk) -> None:
    document = desk.document()
    invalid: list[Any] = [[], {"vendor": "x"}, {"vendor": -1}, {"vendor": True}, {str(n): 1 for n in range(1001)}]
    for fields in invalid:
        answer = save(desk, document, 0, {}, {}, field_seconds=fields)
        assert answer.status_code == 400
        assert "field_seconds" in answer.json()["message"]
