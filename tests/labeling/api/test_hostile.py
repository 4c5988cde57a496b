"""What is sent to the REST interface in error or in malice: a clear 4xx, in bounded time, and nothing is changed."""

import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
import redis
from django.test import Client

from labeling.imports.uploads import MAX_UPLOAD
from labeling.models import Annotation, Comment, Document, Webhook
from slmstudio.accounts import shared_counters
from tests.labeling.api_client import Api, api_of
from tests.labeling.desk import Desk, bring_in, invoice, make_desk
from tests.shared_rows import shared_fixture

SAVE = b'{"base_version": 0, "value": %s}'


@shared_fixture
def desk(db: None) -> Desk:
    desk = make_desk()
    bring_in(desk.project, [invoice(1, gold=False)])
    return desk


@shared_fixture
def api(desk: Desk) -> Api:
    return api_of(desk.project, desk.people["owner"])


@shared_fixture
def pk(desk: Desk) -> int:
    return Document.objects.get().pk


@pytest.fixture(autouse=True)
def in_time() -> Iterator[None]:
    started = time.monotonic()
    yield
    assert time.monotonic() - started < 60


NOT_JSON = [
    (b" ", "JSON"),
    (b"{", "JSON"),
    (b"<value/>", "JSON"),
    (b"\xff\xfe{\x00}\x00", "UTF-8"),
    (b'{"a": "\xe9"}', "UTF-8"),
    (b'{"base_version": 0, "base_version": 1, "value": {}}', "occurs twice"),
    (SAVE % b'{"vendor": "a", "vendor": "b"}', "occurs twice"),
    (SAVE % b"NaN", "NaN"),
    (SAVE % b'{"total_amount": -Infinity}', "Infinity"),
    (SAVE % (b"[" * 10_000 + b"]" * 10_000), "64 deep"),
    (SAVE % (b'{"a":' * 10_000 + b"1" + b"}" * 10_000), "64 deep"),
    (SAVE % (b"9" * 400), "60 digits"),
    (SAVE % (b"-0." + b"9" * 400), "60 digits"),
    (SAVE % b"1e999999999", "60 digits"),
    (SAVE % b'"a\\u0000b"', "NUL"),
    (SAVE % b'{"\\u0000": 1}', "NUL"),
    (SAVE % b'"\\ud800"', "surrogate"),
    (SAVE % b'"a\x00b"', "NUL"),
]


@pytest.mark.parametrize(("body", "message"), NOT_JSON)
@pytest.mark.parametrize("path", ["documents/{}/draft", "documents/{}/submit"])
def test_strict_json(api: Api, pk: int, path: str, body: bytes, message: str) -> None:
    answer = api("PUT" if path.endswith("draft") else "POST", path.format(pk), body)
    assert answer.status == 400, answer.json
    assert message in answer.json["detail"]
    assert {"line", "column"} <= set(answer.json)
    assert not Annotation.objects.exists()


@pytest.mark.parametrize("body", [body for body, _ in NOT_JSON])
def test_strict_json_of_rows(api: Api, body: bytes) -> None:
    answer = api("POST", "documents", body)
    assert answer.status == 400, answer.json
    assert Document.objects.count() == 1


@pytest.mark.parametrize("body", [body for body, _ in NOT_JSON if body.strip()])
def test_invalid_line_is_a_rejected_row(api: Api, body: bytes) -> None:
    lines = b'{"text": "before"}\n' + body.replace(b"\n", b"") + b'\n{"text": "after"}\n'
    answer = api("POST", "documents", lines, content_type="application/jsonl")
    assert answer.status == 200, answer.json
    assert (answer.json["imported"], answer.json["rejected"]) == (2, 1)
    assert answer.json["errors"][0]["row"] == 2


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"[]", ""),
        (b"7", ""),
        (b"null", ""),
        (b"", ""),
        (b'{"value": null, "base_version": 0}', "value"),
        (b'"text"', ""),
        (b"{}", "value"),
        (b'{"value": {}}', "base_version"),
        (b'{"value": {}, "base_version": "0"}', "base_version"),
        (b'{"value": {}, "base_version": 0.5}', "base_version"),
        (b'{"value": {}, "base_version": true}', "base_version"),
        (b'{"value": {}, "base_version": -1}', "base_version"),
        (b'{"value": {}, "base_version": 99999999999999999999}', "base_version"),
        (b'{"value": {}, "base_version": 0, "evidence": []}', "evidence"),
        (b'{"value": {}, "base_version": 0, "evidence": null}', "evidence"),
        (b'{"value": {}, "base_version": 0, "seconds": "long"}', "seconds"),
        (b'{"value": {}, "base_version": 0, "seconds": -1}', "seconds"),
        (b'{"value": {}, "base_version": 0, "field_seconds": {"vendor": []}}', "field_seconds.vendor"),
        (b'{"value": {}, "base_version": 0, "prediction": 0}', "prediction"),
        (b'{"value": {}, "base_version": 0, "schema_number": 0}', "schema_number"),
        (b'{"value": {}, "base_version": 0, "submit": true}', "submit"),
        (b'{"value": {}, "base_version": 0, "__class__": "x"}', "__class__"),
    ],
)
def test_invalid_body_names_the_field(api: Api, pk: int, body: bytes, field: str) -> None:
    answer = api("PUT", f"documents/{pk}/draft", body)
    assert answer.status == 422, answer.json
    assert field in [error["field"] for error in answer.json["errors"]], answer.json
    assert not Annotation.objects.exists()


