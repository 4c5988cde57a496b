"""The labeling screen's page and requests, as a browser makes them: the form, comments and the history."""

import json
from typing import Any

from django.contrib.auth.models import User
from django.db import connection
from django.template.loader import render_to_string
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from labeling.annotation import services as annotation_services
from labeling.form.tree import form_for
from labeling.models import Annotation, Comment, Document, DocumentState, Gold, Mention, Project, Review
from labeling.projects.services import save_contract
from slmstudio.contract.schema.compiled import compile_schema
from tests.html_whitespace import collapse
from tests.labeling.api_client import api_of
from tests.labeling.desk import browser
from tests.labeling.label_desk import GOLD_TEXT, TEXT, Desk, gold, pre_label

HOSTILE = '</script><script>alert(1)</script><img src=x onerror="alert(2)"> \u202e\u200b & {{ 7 }} {% now %}'


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
    client = browser(desk.ana)
    answer = client.get(url("label"))
    assert answer.status_code == 200
    assert "No documents to label" in answer.text
    document = desk.document()
    assert client.get(url("label"))["Location"] == url("label_document", document)


def test_hostile_text_is_escaped(desk: Desk) -> None:
    document = desk.document(HOSTILE, name='"><script>alert(3)</script>', source=HOSTILE[:100])
    client = browser(desk.ana)
    save(client, document, {"vendor": HOSTILE, "invoice_id": {"$json": json.dumps(HOSTILE)}, HOSTILE: {"$json": "1"}})
    text = client.get(url("label_document", document)).text
    assert "<script>alert" not in text
    assert "<img src=x" not in text
    assert client.get(url("label_state", document)).json()["text"] == HOSTILE


def test_save_returns_the_screen_state(desk: Desk) -> None:
    document = desk.document()
    answer = save(browser(desk.ana), document, {**ENTRY, "vendor": "Globex", "due_date": "soon"})
    assert answer.status_code == 200
    screen = answer.json()
    assert (screen["version"], screen["valid"], screen["submitted"]) == (1, False, False)
    assert screen["state"] == "in_progress"
    assert [(problem["path"], problem["rule"]) for problem in screen["problems"]] == [("due_date", "format")]
    assert [(warning["path"], warning["rule"]) for warning in screen["warnings"]] == [("vendor", "evidence")]
    assert screen["missing"] == {"vendor": '"Globex"'}
    assert screen["shown"] == {"date": "2026-01-14", "total_amount": "1248.50"}
    start, end = screen["spans"]["total_amount"][0]
    assert TEXT[start:end].endswith("1,248.50")
    assert screen["evidence"]["date"] == {"start": TEXT.index("Jan 14"), "end": TEXT.index(". Payment")}
    assert '"total_amount": 1248.50' in screen["json"]
    assert "entry" not in screen


def test_submit_takes_eight_queries(desk: Desk) -> None:
    document = desk.document()
    client = browser(desk.ana)
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
    answer = save(browser(desk.ana), document, {**ENTRY, "total_amount": "abc"}, submit=True)
    assert answer.status_code == 422
    assert [(problem["path"], problem["rule"]) for problem in answer.json()["problems"]] == [("total_amount", "type")]
    assert Annotation.objects.get().value["total_amount"] == "abc"
    assert not Gold.objects.exists()


def test_stale_submit_returns_409_with_merged_value(desk: Desk) -> None:
    document = desk.document()
    save(browser(desk.ana), document, {"vendor": "Acme", "purchase_order": "PO-1"})
    answer = save(browser(desk.ben), document, ENTRY, submit=True)
    assert answer.status_code == 409
    screen = answer.json()
    assert screen["entry"]["purchase_order"] == "PO-1"
    assert (screen["merged"], screen["merged_with"]) == (["purchase_order"], desk.ana.username)
    assert screen["clashes"] == [{"path": "vendor", "absent": False, "entry": "Acme", "shown": '"Acme"'}]
    assert not Gold.objects.exists()


def test_json_view_keeps_digits(desk: Desk) -> None:
    document = desk.document()
    client = browser(desk.ana)
    text = '{"total_amount": 1248.500, "vendor": "Acme Supplies", "own": {"x": [1e2, null]}}'
    screen = save(client, document, None, json=text).json()
    assert screen["entry"]["total_amount"] == "1248.500"
    assert screen["entry"]["own"] == {"$json": '{"x":[1E+2,null]}'}
    assert [problem["path"] for problem in screen["problems"] if problem["rule"] != "required"] == ["own"]
    assert client.get(url("label_state", document)).json()["entry"]["total_amount"] == "1248.500"


def test_invalid_json_is_not_saved(desk: Desk) -> None:
    document = desk.document()
    for text in ('{"a": 1', '{"a": 1, "a": 2}', '{"a": NaN}', '{"a": "\\u0000"}', "[" * 100, ""):
        answer = save(browser(desk.ana), document, None, json=text)
        assert answer.status_code == 422, text
        assert "line 1" in answer.json()["syntax"]
    assert not Annotation.objects.exists()


