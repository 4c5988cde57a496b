"""What is sent to the REST interface in error or in malice: a clear 4xx, in bounded time, and nothing is changed."""

import time
from typing import Any
from urllib.parse import urlencode

import pytest
import redis
from django.test import Client

from labeling.imports.uploads import MAX_UPLOAD
from labeling.models import Annotation, Comment, Document
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


NOT_JSON = [
    (b" ", "JSON"),
    (b"<value/>", "JSON"),
    (b"\xff\xfe{\x00}\x00", "UTF-8"),
    (b'{"base_version": 0, "base_version": 1, "value": {}}', "occurs twice"),
    (SAVE % b'{"vendor": "a", "vendor": "b"}', "occurs twice"),
    (SAVE % b"NaN", "NaN"),
    (SAVE % (b"[" * 10_000 + b"]" * 10_000), "64 deep"),
    (SAVE % (b"9" * 400), "60 digits"),
    (SAVE % b"1e999999999", "60 digits"),
    (SAVE % b'"a\\u0000b"', "NUL"),
    (SAVE % b'"\\ud800"', "surrogate"),
]


def test_strict_json(api: Api, pk: int) -> None:
    for body, message in NOT_JSON:
        for method, path in (("PUT", f"documents/{pk}/draft"), ("POST", f"documents/{pk}/submit")):
            answer = api(method, path, body)
            assert answer.status == 400, (body[:40], answer.json)
            assert message in answer.json["detail"]
            assert {"line", "column"} <= set(answer.json)
        assert api("POST", "documents", body).status == 400, body[:40]
    assert not Annotation.objects.exists()
    assert Document.objects.count() == 1


def test_invalid_line_is_a_rejected_row(api: Api) -> None:
    for number, (body, _) in enumerate(NOT_JSON[1:]):
        lines = b'{"text": "before %d"}\n%s\n{"text": "after %d"}\n' % (number, body.replace(b"\n", b""), number)
        answer = api("POST", "documents", lines, content_type="application/jsonl")
        assert answer.status == 200, answer.json
        assert (answer.json["imported"], answer.json["rejected"]) == (2, 1), body[:40]
        assert answer.json["errors"][0]["row"] == 2


INVALID_FIELDS = [
    (b"[]", ""),
    (b"", ""),
    (b'{"value": null, "base_version": 0}', "value"),
    (b"{}", "value"),
    (b'{"value": {}}', "base_version"),
    (b'{"value": {}, "base_version": true}', "base_version"),
    (b'{"value": {}, "base_version": -1}', "base_version"),
    (b'{"value": {}, "base_version": 99999999999999999999}', "base_version"),
    (b'{"value": {}, "base_version": 0, "evidence": []}', "evidence"),
    (b'{"value": {}, "base_version": 0, "seconds": "long"}', "seconds"),
    (b'{"value": {}, "base_version": 0, "field_seconds": {"vendor": []}}', "field_seconds.vendor"),
    (b'{"value": {}, "base_version": 0, "prediction": 0}', "prediction"),
    (b'{"value": {}, "base_version": 0, "submit": true}', "submit"),
]


def test_invalid_body_names_the_field(api: Api, pk: int) -> None:
    for body, field in INVALID_FIELDS:
        answer = api("PUT", f"documents/{pk}/draft", body)
        assert answer.status == 422, body
        assert field in [error["field"] for error in answer.json["errors"]], body
    assert not Annotation.objects.exists()


def test_a_value_of_any_shape_is_a_draft_and_never_gold(api: Api, pk: int) -> None:
    for value in (b"[]", b'"text"', b"7", b"true", b'{"nothing": [[[{}]]]}', b'{"": {"": ""}}'):
        assert api("PUT", f"documents/{pk}/draft", SAVE % value).status == 200, value
        body = b'{"base_version": 1, "value": %s}' % value
        assert api("POST", f"documents/{pk}/submit", body).status == 422, value
        assert not Annotation.objects.filter(submitted=True).exists()
        Annotation.objects.all().delete()


