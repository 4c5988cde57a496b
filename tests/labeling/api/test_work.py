"""Labeling over HTTP: next, open, save, submit, merge, put aside, talk, review."""

from decimal import Decimal
from typing import Any

from django.db import connection
from django.test.utils import CaptureQueriesContext

from labeling.annotation import services as annotation_services
from labeling.models import Annotation, Document, DocumentState, Gold, Prediction
from labeling.review import adjudication
from slmstudio.contract.json_text import loads
from tests.labeling.api_client import Api, api_of
from tests.labeling.desk import SEED_OUTPUT, SEED_TEXT, Desk, bring_in, invoice, make_desk
from tests.shared_rows import shared_fixture


@shared_fixture
def desk(db: None) -> Desk:
    desk = make_desk()
    bring_in(desk.project, [{"id": "seed", "text": SEED_TEXT}, invoice(1, gold=False), invoice(2, gold=False)])
    return desk


@shared_fixture
def api(desk: Desk) -> Api:
    return api_of(desk.project, desk.people["annotator"])


def gold() -> dict[str, Any]:
    return dict(loads(SEED_OUTPUT))


def seed() -> Document:
    return Document.objects.get(external_id="seed")


def test_next_save_submit(desk: Desk, api: Api) -> None:
    opened = api.post("queue/next").json
    assert (opened["external_id"], opened["text"], opened["version"], opened["value"]) == ("seed", SEED_TEXT, 0, {})
    assert opened["instruction"]
    address = f"documents/{opened['id']}/"
    draft = api.put(f"{address}draft", {"value": {"invoice_id": "A-1029"}, "base_version": 0})
    assert draft.status == 200
    assert draft.json["valid"] is False
    assert "vendor" in {problem["field"] for problem in draft.json["problems"]}
    answer = api.post(f"{address}submit", {"value": gold(), "base_version": draft.json["version"], "seconds": 12.5})
    assert answer.status == 200, answer.json
    assert (answer.json["state"], answer.json["submitted"], answer.json["value"]) == ("submitted", True, gold())
    label = Gold.objects.get()
    assert label.revision.value == gold()
    assert Annotation.objects.get().seconds == 12.5
    assert api.post("queue/next").json["external_id"] != "seed"


def test_numbers_keep_digits(desk: Desk, api: Api) -> None:
    pk = seed().pk
    value = b'{"value": {"total_amount": 1248.50000000000000000000001}, "base_version": 0}'
    assert api("PUT", f"documents/{pk}/draft", value).json["value"]["total_amount"] == Decimal(
        "1248.50000000000000000000001"
    )
    assert b"1248.50000000000000000000001" in api.get(f"documents/{pk}").raw


def test_open_document_is_held_until_its_release(desk: Desk, api: Api) -> None:
    other = api_of(desk.project, desk.people["reviewer"])
    first, second = api.post("queue/next").json, other.post("queue/next").json
    assert first["id"] != second["id"]
    assert other.post(f"documents/{first['id']}/open").json["held_by"] == desk.people["annotator"].username
    assert api.post(f"documents/{first['id']}/release").status == 204
    assert other.post(f"documents/{first['id']}/open").json["held_by"] is None
    Document.objects.update(state=DocumentState.APPROVED)
    assert api.post("queue/next").status == 204


def test_invalid_submit_is_saved_with_errors(desk: Desk, api: Api) -> None:
    pk = seed().pk
    answer = api.post(f"documents/{pk}/submit", {"value": {**gold(), "date": "soon"}, "base_version": 0})
    assert answer.status == 422
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json["detail"] == "The label has errors (date), so it was saved as a draft and not submitted."
    assert [error["field"] for error in answer.json["errors"]] == ["date"]
    assert answer.json["saved"]["version"] == 1
    assert not Gold.objects.exists()
    assert Annotation.objects.get().value["date"] == "soon"