def test_a_malformed_request_is_refused(desk: Desk) -> None:
    document, client = desk.document(), browser(desk.ana)
    body = {"json": "{}", "evidence": {}, "base_version": 0, "schema": 1, "seconds": 0, "submit": False}
    wrong: list[dict[str, Any]] = [
        {"evidence": []}, {"base_version": -1}, {"base_version": True}, {"json": 5}, {"typed": []},
        {"typed": {"date": 1}}, {"typed": "x"},
    ]  # fmt: skip
    for malformed in ["not json", "[]", {"entry": {}}, *({**body, **change} for change in wrong)]:
        assert post(client, "label_save", document, malformed).status_code == 400, malformed
    assert not Annotation.objects.exists()


def test_next_document_is_prefetched(desk: Desk) -> None:
    first, second = desk.document("one"), desk.document("two")
    client = browser(desk.ana)
    client.get(url("label"))
    screen = post(client, "label_next", None, {"after": first.pk}).json()
    assert (screen["id"], screen["text"], screen["held_by"]) == (second.pk, "two", "")
    second.refresh_from_db()
    assert second.locked_by == desk.ana
    assert post(client, "label_next", None, {"after": second.pk}).json()["id"] == first.pk
    assert post(client, "label_next", None, {"before": second.pk}).json()["id"] == first.pk
    assert post(client, "label_next", None, {"before": first.pk}).json()["done"] is True
    assert post(client, "label_next", None, {"after": "x"}).status_code == 400


def test_locked_document_names_its_user(desk: Desk) -> None:
    document = desk.document()
    save(browser(desk.ana), document, {"vendor": "Acme"})
    screen = browser(desk.ben).get(url("label_state", document)).json()
    assert (screen["held_by"], screen["author"]) == (desk.ana.username, desk.ana.username)
    assert (screen["entry"], screen["version"]) == ({"vendor": "Acme"}, 1)


def test_skip_and_tag(desk: Desk) -> None:
    document = desk.document()
    client = browser(desk.ana)
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
    client = browser(desk.ana)
    save(client, document, ENTRY)
    text = desk.project.schema_version.schema_text.replace('"vendor":{', '"seller":{', 1).replace('"vendor",', "")
    save_contract(project=desk.project, user=desk.owner, instruction="Do it.", schema_text=text, constraints={})
    screen = client.get(url("label_state", document)).json()
    assert (screen["schema"], screen["version"]) == (2, 0)
    assert screen["entry"]["vendor"] == {"$json": '"Acme Supplies"'}
    assert screen["entry"]["total_amount"] == "1248.50"


def test_typed_texts_in_the_json_view_are_parsed(desk: Desk) -> None:
    text = json.dumps({**ENTRY, "vendor": "1,248.50"})
    typed = {"total_amount": "1,248.50", "date": "Jan 14, 2026", "invoice_id": "edited since", "no.such": "x"}
    answer = save(browser(desk.ana), desk.document(), None, json=text, typed=typed, seconds=100_000).json()
    assert answer["problems"] == []
    annotation = Annotation.objects.get()
    value = annotation.value
    assert (value["date"], str(value["total_amount"])) == ("2026-01-14", "1248.50")
    assert (value["vendor"], value["invoice_id"]) == ("1,248.50", "A-1029")
    assert annotation.seconds == 600, "idle time is capped"


AMBIGUOUS = "Invoice A-1029 of 03/04/2026. Acme Supplies. Total 1,248.50."


def test_form_asks_about_an_ambiguous_date(desk: Desk) -> None:
    """Nothing guesses what 03/04/2026 means, unless other dates of the document show it."""
    document, client, entry = desk.document(AMBIGUOUS), browser(desk.ana), {**ENTRY, "date": "03/04/2026"}
    saved = save(client, document, entry).json()
    assert [(problem["path"], problem["rule"]) for problem in saved["problems"]] == [("date", "ambiguous")]
    assert saved["readings"] == {"date": ["2026-04-03", "2026-03-04"]}
    assert "date" not in saved["shown"]
    assert Annotation.objects.get().value["date"] == "03/04/2026"
    state = client.get(url("label_state", document)).json()
    assert (state["entry"]["date"], state["readings"]) == ("03/04/2026", saved["readings"])
    assert save(client, document, entry, 1, submit=True).status_code == 422
    assert not Gold.objects.exists()
    answer = save(client, document, {**entry, "date": "2026-03-04"}, 2, submit=True)
    assert answer.status_code == 200
    start = AMBIGUOUS.index("03/04")
    assert answer.json()["evidence"]["date"] == {"start": start, "end": start + 10}
    assert Gold.objects.get().revision.value["date"] == "2026-03-04"
    for other, expected in (("27/03/2026", "2026-04-03"), ("03/27/2026", "2026-03-04")):
        saved = save(client, desk.document(f"{AMBIGUOUS} Ordered {other}."), entry).json()
        assert (saved["problems"], saved["shown"]["date"]) == ([], expected)


BROKEN = "Invoice A-1029 of Jan 14, 2026, due Jan 10, 2026 or Jan 9, 2026. Acme Supplies. Total 1,248.50."


