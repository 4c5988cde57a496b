"""Data in and out over HTTP: rows, files, predictions, lists, datasets, exports."""

import json
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from labeling.imports import services as import_services
from labeling.integrations import tokens
from labeling.models import Document, Gold, ImportRun, Prediction
from tests.labeling.api_client import Api, api_of
from tests.labeling.desk import Desk, bring_in, invoice, jsonl, make_desk
from tests.shared_rows import shared_fixture


@shared_fixture
def api(desk: Desk) -> Api:
    return api_of(desk.project, desk.people["engineer"])


# -- rows --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["application/json", "application/jsonl", "application/x-ndjson"])
def test_rows_are_imported_immediately(desk: Desk, api: Api, kind: str) -> None:
    rows = [invoice(1), invoice(2, gold=False), invoice(1), {"id": "no-text"}, {**invoice(3), "gold": {"date": "x"}}]
    body = json.dumps(rows).encode() if kind == "application/json" else jsonl(rows)
    answer = api("POST", "documents?source=erp", body, content_type=kind)
    assert answer.status == 200, answer.json
    counted = {name: answer.json[name] for name in ("imported", "duplicates", "rejected")}
    assert counted == {"imported": 2, "duplicates": 1, "rejected": 2}
    assert [(error["row"], error["id"]) for error in answer.json["errors"]] == [(4, "no-text"), (5, "inv-0003")]
    assert "text" in answer.json["errors"][0]["message"]
    assert set(Document.objects.values_list("source", flat=True)) == {"erp"}
    assert Gold.objects.count() == 1


def test_many_rows_become_an_import_in_the_background(desk: Desk, api: Api, queues: None) -> None:
    rows = [invoice(number) for number in range(1_001)]
    for body, kind in ((json.dumps(rows).encode(), "application/json"), (jsonl(rows), "application/jsonl")):
        answer = api("POST", "documents", body, content_type=kind)
        assert answer.status == 202, answer.json
        assert answer.json["status"] == "queued"
        assert api.get(f"imports/{answer.json['id']}").json["id"] == answer.json["id"]
    run = ImportRun.objects.earliest("pk")
    assert run.claim()
    import_services.process(run)
    after = api.get(f"imports/{run.pk}").json
    assert (after["status"], after["imported"], after["rejected"]) == ("done", 1_001, 0)
    assert api.get(f"imports/{run.pk}/rejected").status == 404
    assert [row["id"] for row in api.get("imports").json["items"]] == sorted(
        ImportRun.objects.values_list("pk", flat=True), reverse=True
    )


def test_body_without_rows(desk: Desk, api: Api) -> None:
    for body, kind, status, message in (
        (b"[]", "application/json", 422, "no rows"),
        (b"\n \n", "application/jsonl", 422, "no rows"),
        (b"{}", "application/json", 422, "list of rows"),
        (b"text", "text/plain", 415, "application/jsonl"),
        (b"<x/>", "", 415, "application/jsonl"),
    ):
        answer = api("POST", "documents", body, content_type=kind)
        assert (answer.status, message in answer.json["detail"]) == (status, True), answer.json
    assert not Document.objects.exists()


def upload(api: Api, name: str, content: bytes, **fields: str) -> Any:
    return Client().post(
        f"{api.base}imports",
        {"file": SimpleUploadedFile(name, content), **fields},
        headers={"Authorization": f"Bearer {api.token}"},
    )


def test_a_file_is_imported_in_the_background(desk: Desk, api: Api, queues: None) -> None:
    answer = upload(api, "rows.jsonl", jsonl([invoice(1), "{"]), as_holdout="true")
    assert answer.status_code == 202, answer.content
    run = ImportRun.objects.get()
    assert (run.as_holdout, run.file_name) == (True, "rows.jsonl")
    assert run.claim()
    import_services.process(run)
    after = api.get(f"imports/{run.pk}").json
    assert (after["status"], after["imported"], after["rejected"]) == ("done", 1, 1)
    assert after["errors"][0]["row"] == 2
    assert json.loads(api.get(f"imports/{run.pk}/rejected").raw)["line"] == "{"
    queued = upload(api, "rows.jsonl", jsonl([invoice(2)])).json()["id"]
    assert api.post(f"imports/{queued}/cancel").json["status"] == "cancelled"


