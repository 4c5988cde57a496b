"""Drafts of schemas and previews of imports over HTTP: what they say, and that nothing is stored."""

from typing import Any

from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from labeling.models import Document, ImportRun, SchemaVersion
from slmstudio.contract.schema.compiled import compile_schema
from slmstudio.storage import artifacts
from tests.labeling.api_client import Api, api_of
from tests.labeling.conversation_files import DOCUMENTS, FILES, PREFIX, SYSTEM
from tests.labeling.desk import Desk, bring_in, invoice, jsonl
from tests.shared_rows import shared_fixture

CHAT = FILES["openai.jsonl"][1]().encode()


@shared_fixture
def api(desk: Desk) -> Api:
    return api_of(desk.project, desk.people["engineer"])


def test_a_text_becomes_a_draft(desk: Desk, api: Api) -> None:
    for text, source, fields in (
        ('{"total": 1.5, "date": "2026-01-14"}\n{"total": 2}', "examples", {"total", "date"}),
        ('{"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "string"}}}}', "schema", {"a"}),
        ('{"components": {"schemas": {"A": {"properties": {"b": {"type": "integer"}}}}}}', "schema", {"b"}),
    ):
        answer = api.post("contract/drafts", {"text": text})
        assert answer.status == 200, answer.json
        patterns = {field.pattern for field in compile_schema(answer.json["schema"]).fields}
        assert (answer.json["source"], patterns) == (source, fields)
    assert SchemaVersion.objects.filter(project=desk.project).count() == 1
    inferred = api.post("contract/drafts", {"text": '{"date": "2026-01-14"}\n{"date": null}\n{"x'}).json
    assert {reason["pattern"] for reason in inferred["reasons"] if reason["pattern"]} == {"date"}
    assert len(inferred["notes"]) == 1
    schema = '{"properties": {"id": {"type": "string", "format": "uuid4", "pattern": "(?=a)a"}}}'
    translated = api.post("contract/drafts", {"text": schema}).json
    assert translated["notes"]
    assert translated["unsupported"]


def test_a_refusal_names_the_place(api: Api) -> None:
    cases: list[tuple[dict[str, Any], str, int | None]] = [
        ({}, "text", None),
        ({"text": "just words"}, "text", 1),
        ({"text": "class A(BaseModel):\n    x: int\n"}, "text", None),
        ({"text": '\n{"a": }'}, "text", 2),
        ({"text": '{"properties": {"a": {"type": "string", "enum": []}}}'}, "text", None),
        ({"labels": True}, "labels", None),
    ]
    for body, field, line in cases:
        answer = api.post("contract/drafts", body)
        assert (answer.status, answer.json.get("line")) == (422, line), answer.json
        assert answer.json["errors"][0]["field"] == field


def test_a_draft_of_the_labels(desk: Desk, api: Api) -> None:
    bring_in(desk.project, [invoice(number) for number in range(3)])
    draft = api.post("contract/drafts", {"labels": True}).json
    assert set(draft["schema"]["properties"]) == set(invoice(1)["gold"])


# -- previews ----------------------------------------------------------------------------------------------------------


def preview(api: Api, name: str, content: bytes, status: int = 200, **fields: str) -> Any:
    answer = Client().post(
        f"{api.base}imports/preview",
        {"file": SimpleUploadedFile(name, content), **fields},
        headers={"Authorization": f"Bearer {api.token}"},
    )
    assert answer.status_code == status, answer.content
    assert not ImportRun.objects.exists()
    assert not Document.objects.exists()
    return answer.json()


def test_preview_of_exchanges(api: Api) -> None:
    answer = preview(api, "train.jsonl", CHAT)
    assert (answer["kind"], answer["rows"], answer["valid"]) == ("chats", 4, 4)
    exchanges = answer["exchanges"]
    assert [row["text"] for row in exchanges["documents"]] == DOCUMENTS
    assert (exchanges["answers"], exchanges["matching"]) == (4, 0)
    assert exchanges["instruction"] == f"{SYSTEM}\n\n{PREFIX.strip()}"
    assert list(exchanges["draft"]["schema"]["properties"]) == ["invoice_id", "total"]
    assert exchanges["draft"]["reasons"]
    kept = preview(api, "train.jsonl", CHAT, options='{"prompt": "keep"}')
    assert all(PREFIX in row["text"] for row in kept["exchanges"]["documents"])


def test_preview_of_a_table_and_of_rows(api: Api) -> None:
    table = b"text,vendor\na,Acme\nb,Beta\n"
    columns = preview(api, "rows.csv", table)["columns"]
    assert columns["roles"] == {"text": "text", "vendor": "gold:vendor"}
    assert columns["detected"]["delimiter"] == ","
    assert columns["first_rows"] == [["a", "Acme"], ["b", "Beta"]]
    other = preview(api, "rows.csv", table, options='{"columns": {"vendor": "beside"}}')
    assert (other["columns"]["roles"]["vendor"], other["rows"], other["valid"]) == ("beside", 2, 2)
    wrong = preview(api, "rows.csv", table, options='{"columns": {"text": "drop"}}')
    assert (wrong["rows"], bool(wrong["columns"]["error"])) == (0, True)
    rows = preview(api, "rows.jsonl", jsonl([invoice(1), {"id": "x"}]))
    assert (rows["rows"], rows["valid"], len(rows["errors"])) == (2, 1, 1)
    assert "columns" not in rows


def test_a_file_without_a_preview(api: Api) -> None:
    cases: list[tuple[str, bytes, dict[str, str], str]] = [
        ("rows.jsonl", b"", {}, "file"),
        ("a.pdf", b"%PDF-1.4", {}, "file"),
        ("rows.csv", b"a\n1\n", {"options": '{"colums": {}}'}, "options"),
        ("rows.csv", b"a\n1\n", {"as_holdout": "true"}, "as_holdout"),
    ]
    for name, content, fields, field in cases:
        assert preview(api, name, content, 422, **fields)["errors"][0]["field"] == field


def test_a_preview_leaves_no_file(api: Api) -> None:
    def files() -> set[str]:
        store = artifacts.store()
        folders = store.listdir("imports")[0] if store.exists("imports") else []
        return {f"{folder}/{name}" for folder in folders for name in store.listdir(f"imports/{folder}")[1]}

    before = files()
    preview(api, "train.jsonl", CHAT)
    preview(api, "rows.csv", b"text\na\n")
    assert files() == before