def test_concurrent_save_is_merged_and_409(desk: Desk, api: Api) -> None:
    document = seed()
    address = f"documents/{document.pk}/submit"
    reviewer = desk.people["reviewer"]
    annotation_services.save_draft(
        document=document, user=reviewer, value={**gold(), "vendor": "Acme"}, evidence={}, base_version=0
    )
    answer = api.post(address, {"value": gold(), "base_version": 0})
    assert answer.status == 409
    assert reviewer.username in answer.json["detail"]
    saved = answer.json["saved"]
    assert saved["clashes"] == [{"field": "vendor", "theirs": "Acme", "absent": False}]
    assert not Gold.objects.exists()
    again = {"value": saved["value"], "base_version": saved["version"]}
    other_schema = api.post(address, {**again, "schema_number": 7})
    assert other_schema.status == 409
    assert "current schema version is 1" in other_schema.json["detail"]
    again["base_version"] = other_schema.json["saved"]["version"]
    assert api.post(address, again).status == 200


def test_api_submit_query_count(desk: Desk, api: Api) -> None:
    pk = seed().pk
    body = {"value": gold(), "base_version": api.post(f"documents/{pk}/open").json["version"]}
    with CaptureQueriesContext(connection) as captured:
        assert api.post(f"documents/{pk}/submit", body).status == 200
    asked = [query["sql"] for query in captured if "SAVEPOINT" not in query["sql"]]
    # One for the token with its person, project and role; the rest is the service's.
    assert len(asked) <= 9, "\n".join(asked)


def test_skip_and_tags(desk: Desk, api: Api) -> None:
    pk = seed().pk
    assert api.put(f"documents/{pk}/tags", {"tags": ["ocr_noise"]}).json == {"tags": ["ocr_noise"]}
    refused = api.put(f"documents/{pk}/tags", {"tags": ["no such tag"]})
    assert (refused.status, refused.json["errors"][0]["field"]) == (422, "tags")
    assert api.post(f"documents/{pk}/skip", {"reason": "cannot be read"}).status == 204
    assert api.get(f"documents/{pk}").json["skip_reason"] == "cannot be read"
    Document.objects.filter(pk=pk).update(state=DocumentState.SUBMITTED)
    assert api.post(f"documents/{pk}/skip", {"reason": "late"}).status == 409


def test_history_and_restore(desk: Desk, api: Api) -> None:
    pk = seed().pk
    for version, vendor in enumerate(("One", "Two")):
        api.put(f"documents/{pk}/draft", {"value": {"vendor": vendor}, "base_version": version})
    rows = api.get(f"documents/{pk}/history").json["items"]
    assert [(row["number"], row["value"]["vendor"]) for row in rows] == [(2, "Two"), (1, "One")]
    restored = api.post(f"documents/{pk}/restore", {"revision": rows[1]["id"], "base_version": 2})
    assert restored.json["value"] == {"vendor": "One"}
    assert api.post(f"documents/{pk}/restore", {"revision": 10**9, "base_version": 2}).status == 409


def test_comments(desk: Desk, api: Api) -> None:
    pk = seed().pk
    comment = api.post(f"documents/{pk}/comments", {"text": "Two totals?", "field": "total_amount"})
    assert comment.status == 201
    assert comment.json["user"] == desk.people["annotator"].username
    [row] = api.get(f"documents/{pk}/comments").json["items"]
    assert (row["text"], row["field"], row["resolved_at"]) == ("Two totals?", "total_amount", None)
    assert api.post(f"documents/{pk}/comments/{row['id']}/resolve").json["resolved_at"]
    assert api.post(f"documents/{pk + 1}/comments/{row['id']}/resolve").status == 404
    assert api.post(f"documents/{pk}/comments", {"text": "   "}).status == 422


def test_overlap_shows_own_label_only(desk: Desk, api: Api) -> None:
    document = seed()
    Document.objects.filter(pk=document.pk).update(overlap=2)
    document.refresh_from_db()
    annotation_services.save_draft(
        document=document, user=desk.people["manager"], value={"vendor": "Secret"}, evidence={}, base_version=0
    )
    for path in ("", "/history"):
        assert b"Secret" not in api.get(f"documents/{document.pk}{path}").raw
    assert b"Secret" in api_of(desk.project, desk.people["reviewer"]).get(f"documents/{document.pk}").raw