def test_unsupported_file(desk: Desk, api: Api) -> None:
    cases: list[tuple[str, bytes, dict[str, str], str]] = [
        ("rows.jsonl", b"", {}, "empty"),
        ("rows.jsonl", b"{}", {"kind": "floppy"}, "Unknown format floppy"),
        ("rows.jsonl", b"{}", {"options": "{"}, "not valid JSON"),
        ("rows.jsonl", b"{}", {"options": "[]"}, "JSON object"),
        ("rows.csv", b"text", {"options": '{"colums": {}}'}, "Unknown option colums"),
        ("rows.csv", b"text", {"options": '{"columns": {"text": ["text"]}}'}, "maps column names to roles"),
        ("rows.csv", b"text", {"options": '{"columns": "text"}'}, "columns must be an object"),
        ("rows.jsonl", b"{}", {"options": '{"columns": {"a": "text"}}'}, "for tables only"),
        ("rows.csv", b"text", {"options": '{"delimiter": {}}'}, "delimiter must be one of"),
        ("rows.csv", b"text", {"options": '{"header": 0}'}, "true, false"),
        ("rows.jsonl", b"{}", {"as_holdout": "perhaps"}, "true or false"),
        ("rows.jsonl", b"{}", {"holdout": "true"}, "Unknown field holdout"),
    ]
    for name, content, fields, message in cases:
        answer = upload(api, name, content, **fields)
        assert answer.status_code == 422, fields
        assert message in answer.json()["detail"]
    assert not ImportRun.objects.exists()


# -- the list ----------------------------------------------------------------------------------------------------------


def test_list_is_filtered_and_paginated(desk: Desk, api: Api) -> None:
    bring_in(desk.project, [invoice(number, gold=number != 2) for number in range(25)])
    names, after = [], ""
    for _ in range(3):
        page = api.get(f"documents?limit=10&after={after}").json
        names += [row["external_id"] for row in page["items"]]
        after = page["next_after"]
    assert names == [f"inv-{number:04}" for number in range(25)]
    assert after is None
    for query, expected in (
        ("state=new", ["inv-0002"]),
        ("external_id=inv-0002", ["inv-0002"]),
        ("external_id=inv-9999", []),
        ("field=total_amount&op=less&value=4&order=newest", ["inv-0003", "inv-0001", "inv-0000"]),
    ):
        answer = api.get(f"documents?{query}")
        assert [row["external_id"] for row in answer.json["items"]] == expected, query


def test_invalid_filter_is_named(desk: Desk, api: Api) -> None:
    for query, field in (
        ("state=lost", "state"),
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=ten", "limit"),
        ("after=elsewhere", "after"),
        ("below=101", "below"),
        ("below=nan", "below"),
        ("stat=new", "stat"),
        ("q=%00", "q"),
        ("q=" + "x" * 201, "q"),
        ("field=nothing&op=is&value=1", "field"),
        ("field=total_amount&op=is&value=much", "field"),
        ("field=total_amount&op=like&value=1", "op"),
        ("order=random", "order"),
        ("external_id=a&state=new", "external_id"),
    ):
        answer = api.get(f"documents?{query}")
        assert answer.status == 422, query
        assert field in answer.json["errors"][0]["field"], query
    assert api.get("documents?field=total_amount&op=is").status == 422, "a condition has three parameters"