@pytest.mark.parametrize("value", [b"[]", b'"text"', b"7", b"true", b'{"nothing": [[[{}]]]}', b'{"": {"": ""}}'])
def test_a_value_of_any_shape_is_a_draft_and_never_gold(api: Api, pk: int, value: bytes) -> None:
    assert api("PUT", f"documents/{pk}/draft", SAVE % value).status == 200
    body = b'{"base_version": 1, "value": %s}' % value
    answer = api("POST", f"documents/{pk}/submit", body)
    assert answer.status == 422
    assert not Annotation.objects.filter(submitted=True).exists()


@pytest.mark.parametrize(
    "evidence",
    [
        {"vendor": 7},
        {"vendor": []},
        {"vendor": {"start": "a", "end": {}}},
        {"vendor": {"start": -5, "end": 10**30}},
        {"no such field": {"start": 0, "end": 1}},
        {"": {}},
        {"[[[": {"confirmed": True}},
        {"vendor[999999999999999999999]": {"seen": True}},
        {"vendor": {"confirmed": "yes", "of": 9, "seen": [1]}},
    ],
)
def test_invalid_evidence_is_ignored(api: Api, pk: int, evidence: Any) -> None:
    body = {"base_version": 0, "value": {"vendor": "Acme Supplies"}, "evidence": evidence}
    answer = api.put(f"documents/{pk}/draft", body)
    assert answer.status == 200, answer.json
    kept = Annotation.objects.get().evidence
    assert set(kept) <= {"vendor", *evidence}
    for path, place in kept.items():
        assert set(place) <= {"start", "end", "seen"}, path
        assert all(isinstance(value, str if name == "seen" else int) for name, value in place.items())


def test_large_body_is_refused_unread(api: Api, pk: int) -> None:
    class Unread:
        def read(self, *args: Any) -> bytes:
            raise AssertionError("the body was read")

        readline = read

    for path, kind, length in (
        (f"documents/{pk}/draft", "application/json", 21 * 2**20),
        ("documents", "application/jsonl", 21 * 2**20),
        ("documents", "application/json", 2**40),
        ("imports", "multipart/form-data; boundary=x", MAX_UPLOAD + 2**21),
    ):
        method = "PUT" if path.endswith("draft") else "POST"
        request: dict[str, Any] = {"wsgi.input": Unread(), "CONTENT_LENGTH": str(length), "CONTENT_TYPE": kind}
        answer = Client().generic(
            method, f"{api.base}{path}", headers={"Authorization": f"Bearer {api.token}"}, **request
        )
        assert answer.status_code == 413, (path, answer.content)
        assert answer["Content-Type"] == "application/problem+json"
        assert "20 MB" in answer.json()["detail"] or "GB" in answer.json()["detail"]