def test_adjudicated_label_is_shown_to_its_annotators(desk: Desk) -> None:
    document, reviewer = seed(), desk.people["reviewer"]
    Document.objects.filter(pk=document.pk).update(overlap=2)
    people = ("annotator", "manager")
    for name, vendor in zip(people, ("Acme Supplies", "Acme"), strict=True):
        value = {**gold(), "vendor": vendor}
        annotation_services.submit(document=seed(), user=desk.people[name], value=value, evidence={}, base_version=0)
    clients = [api_of(desk.project, desk.people[name]) for name in people]
    assert [client.get(f"documents/{document.pk}").json["gold"] for client in clients] == [None, None]
    version = adjudication.open_adjudication(document=seed(), user=reviewer).version
    adjudication.adjudicate(document=seed(), user=reviewer, value=gold(), evidence={}, base_version=version)
    for client in clients:
        shown = client.get(f"documents/{document.pk}").json
        assert shown["gold"]["value"]["vendor"] == "Acme Supplies"
        assert len(shown["labels"]) > 1
        history = client.get(f"documents/{document.pk}/history").json["items"]
        assert {row["user"] for row in history} > {desk.people["manager"].username}


def test_withheld_predictions_are_hidden(desk: Desk, api: Api) -> None:
    document, version = seed(), desk.project.schema_version
    for name, withheld in (("hidden", True), ("shown", False)):
        proposal = {"value": {"vendor": name}, "model": "m", "source": name, "withheld": withheld}
        Prediction.objects.create(document=document, schema_version=version, **proposal)
    owner = api_of(desk.project, desk.people["owner"])
    for client in (api, owner):
        shown = client.get(f"documents/{document.pk}").json["predictions"]
        assert [row["value"]["vendor"] for row in shown] == ["shown"]
    Document.objects.filter(pk=document.pk).update(holdout=True)
    assert owner.get(f"documents/{document.pk}").json["predictions"] == []


# -- review ------------------------------------------------------------------------------------------------------------


@shared_fixture
def submitted(desk: Desk, api: Api) -> Document:
    desk.project.review_required = True
    desk.project.save()
    document = seed()
    assert api.post(f"documents/{document.pk}/submit", {"value": gold(), "base_version": 0}).status == 200
    assert not Gold.objects.exists()
    return document


def test_reviewer_fixes_and_approves(desk: Desk, submitted: Document) -> None:
    reviewer = api_of(desk.project, desk.people["reviewer"])
    wrong = {"base_version": 1, "value": {**gold(), "date": "never"}}
    answer = reviewer.post(f"documents/{submitted.pk}/approve", wrong)
    assert (answer.status, answer.json["errors"][0]["field"]) == (422, "date")
    fixed = {**gold(), "vendor": "Acme"}
    answer = reviewer.post(f"documents/{submitted.pk}/approve", {"base_version": 1, "value": fixed})
    assert (answer.status, answer.json["state"]) == (200, "approved")
    label = reviewer.get(f"documents/{submitted.pk}").json["gold"]
    assert (label["value"], label["approved_by"]) == (fixed, desk.people["reviewer"].username)


def test_reviewer_rejects_with_reason(desk: Desk, submitted: Document, api: Api) -> None:
    reviewer = api_of(desk.project, desk.people["reviewer"])
    answer = reviewer.post(f"documents/{submitted.pk}/reject", {"reason": "The date is that of the order."})
    assert (answer.status, answer.json["state"]) == (200, "rejected")
    opened = api.post(f"documents/{submitted.pk}/open").json
    assert opened["rejection"]["reason"] == "The date is that of the order."
    assert opened["rejection"]["by"] == desk.people["reviewer"].username


def test_review_of_unsubmitted_label_is_409(desk: Desk) -> None:
    reviewer = api_of(desk.project, desk.people["reviewer"])
    assert reviewer.post(f"documents/{seed().pk}/approve", {"base_version": 0}).status == 409
    assert reviewer.post(f"documents/{seed().pk}/reject", {"reason": "no"}).status == 409
    assert reviewer.post(f"documents/{seed().pk}/adjudicate", {"value": gold(), "base_version": 0}).status == 409
    assert reviewer.post("documents/99999999/approve", {"base_version": 0}).status == 404