def test_document_detail_and_progress(desk: Desk, api: Api) -> None:
    bring_in(desk.project, [{**invoice(7), "customer": "C-9", "tags": ["ocr_noise"]}, invoice(2, gold=False)])
    pk = Document.objects.get(external_id="inv-0007").pk
    detail = api.get(f"documents/{pk}").json
    assert (detail["metadata"], detail["tags"]) == ({"customer": "C-9"}, ["ocr_noise"])
    assert detail["gold"]["value"] == detail["labels"][0]["value"]
    assert (detail["gold"]["origin"], detail["labels"][0]["user"]) == ("imported", None)
    assert detail["url"] == f"/p/desk/documents/{pk}/"
    progress = api.get("progress").json
    assert [progress[name] for name in ("documents", "labelled", "gold", "left")] == [2, 1, 1, 1]
    assert progress["states"]["new"] == 1


# -- predictions -------------------------------------------------------------------------------------------------------


def test_predictions_are_stored(desk: Desk, api: Api) -> None:
    desk.project.withheld_share = 0
    desk.project.save()
    bring_in(desk.project, [invoice(number, gold=False) for number in range(4)])
    ids = list(Document.objects.order_by("pk").values_list("pk", flat=True))
    Document.objects.filter(pk=ids[3]).update(holdout=True)
    body = {
        "model": "some model",
        "source": "night 1",
        "predictions": [
            {
                "document": ids[0],
                "value": invoice(0)["gold"],
                "confidence": {"vendor": 0.5},
                "seconds": 0.25,
            },
            {"external_id": "inv-0001", "value": {"vendor": 7}},
            {"document": ids[2], "raw": "I cannot do that."},
            {"document": ids[3], "value": {}},
            {"external_id": "inv-9999", "value": {}},
        ],
    }
    answer = api.post("predictions", body)
    assert answer.status == 200, answer.json
    assert {**answer.json, "errors": None} == {
        "written": 3,
        "repeated": 0,
        "held_out": 1,
        "gone": 1,
        "unusable": 1,
        "errors": None,
    }
    assert answer.json["errors"][0]["row"] == 5
    assert not Gold.objects.exists()
    assert {row.source for row in Prediction.objects.all()} == {"api:night 1"}
    again = api.post("predictions", body).json
    assert (again["written"], again["repeated"]) == (0, 3)
    opened = api_of(desk.project, desk.people["annotator"]).post(f"documents/{ids[0]}/open").json
    assert opened["prediction"]["value"] == opened["value"] == invoice(0)["gold"]
    assert opened["prediction"]["confidence"] == {"vendor": 0.5}


def test_invalid_predictions_change_nothing(desk: Desk, api: Api) -> None:
    bring_in(desk.project, [invoice(1, gold=False)])
    cases: list[tuple[list[Any], str]] = [
        ([{"value": {}}], "document or external_id"),
        ([{"document": 1, "external_id": "a", "value": {}}], "document or external_id"),
        ([{"document": 1}], "value or raw"),
        ([{"document": 1, "value": {}, "raw": "{}"}], "value or raw"),
        ([{"external_id": "inv-0001", "value": {}}] * 2, "same document"),
        ([], "predictions"),
        ([{"document": "1", "value": {}}], "an integer"),
        ([{"document": 1, "value": {}, "confidence": {"a": 1.5}}], "confidence"),
        ([{"document": 1, "value": {}, "confidense": {}}], "is unknown"),
        ([{"document": 1, "raw": "x"}] * 1_001, "predictions"),
    ]
    for items, message in cases:
        answer = api.post("predictions", {"model": "m", "source": "s", "predictions": items})
        assert answer.status == 422, message
        assert message in answer.json["detail"]
    other = make_desk("other")
    bring_in(other.project, [invoice(1, gold=False)])
    foreign = [{"document": Document.objects.get(project=other.project).pk, "value": {}}]
    assert api.post("predictions", {"model": "m", "source": "s", "predictions": foreign}).json["gone"] == 1
    assert not Prediction.objects.exists()


# -- what goes out -----------------------------------------------------------------------------------------------------