def test_invalid_evidence_is_ignored(api: Api, pk: int) -> None:
    invalid: list[dict[str, Any]] = [
        {"vendor": 7},
        {"vendor": {"start": "a", "end": {}}},
        {"vendor": {"start": -5, "end": 10**30}},
        {"no such field": {"start": 0, "end": 1}},
        {"": {}},
        {"[[[": {"confirmed": True}},
        {"vendor[999999999999999999999]": {"seen": True}},
        {"vendor": {"confirmed": "yes", "of": 9, "seen": [1]}},
    ]
    for evidence in invalid:
        body = {"base_version": 0, "value": {"vendor": "Acme Supplies"}, "evidence": evidence}
        assert api.put(f"documents/{pk}/draft", body).status == 200, evidence
        stored = Annotation.objects.get().evidence
        assert set(stored) <= {"vendor", *evidence}
        for path, place in stored.items():
            assert set(place) <= {"start", "end", "seen"}, path
            assert all(isinstance(value, str if name == "seen" else int) for name, value in place.items())
        Annotation.objects.all().delete()


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


def test_large_text_is_fast(api: Api, pk: int) -> None:
    text = b"x" * (5 * 2**20)
    started = time.monotonic()
    answer = api("PUT", f"documents/{pk}/draft", SAVE % (b'{"vendor": "%s"}' % text))
    assert answer.status in (200, 413, 422), answer.status
    assert time.monotonic() - started < 30


def test_invalid_upload(api: Api) -> None:
    bodies = [
        b"",
        b"--x\r\nContent-Disposition: form-data; name=file; filename=a.jsonl\r\n\r\n{}",
        b"--x\r\nContent-Disposition: form-data; name=file\r\n\r\n{}\r\n--x--\r\n",
        b"--x\r\n\r\n\r\n--x--",
        b"\x00" * 100,
    ]
    for kind in ("multipart/form-data; boundary=x", "multipart/form-data", "application/json"):
        for body in bodies:
            answer = api("POST", "imports", body, content_type=kind)
            assert answer.status in (400, 422), (kind, body)
            assert answer.headers["Content-Type"] == "application/problem+json"


def test_invalid_ids(api: Api) -> None:
    for path in (
        "documents/0",
        "documents/99999999999999999999999999999999",
        "documents/" + "9" * 5_000,
        "documents/-1",
        "documents/%00",
        "documents/../../../etc/passwd",
        "datasets/999999999999999999999",
        "imports/99999999999999999999/rejected",
        "webhooks/99999999999999999999/deliveries",
        "tokens/x",
    ):
        answer = api.get(path)
        assert answer.status == 404, path
        assert answer.headers["Content-Type"] == "application/problem+json"


def test_comment_of_another_project_is_not_resolved(desk: Desk, api: Api) -> None:
    other = make_desk("other")
    bring_in(other.project, [invoice(2, gold=False)])
    document = Document.objects.exclude(project=desk.project).get()
    stranger = api_of(other.project, other.people["owner"])
    comment = stranger.post(f"documents/{document.pk}/comments", {"text": "ours"}).json["id"]
    assert api.post(f"documents/{document.pk}/comments/{comment}/resolve").status == 404
    assert Comment.objects.get().resolved_at is None


def test_unknown_parameter_is_named(api: Api) -> None:
    for path, name in (
        ("documents?limit=5&limits=6", "limits"),
        ("progress?x=1", "x"),
        ("documents/1?expand=all", "expand"),
        ("export?shape=csv&foo[]=1", "foo[]"),
        ("contract?versio=1", "versio"),
    ):
        answer = api.get(path)
        assert (answer.status, answer.json["errors"][0]["field"]) == (422, name)
        assert answer.headers["Content-Type"] == "application/problem+json"
    assert api.get("documents?" + "&".join(f"a{n}=1" for n in range(2_000))).status == 400


def test_texts_are_unchanged(api: Api, pk: int) -> None:
    texts = ["<script>alert(1)</script>", "\u202egnp.exe", "a\u200bb", "=cmd|' /C calc'!A0", "'; DROP TABLE x; --"]
    for version, text in enumerate(texts):
        saved = api.put(f"documents/{pk}/draft", {"value": {"vendor": text}, "base_version": version}).json
        assert saved["value"] == {"vendor": text}
        assert api.post(f"documents/{pk}/comments", {"text": text}).json["text"] == text
        assert api.get(f"documents?{urlencode({'q': text})}").status == 200


def test_another_host_in_the_header_is_a_bad_request(api: Api) -> None:
    for host in ("evil.example", "localhost:8000@evil.example", "a b"):
        assert api.get("documents", HTTP_HOST=host).status == 400, host


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