def test_body_at_the_limit_is_fast(api: Api, pk: int) -> None:
    text = b"x" * (19 * 2**20)
    started = time.monotonic()
    answer = api("PUT", f"documents/{pk}/draft", SAVE % (b'{"vendor": "%s"}' % text))
    assert answer.status in (200, 413, 422), answer.status
    assert time.monotonic() - started < 30


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--x",
        b"--x\r\nContent-Disposition: form-data; name=file; filename=a.jsonl\r\n\r\n{}",
        b"--x\r\nContent-Disposition: form-data; name=file\r\n\r\n{}\r\n--x--\r\n",
        b"--x\r\n\r\n\r\n--x--",
        b"\x00" * 100,
    ],
)
@pytest.mark.parametrize("kind", ["multipart/form-data; boundary=x", "multipart/form-data", "application/json"])
def test_invalid_upload(api: Api, body: bytes, kind: str) -> None:
    answer = api("POST", "imports", body, content_type=kind)
    assert answer.status in (400, 422), (answer.status, answer.json)
    assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    "path",
    [
        "documents/0",
        "documents/99999999999999999999999999999999",
        "documents/" + "9" * 5_000,
        "documents/-1",
        "documents/1e3",
        "documents/%00",
        "documents/../../../etc/passwd",
        "datasets/999999999999999999999",
        "imports/99999999999999999999/rejected",
        "webhooks/99999999999999999999/deliveries",
        "tokens/x",
    ],
)
def test_invalid_ids(api: Api, path: str) -> None:
    answer = api.get(path)
    assert answer.status == 404, answer.json
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_ids_of_another_project_are_unknown(desk: Desk, api: Api) -> None:
    other = make_desk("other")
    bring_in(other.project, [invoice(2, gold=False)])
    theirs = Document.objects.exclude(project=desk.project).get()
    stranger = api_of(other.project, other.people["owner"])
    found = stranger.post(f"documents/{theirs.pk}/comments", {"text": "ours"}).json["id"]
    sent = {"value": {}, "base_version": 0}
    for method, path, body in (
        ("GET", "", None),
        ("GET", "/history", None),
        ("GET", "/comments", None),
        ("POST", "/comments", {"text": "x"}),
        ("POST", f"/comments/{found}/resolve", {}),
        ("POST", "/open", {}),
        ("POST", "/release", {}),
        ("PUT", "/draft", sent),
        ("POST", "/submit", sent),
        ("POST", "/skip", {"reason": "x"}),
        ("PUT", "/tags", {"tags": []}),
        ("POST", "/restore", {"revision": 1, "base_version": 0}),
        ("POST", "/review", {}),
        ("POST", "/approve", {"base_version": 0}),
        ("POST", "/reject", {"reason": "x"}),
        ("POST", "/adjudicate", sent),
    ):
        assert api(method, f"documents/{theirs.pk}{path}", body).status == 404, (method, path)
    assert Comment.objects.get().resolved_at is None
    assert not Annotation.objects.exists()


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("documents?stat=new", "stat"),
        ("documents?limit=5&limits=6", "limits"),
        ("progress?x=1", "x"),
        ("documents/1?expand=all", "expand"),
        ("export?shape=csv&foo[]=1", "foo[]"),
        ("contract?versio=1", "versio"),
    ],
)
def test_unknown_parameter_is_named(api: Api, path: str, name: str) -> None:
    answer = api.get(path)
    assert (answer.status, answer.json["errors"][0]["field"]) == (422, name)
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_thousands_of_parameters_are_a_bad_request(api: Api) -> None:
    assert api.get("documents?" + "&".join(f"a{n}=1" for n in range(2_000))).status == 400


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "\u202egnp.exe",
        "a\u200bb",
        "=cmd|' /C calc'!A0",
        "{{ 7*7 }}",
        "'; DROP TABLE x; --",
    ],
)
def test_texts_are_unchanged(api: Api, pk: int, text: str) -> None:
    assert api.put(f"documents/{pk}/draft", {"value": {"vendor": text}, "base_version": 0}).json["value"] == {
        "vendor": text
    }
    assert api.post(f"documents/{pk}/comments", {"text": text}).json["text"] == text
    assert api.get(f"documents?{urlencode({'q': text})}").status == 200


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1/", "http://169.254.169.254/latest", "file:///etc/passwd", "gopher://x/", "http://[::1]/", "x"],
)
def test_internal_webhook_is_refused(api: Api, url: str) -> None:
    answer = api.post("webhooks", {"url": url, "events": ["document.submitted"]})
    assert (answer.status, answer.json["errors"][0]["field"]) == (422, "url")
    assert not Webhook.objects.exists()


@pytest.mark.parametrize("host", ["evil.example", "localhost:8000@evil.example", "a b"])
def test_another_host_in_the_header_is_a_bad_request(api: Api, host: str) -> None:
    assert api.get("documents", HTTP_HOST=host).status == 400


def test_rate_limit(api: Api, settings: Any, queues: None) -> None:
    settings.API_REQUESTS_PER_MINUTE = 3
    for _ in range(7):  # a minute may end in between, once
        answer = api.get("progress")
        if answer.status == 429:
            break
    assert answer.status == 429
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_no_rate_limit_without_queue(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone() -> None:
        raise redis.ConnectionError

    monkeypatch.setattr(shared_counters, "_connection", gone)
    assert api.get("progress").status == 200
