"""The labeling screen's page and requests, as a browser makes them."""

import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.template.loader import render_to_string
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from labeling.form.tree import form_for
from labeling.models import Annotation, Document, DocumentState, Gold
from labeling.projects.services import save_contract
from slmstudio.contract.schema.compiled import compile_schema
from tests.labeling.label_desk import TEXT, Desk, make_desk
from tests.shared_rows import shared_fixture

pytestmark = pytest.mark.django_db

HOSTILE = '</script><script>alert(1)</script><img src=x onerror="alert(2)"> \u202e\u200b & {{ 7 }} {% now %}'


@shared_fixture
def desk(db: None) -> Desk:
    return make_desk()


def client_of(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def url(name: str, document: Document | None = None, slug: str = "desk") -> str:
    return reverse(name, args=[slug] if document is None else [slug, document.pk])


def post(client: Client, name: str, document: Document | None, body: Any) -> Any:
    text = body if isinstance(body, str) else json.dumps(body)
    return client.post(url(name, document), text, content_type="application/json")


def save(client: Client, document: Document, entry: Any, base: int = 0, **more: Any) -> Any:
    body = {"entry": entry, "evidence": {}, "base_version": base, "schema": 1, "seconds": 1, "submit": False, **more}
    return post(client, "label_save", document, body)


ENTRY = {"invoice_id": "A-1029", "date": "Jan 14, 2026", "vendor": "Acme Supplies", "total_amount": "1,248.50"}


def test_label_redirects_to_the_next_document(desk: Desk) -> None:
    client = client_of(desk.ana)
    answer = client.get(url("label"))
    assert answer.status_code == 200
    assert "No documents to label" in answer.text
    document = desk.document()
    assert client.get(url("label"))["Location"] == url("label_document", document)


def test_hostile_text_is_escaped(desk: Desk) -> None:
    document = desk.document(HOSTILE, name='"><script>alert(3)</script>', source=HOSTILE[:100])
    client = client_of(desk.ana)
    save(client, document, {"vendor": HOSTILE, "invoice_id": {"$json": json.dumps(HOSTILE)}, HOSTILE: {"$json": "1"}})
    text = client.get(url("label_document", document)).text
    assert "<script>alert" not in text
    assert "<img src=x" not in text
    assert client.get(url("label_state", document)).json()["text"] == HOSTILE


def test_save_returns_the_screen_state(desk: Desk) -> None:
    document = desk.document()
    answer = save(client_of(desk.ana), document, {**ENTRY, "vendor": "Globex", "due_date": "soon"})
    assert answer.status_code == 200
    found = answer.json()
    assert (found["version"], found["valid"], found["submitted"], found["state"]) == (1, False, False, "in_progress")
    assert [(problem["path"], problem["rule"]) for problem in found["problems"]] == [("due_date", "format")]
    assert [(warning["path"], warning["rule"]) for warning in found["warnings"]] == [("vendor", "evidence")]
    assert found["missing"] == {"vendor": '"Globex"'}
    assert found["shown"] == {"date": "2026-01-14", "total_amount": "1248.50"}
    start, end = found["spans"]["total_amount"][0]
    assert TEXT[start:end].endswith("1,248.50")
    assert found["evidence"]["date"] == {"start": TEXT.index("Jan 14"), "end": TEXT.index(". Payment")}
    assert '"total_amount": 1248.50' in found["json"]
    assert "entry" not in found


def test_submit_takes_eight_queries(desk: Desk) -> None:
    document = desk.document()
    client = client_of(desk.ana)
    assert save(client, document, ENTRY).status_code == 200
    with CaptureQueriesContext(connection) as queries:
        answer = save(client, document, ENTRY, 1, submit=True)
    assert answer.status_code == 200
    assert answer.json()["submitted"] is True
    assert Gold.objects.count() == 1
    statements = [query["sql"] for query in queries if not query["sql"].startswith(("SAVEPOINT", "RELEASE"))]
    assert len(statements) <= 8, "\n".join(statements)


def test_refused_submit_is_saved_as_draft(desk: Desk) -> None:
    document = desk.document()
    answer = save(client_of(desk.ana), document, {**ENTRY, "total_amount": "abc"}, submit=True)
    assert answer.status_code == 422
    assert "found the string 'abc'" in answer.json()["problems"][0]["message"]
    assert Annotation.objects.get().value["total_amount"] == "abc"
    assert not Gold.objects.exists()


def test_stale_submit_returns_409_with_merged_value(desk: Desk) -> None:
    document = desk.document()
    save(client_of(desk.ana), document, {"vendor": "Acme", "purchase_order": "PO-1"})
    answer = save(client_of(desk.ben), document, ENTRY, submit=True)
    assert answer.status_code == 409
    found = answer.json()
    assert found["entry"]["purchase_order"] == "PO-1"
    assert (found["merged"], found["merged_with"]) == (["purchase_order"], desk.ana.username)
    assert found["clashes"] == [{"path": "vendor", "absent": False, "entry": "Acme", "shown": '"Acme"'}]
    assert not Gold.objects.exists()


def test_json_view_keeps_digits(desk: Desk) -> None:
    document = desk.document()
    client = client_of(desk.ana)
    text = '{"total_amount": 1248.500, "vendor": "Acme Supplies", "own": {"x": [1e2, null]}}'
    found = save(client, document, None, json=text).json()
    assert found["entry"]["total_amount"] == "1248.500"
    assert found["entry"]["own"] == {"$json": '{"x":[1E+2,null]}'}
    assert [problem["path"] for problem in found["problems"] if problem["rule"] != "required"] == ["own"]
    assert client.get(url("label_state", document)).json()["entry"]["total_amount"] == "1248.500"


@pytest.mark.parametrize("text", ['{"a": 1', '{"a": 1, "a": 2}', '{"a": NaN}', '{"a": "\\u0000"}', "[" * 100, ""])
def test_invalid_json_is_not_saved(desk: Desk, text: str) -> None:
    document = desk.document()
    answer = save(client_of(desk.ana), document, None, json=text)
    assert answer.status_code == 422
    assert "line 1" in answer.json()["syntax"]
    assert not Annotation.objects.exists()


@pytest.mark.parametrize(
    "body",
    [
        "not json",
        "[]",
        {"entry": {}},
        {"entry": {}, "evidence": [], "base_version": 0, "schema": 1, "seconds": 0, "submit": False},
        {"entry": {}, "evidence": {}, "base_version": -1, "schema": 1, "seconds": 0, "submit": False},
        {"entry": {}, "evidence": {}, "base_version": True, "schema": 1, "seconds": 0, "submit": False},
        {"json": 5, "evidence": {}, "base_version": 0, "schema": 1, "seconds": 0, "submit": False},
    ],
)
def test_a_malformed_request_is_refused(desk: Desk, body: Any) -> None:
    document = desk.document()
    assert post(client_of(desk.ana), "label_save", document, body).status_code == 400
    assert not Annotation.objects.exists()


def test_idle_time_is_capped(desk: Desk) -> None:
    save(client_of(desk.ana), desk.document(), {}, seconds=100_000)
    assert Annotation.objects.get().seconds == 600


def test_next_document_is_prefetched(desk: Desk) -> None:
    first, second = desk.document("one"), desk.document("two")
    client = client_of(desk.ana)
    client.get(url("label"))
    found = post(client, "label_next", None, {"after": first.pk}).json()
    assert (found["id"], found["text"], found["held_by"]) == (second.pk, "two", "")
    second.refresh_from_db()
    assert second.locked_by == desk.ana
    assert post(client, "label_next", None, {"after": second.pk}).json()["id"] == first.pk
    assert post(client, "label_next", None, {"before": second.pk}).json()["id"] == first.pk
    assert post(client, "label_next", None, {"before": first.pk}).json()["done"] is True
    assert post(client, "label_next", None, {"after": "x"}).status_code == 400


def test_locked_document_names_its_user(desk: Desk) -> None:
    document = desk.document()
    save(client_of(desk.ana), document, {"vendor": "Acme"})
    found = client_of(desk.ben).get(url("label_state", document)).json()
    assert (found["held_by"], found["author"]) == (desk.ana.username, desk.ana.username)
    assert (found["entry"], found["version"]) == ({"vendor": "Acme"}, 1)


def test_skip_and_tag(desk: Desk) -> None:
    document = desk.document()
    client = client_of(desk.ana)
    answer = post(client, "label_flag", document, {"tags": ["ocr_noise"]})
    assert answer.json() == {"tags": [{"name": "ocr_noise", "title": "OCR noise"}]}
    assert post(client, "label_flag", document, {"tags": ["nonsense"]}).status_code == 422
    assert post(client, "label_flag", document, {"tags": "ocr_noise"}).status_code == 422
    assert post(client, "label_skip", document, {"reason": 5}).status_code == 422
    assert post(client, "label_skip", document, {"reason": "blank"}).status_code == 200
    document.refresh_from_db()
    assert (document.state, document.tags) == (DocumentState.SKIPPED, ["ocr_noise"])


def test_every_node_shape_is_rendered() -> None:
    leaf = {"type": "string"}
    compiled = compile_schema(
        {
            "type": "object",
            "properties": {
                "choice": {"enum": ["a", HOSTILE]},
                "select": {"enum": list("abcdefghijk")},
                "yes": {"type": "boolean"},
                "day": {"type": "string", "format": "date"},
                "several": {"type": "array", "uniqueItems": True, "items": {"enum": ["x", "y"]}},
                "texts": {"type": "array", "items": leaf},
                "cards": {
                    "type": "array",
                    "items": {"type": "object", "properties": {"inner": {"type": "array", "items": leaf}}},
                },
                "grid": {
                    "type": "array",
                    "items": {"type": "object", "properties": {"a": leaf, "b": {"enum": [1, 2]}}},
                },
                "group": {"type": "object", "properties": {"deep": {"type": "object", "properties": {"leaf": leaf}}}},
                "any": {},
            },
        }
    )
    value = {"grid": [{"a": HOSTILE, "b": 2}], "cards": [{"inner": ["p"]}], "any": [HOSTILE], "choice": HOSTILE}
    for form in (form_for(compiled), form_for(compiled, value), form_for(compiled, value, read_only=True)):
        html = render_to_string("labeling/form/form.html", {"form": form})
        assert "<script>alert" not in html
        assert html.count('data-node="table"') == 1


def test_new_schema_starts_from_the_old_label(desk: Desk) -> None:
    document = desk.document()
    client = client_of(desk.ana)
    save(client, document, ENTRY)
    text = desk.project.schema_version.schema_text.replace('"vendor":{', '"seller":{', 1).replace('"vendor",', "")
    save_contract(project=desk.project, user=desk.owner, instruction="Do it.", schema_text=text, constraints={})
    found = client.get(url("label_state", document)).json()
    assert (found["schema"], found["version"]) == (2, 0)
    assert found["entry"]["vendor"] == {"$json": '"Acme Supplies"'}
    assert found["entry"]["total_amount"] == "1248.50"


def test_typed_texts_in_the_json_view_are_parsed(desk: Desk) -> None:
    document = desk.document()
    text = json.dumps({**ENTRY, "vendor": "1,248.50"})
    answer = post(
        client_of(desk.ana),
        "label_save",
        document,
        {
            "json": text,
            "typed": {"total_amount": "1,248.50", "date": "Jan 14, 2026", "invoice_id": "edited since", "no.such": "x"},
            "evidence": {},
            "base_version": 0,
            "schema": 1,
            "seconds": 1,
            "submit": False,
        },
    ).json()
    assert answer["problems"] == []
    value = Annotation.objects.get().value
    assert (value["date"], str(value["total_amount"])) == ("2026-01-14", "1248.50")
    assert (value["vendor"], value["invoice_id"]) == ("1,248.50", "A-1029")


@pytest.mark.parametrize("typed", [[], {"date": 1}, "x"])
def test_invalid_typed_texts_are_refused(desk: Desk, typed: Any) -> None:
    body = {"json": "{}", "typed": typed, "evidence": {}, "base_version": 0, "schema": 1, "seconds": 1, "submit": False}
    assert post(client_of(desk.ana), "label_save", desk.document(), body).status_code == 400