def test_gold_export_in_every_format(desk: Desk, api: Api) -> None:
    bring_in(desk.project, [invoice(1), invoice(2), invoice(3, gold=False)])
    rows = [json.loads(line) for line in api.get("export").raw.splitlines()]
    assert [row["id"] for row in rows] == ["inv-0001", "inv-0002"]
    assert rows[0]["gold"] == invoice(1)["gold"]
    chosen = api.get("export?q=inv-0002&shape=chat").raw.splitlines()
    assert len(chosen) == 1
    assert "messages" in json.loads(chosen[0])
    for shape in ("instruct", "completion", "csv", "label-studio", "hf"):
        answer = api.get(f"export?shape={shape}")
        assert answer.status == 200, shape
        assert len(answer.raw) > 100, shape
        assert "attachment" in answer.headers["Content-Disposition"]
    assert len(api.get("export?part=all").raw.splitlines()) == 3
    assert api.get("export?shape=xml").status == 422


def test_a_version_is_frozen_read_and_exported(desk: Desk, api: Api, queues: None) -> None:
    from labeling.datasets import freeze
    from labeling.models import FreezeRun

    bring_in(desk.project, [invoice(number) for number in range(20)])
    started = api.post("datasets", {"seed": 3, "holdout_share": 0.2})
    assert started.status == 202, started.json
    run = FreezeRun.objects.get()
    assert run.claim()
    freeze.process(run)
    state = api.get(f"datasets/freezes/{run.pk}").json
    assert (state["status"], state["dataset"]) == ("done", 1), state
    version = api.get("datasets/1").json
    assert version["seed"] == 3
    assert version["counts"]["documents"] == len(api.get("datasets/1/export?shape=rows").raw.splitlines())
    held = api.get("datasets/1/export?shape=rows&split=holdout").raw.splitlines()
    assert {json.loads(line)["split"] for line in held} == {"holdout"}
    splits = version["counts"]["splits"]
    for split, name in (("", "train"), ("&split=validation", "validation"), ("&split=holdout", "holdout")):
        assert len(api.get(f"datasets/1/export?shape=chat{split}").raw.splitlines()) == splits[name]
    labeled = splits["train"] + splits["validation"]
    for query, count in (("", labeled), ("&holdout=yes", splits["holdout"]), ("&split=holdout", splits["holdout"])):
        assert len(api.get(f"export?shape=instruct{query}").raw.splitlines()) == count
    assert [row["number"] for row in api.get("datasets").json["items"]] == [1]
    assert api.get("datasets/2").status == 404


def test_invalid_freeze(desk: Desk, api: Api) -> None:
    for name, value in (("seed", -1), ("holdout_share", 2), ("group_by", "moon"), ("x", 1)):
        answer = api.post("datasets", {name: value})
        assert (answer.status, answer.json["errors"][0]["field"]) == (422, name)


# -- projects and tokens -----------------------------------------------------------------------------------------------


def test_projects_and_their_contract(desk: Desk, api: Api) -> None:
    [project] = api.get("/api/v1/projects").json["items"]
    assert (project["slug"], project["role"]) == ("desk", "engineer")
    assert "webhooks" not in project["scopes"]
    assert api.get("/api/v1/projects/desk").json["schema_number"] == 1
    contract = api.get("contract").json
    assert list(contract["schema"]["properties"])[:2] == ["invoice_id", "date"]
    assert api.get("contract?version=2").status == 404


def test_own_tokens(desk: Desk, api: Api) -> None:
    tokens.create(project=desk.project, user=desk.people["owner"], name="not mine", scopes=["read"], days=None)
    second, _ = tokens.create(
        project=desk.project, user=desk.people["engineer"], name="second", scopes=["read"], days=9
    )
    rows = api.get("tokens").json["items"]
    assert [(row["name"], row["this"]) for row in rows] == [("second", False), ("test", True)]
    assert api("DELETE", f"tokens/{second.pk}").status == 403
    assert api("DELETE", f"tokens/{rows[1]['id']}").status == 204
    assert api.get("tokens").status == 401