def test_a_broken_invariant_stops_the_submit_until_it_is_confirmed(desk: Desk) -> None:
    document, client = desk.document(BROKEN), browser(desk.ana)
    due, other = ({**ENTRY, "due_date": day} for day in ("Jan 10, 2026", "Jan 9, 2026"))
    answer = save(client, document, due, submit=True)
    assert answer.status_code == 422
    refused = answer.json()
    assert [(warning["path"], warning["rule"]) for warning in refused["warnings"]] == [("due_date", "invariant")]
    assert not Gold.objects.exists()
    evidence = {"due_date": {"doubts": list(refused["doubts"]["due_date"])}}
    # Another value is another doubt.
    assert save(client, document, other, 1, evidence=evidence, submit=True).status_code == 422
    answer = save(client, document, due, 2, evidence=evidence, submit=True)
    assert (answer.status_code, answer.json()["warnings"]) == (200, [])
    assert answer.json()["doubts"] == refused["doubts"]
    assert Gold.objects.get().revision.evidence["due_date"]["doubts"] == evidence["due_date"]["doubts"]
    state = client.get(url("label_state", document)).json()
    assert (state["warnings"], state["doubts"]) == ([], refused["doubts"])


def test_program_can_confirm_all_broken_invariants(desk: Desk) -> None:
    document = desk.document(BROKEN)
    api = api_of(desk.project, desk.ana)
    body = {"value": {**gold(), "due_date": "2026-01-10"}, "base_version": 0}
    answer = api.post(f"documents/{document.pk}/submit", body)
    assert answer.status == 422
    assert [(row["field"], row["rule"]) for row in answer.json["errors"]] == [("due_date", "invariant")]
    body = {**body, "base_version": 1, "evidence": {"due_date": {"doubts": True}}}
    assert api.post(f"documents/{document.pk}/submit", body).status == 200


# -- comments, the history and pre-filled forms ------------------------------------------------------------------------


def test_comment_is_added_read_and_resolved(desk: Desk) -> None:
    document = desk.document()
    ana, ben = browser(desk.ana), browser(desk.ben)
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
    document, other, client = desk.document(), desk.document(), browser(desk.ana)
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


def draft(document: Document, user: User, value: Any, base: int = 0) -> None:
    annotation_services.save_draft(document=document, user=user, value=value, evidence={}, base_version=base)


def test_history_names_users_and_changes(desk: Desk) -> None:
    document = desk.document()
    draft(document, desk.ben, {"vendor": "<i>Acme</i>"})
    draft(document, desk.ana, {"vendor": "Acme Supplies", "invoice_id": "A-1029"}, 1)
    text = browser(desk.ana).get(url("label_history", document)).text
    assert "<strong>ana-desk</strong>" in text
    assert '<del dir="auto">&lt;i&gt;Acme&lt;/i&gt;</del>' in text
    assert '<ins dir="auto">Acme Supplies</ins>' in text
    assert text.index("invoice_id") < text.index("vendor"), "in the order of the schema"
    assert text.count("data-restore") == 1, "the newest need not be gone back to"
    other = browser(desk.ana).get(url("label_history", desk.document()))
    assert "No changes yet." in other.text


def test_overlap_hides_history_of_others_until_a_review(desk: Desk) -> None:
    document = desk.document(overlap=2)
    draft(document, desk.ben, {"vendor": "Bens secret"})

    def is_shown(user: User) -> bool:
        return "Bens secret" in browser(user).get(url("label_history", document)).text

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


def predicted(document: Document) -> None:
    Project.objects.update(withheld_share=0, confidence_floor=0.8)
    pre_label(document, GOLD_TEXT, confidence={"date": 0.5, "vendor": 0.9})


def state_of(desk: Desk, document: Document) -> dict[str, Any]:
    return dict(browser(desk.ana).get(url("label_state", document)).json())


def test_pre_filled_form_lists_fields_for_attention_until_the_submit(desk: Desk) -> None:
    document, ana = desk.document(), browser(desk.ana)
    predicted(document)
    state = state_of(desk, document)
    assert state["prediction"]["model"] == "m"
    assert state["exceptions"] == {"date": ["the model is 50% confident"]}
    number = state["prediction"]["id"]
    answer = save(ana, document, state["entry"], evidence={"date": {"seen": True}}, prediction=number).json()
    assert answer["exceptions"] == {}
    # Seen was the value that stood there then.
    entry = {**state["entry"], "date": "soon"}
    answer = save(ana, document, entry, 1, evidence=answer["evidence"], prediction=number).json()
    assert list(answer["exceptions"]) == ["date"]
    assert save(ana, document, state["entry"], 2, prediction=number, submit=True).status_code == 200
    state = state_of(desk, document)
    assert (state["prediction"]["id"], state["exceptions"]) == (number, None)


def test_invalid_field_seconds_are_refused(desk: Desk) -> None:
    document = desk.document()
    invalid: list[Any] = [[], {"vendor": "x"}, {"vendor": -1}, {"vendor": True}, {str(n): 1 for n in range(1001)}]
    for fields in invalid:
        answer = save(browser(desk.ana), document, {}, field_seconds=fields)
        assert answer.status_code == 400
        assert "field_seconds" in answer.json()["message"]
