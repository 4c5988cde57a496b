"""Uploads that take too long to read end in a message, at every door that shows them before their import."""

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission

from labeling.api.imports import MAX_IMMEDIATE_ROWS
from labeling.imports import uploads
from labeling.imports.formats.jsonl import parse_jsonl
from labeling.imports.rows import RowError, validate_row
from labeling.models import ImportRun, Project
from slmstudio.contract.schema.compiled import compile_schema
from slmstudio.runs.limited_child import LimitedChild
from slmstudio.storage import artifacts
from tests.labeling.api_client import api_of
from tests.labeling.conversation_files import FILES, PROMPTS
from tests.labeling.desk import Desk, make_desk
from tests.labeling.import_files import packed
from tests.labeling.import_pages import PAGE, TABLE, columns_url, file, upload_token
from tests.shared_rows import shared_fixture

pytestmark = pytest.mark.django_db
CHAT = FILES["openai.jsonl"][1]().encode()


@shared_fixture
def desk() -> Desk:
    desk = make_desk()
    desk.people["engineer"].user_permissions.add(Permission.objects.get(codename="add_project"))
    return desk


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A child that detects a format and does nothing else within its time."""
    child = LimitedChild("tests.limited_program", cpu_seconds=0.2)
    monkeypatch.setattr(uploads, "_CHILD", child)
    yield
    child.close()


def uploaded(desk: Desk) -> str:
    """The address of the page of a file of exchanges."""
    return str(desk.as_("engineer").post(desk.url(PAGE), {"file": file("train.jsonl", CHAT)})["Location"])


def test_pages_say_that_a_file_takes_too_long(desk: Desk, endless: None) -> None:
    client = desk.as_("engineer")
    address = uploaded(desk)
    page = client.get(address)
    assert (page.status_code, bool(page.context["error"])) == (200, True)
    form = {"u": upload_token(address)}
    assert client.post(desk.url(f"{PAGE}exchanges/instruction/"), form)["Location"] == desk.url(PAGE)
    table = client.get(columns_url(desk))
    assert (table.status_code, bool(table.context["error"])) == (200, True)
    assert client.post(desk.url(f"{PAGE}columns/"), {"u": upload_token(columns_url(desk))}).status_code == 422
    assert not ImportRun.objects.exists()


def test_no_project_and_no_preview_begins_with_such_a_file(desk: Desk, endless: None) -> None:
    before = files()
    answer = desk.as_("engineer").post("/new/", {"name": "New", "file": file("train.jsonl", CHAT)})
    assert (answer.status_code, list(answer.context["form"].errors)) == (422, ["file"])
    assert not Project.objects.filter(slug="new").exists()
    api = api_of(desk.project, desk.people["engineer"])
    for name, content in (("train.jsonl", CHAT), ("rows.csv", TABLE), ("rows.json", b"[]")):
        sent = {"file": file(name, content)}
        answer = api.client.post(f"{api.base}imports/preview", sent, headers={"Authorization": f"Bearer {api.token}"})
        assert answer.status_code == 422
        assert [error["field"] for error in answer.json()["errors"]] == ["file"]
    assert files() == before


def files() -> set[Path]:
    """The stored files of imports."""
    return {path for path in Path(artifacts.store().path("imports")).rglob("*") if path.is_file()}


DEEP = "[" * 60 + "]" * 60
HOSTILE: dict[str, Any] = {
    "time.jsonl": f'{{"prompt": "Invoice", "completion": "{{}}", "created": "{"9" * 400}"}}\n',
    "number.jsonl": f'{{"prompt": "Invoice", "completion": "{{\\"total\\": {"9" * 100_000}}}"}}\n',
    "exponent.jsonl": '{"prompt": "Invoice", "completion": "{\\"total\\": 1e999999999}"}\n',
    "nested.jsonl": f'{{"messages": [{{"role": "user", "content": {DEEP}}}]}}\n',
    "generations.jsonl": f'{{"run_type": "llm", "inputs": {{"messages": []}}, "outputs": {{"generations": {DEEP}}}}}\n',
    "pages.jsonl": '{"object": "list", "data": [' + '{"object": "list", "data": [' * 25 + "]}" * 26 + "\n",
    "braces.jsonl": json.dumps({"prompt": "Invoice", "completion": "{" * 100_000}) + "\n",
    "fences.jsonl": json.dumps({"prompt": "Invoice", "completion": "```\n" * 50_000 + "{"}) + "\n",
    "thoughts.jsonl": json.dumps({"prompt": "Invoice", "completion": "<think>" * 50_000}) + "\n",
    "prompts.jsonl": "".join(
        json.dumps({"prompt": ". " * 20_000 + str(number), "completion": "{}"}) + "\n" for number in range(50)
    ),
    "spans.json": json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [{"attributes": {}}] * 10_000}]}]}),
    "attributes.json": json.dumps(
        {"resourceSpans": [{"scopeSpans": [{"spans": [{"attributes": [
            {"key": f"gen_ai.prompt.{'9' * 3_000}.content", "value": {"stringValue": PROMPTS[0]}}] * 200}]}]}]}
    ),
    "columns.csv": ",".join(["a"] * 5_000) + "\n",
    "quotes.csv": 'text,category\n' + '"\n' * 100_000,
    "cells.csv": "text,category\n" + "".join(f"ticket,{'9' * 50_000}\n" for _ in range(50)),
    "commas.json": "[" + "," * 200_000,
    "quotes.json": '[{"text": "' + '\\"' * 100_000,
    "tasks.json": json.dumps([{"data": {"text": "x"}, "annotations": [{"result": [
        {"from_name": f"items[{'9' * 20}].amount", "value": {"text": ["1"]}}] * 2_000}]}]),
    "labels.json": json.dumps([{"data": {"text": "x" * 100_000}, "annotations": [{"result": [
        {"from_name": "label", "value": {"start": 0, "end": 100_000, "labels": ["vendor"]}}] * 500}]}]),
    "many.zip": packed({f"{number}.jsonl": '{"text": "x"}' for number in range(3_000)}),
    "bytes.txt": bytes(range(256)) * 4_000,
    "wide.txt": "\ufeff" + "é" * 500_000,
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_read_in_time(tmp_path: Path, name: str) -> None:
    """Each is read, or refused with a message, within the limits that one request has."""
    content = HOSTILE[name]
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    file = {"path": str(path), "name": name}
    schema = '{"type":"object","properties":{"vendor":{}}}'
    context = {"folder": str(tmp_path), "options": {}, "schema": schema, "sample": ""}

    def asked(action: str, **request: Any) -> Any:
        return json.loads(uploads._CHILD.ask(json.dumps([action, {**file, **request}])))

    kind = asked("detect")["value"]
    if kind == "chats":
        answer = asked("exchanges", kind=kind, **context)
    elif kind == "csv":
        answer = asked("table", kind=kind, **context, chosen=[])
    else:
        answer = asked("rows", kind=kind, **context)
    assert answer.get("error") or answer["value"]


#: bodies of requests with rows, which the web process reads itself; each has at most 1 MB
LINES = {
    "numbers": b'{"text": "x", "gold": {"total": ' + b"9" * 750_000 + b"}}",
    "exponents": b'{"text": "x", "gold": [' + b"1e59," * 150_000 + b"1]}",
    "nested": b'{"text": "x", "gold": ' + b"[" * 250_000,
    "braces": b'{"text": "x", "gold": ' + b"{" * 250_000,
    "names": b'{"text": "x", ' + b",".join(b'"%d": 0' % number for number in range(50_000)) + b"}",
    "same name": b'{"text": "x", ' + b",".join(b'"a": 0' for _ in range(75_000)) + b"}",
    "escapes": b'{"text": "' + b"\\u00e9" * 125_000 + b'"}',
    "surrogates": b'{"text": "' + b"\\ud800" * 125_000 + b'"}',
    "quotes": b'{"text": "' + b'\\"' * 375_000,
    "backslashes": b"\\" * 750_000,
    "tags": b'{"text": "x", "tags": [' + b'"a",' * 125_000 + b'"b"]}',
    "metadata": b'{"text": "x", "note": ' + b"[" * 50 + b'"",' * 75_000 + b'""' + b"]" * 50 + b"}",
    "lines": b"{}\n" * 250_000,
}


def test_rows_in_a_request_take_linear_time() -> None:
    compiled = compile_schema({"type": "object", "properties": {"total": {"type": "number"}}})
    for name, body in LINES.items():
        started = time.process_time()
        for parsed in islice(parse_jsonl(BytesIO(body)), MAX_IMMEDIATE_ROWS):
            with suppress(RowError):
                validate_row(parsed, compiled)
        assert time.process_time() - started < 1.5, name
