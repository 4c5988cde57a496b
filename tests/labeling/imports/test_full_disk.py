"""A full disk: uploads end in a sentence or 507, nothing of them stays, and earlier files are unharmed."""

import errno
import os
import shutil
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile, File
from django.core.files.uploadedfile import InMemoryUploadedFile
from django.core.files.uploadhandler import MemoryFileUploadHandler

from labeling.imports import uploads
from labeling.imports.upload_handlers import OneFileUploadHandler
from labeling.models import ImportRun
from slmstudio.storage import artifacts
from tests.labeling.api_client import Api, api_of
from tests.labeling.desk import Desk, invoice, jsonl
from tests.labeling.import_pages import PAGE, file

pytestmark = pytest.mark.django_db
ROWS = jsonl([invoice(1)])
Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def api(desk: Desk) -> Api:
    return api_of(desk.project, desk.people["engineer"])


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    before = stored()
    yield
    assert stored() == before
    assert not ImportRun.objects.exists()


def stored() -> set[Path]:
    """The files of imports, whole or in parts."""
    return {path for path in Path(artifacts.store().path("imports")).rglob("*") if path.is_file()}


def full(*_: Any, **__: Any) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def half(self: Any, chunk_size: int | None = None) -> Iterator[bytes]:
    """The chunks of a file, for which there is no room after the first byte."""
    yield b"{"
    full()


def send(api: Api, path: str = "imports") -> Any:
    return api.client.post(
        f"{api.base}{path}", {"file": file("rows.jsonl", ROWS)}, headers={"Authorization": f"Bearer {api.token}"}
    )


def test_page_and_rest_interface_say_that_the_disk_is_full(
    desk: Desk, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(File, "chunks", half)
        for names in (["rows.jsonl"], ["a.jsonl", "b.jsonl"]):
            answer = desk.as_("engineer").post(desk.url(PAGE), {"file": [file(name, ROWS) for name in names]})
            assert (answer.status_code, list(answer.context["form"].errors)) == (422, ["file"])
    monkeypatch.setattr(InMemoryUploadedFile, "chunks", half)
    for path in ("imports", "imports/preview"):
        answer = send(api, path)
        assert (answer.status_code, answer["Content-Type"]) == (507, "application/problem+json")


def test_any_error_deletes_the_upload(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr(uploads, "_ask", broken)
    with pytest.raises(RuntimeError):
        uploads.store_upload(files=[ContentFile(ROWS, name="rows.jsonl")])


def test_no_room_for_the_body_of_a_request(desk: Desk, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OneFileUploadHandler, "receive_data_chunk", full)
    answer = desk.as_("engineer").post(desk.url(PAGE), {"file": file("rows.jsonl", ROWS)})
    assert answer.status_code == 507
    monkeypatch.setattr(MemoryFileUploadHandler, "receive_data_chunk", full)
    answer = send(api)
    assert (answer.status_code, answer["Content-Type"]) == (507, "application/problem+json")


def test_upload_without_room_is_refused_unread(desk: Desk, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(2**40, 2**40, 2**20))
    monkeypatch.setattr(OneFileUploadHandler, "receive_data_chunk", lambda *_: pytest.fail("the body was read"))
    page = desk.as_("engineer").post(desk.url(PAGE), {"file": file("rows.jsonl", ROWS)})
    assert page.status_code == 507
    answer = send(api)
    assert (answer.status_code, answer["Content-Type"]) == (507, "application/problem+json")


# -- the artifact store ------------------------------------------------------------------------------------------------


def test_half_a_file_is_not_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ContentFile, "chunks", half)
    with pytest.raises(OSError, match="space"):
        artifacts.store().save("imports/half/rows.jsonl", ContentFile(ROWS))


def test_replaced_text_stays_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    key = "tests/replaced/text.json"
    artifacts.write_text(key, "first")
    artifacts.write_text(key, "second")
    monkeypatch.setattr(ContentFile, "chunks", half)
    with pytest.raises(OSError, match="space"):
        artifacts.write_text(key, "third")
    with artifacts.store().open(key) as stored_file:
        assert stored_file.read() == b"second"
    assert artifacts.store().listdir("tests/replaced")[1] == ["text.json"]
    artifacts.store().delete(key)


def test_stored_file_is_on_the_disk_before_it_has_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    key = "tests/synced/rows.jsonl"
    there: list[bool] = []
    sync = os.fsync

    def noted(descriptor: int) -> None:
        there.append(artifacts.store().exists(key))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    artifacts.store().save(key, ContentFile(ROWS))
    assert there == [False, True]  # the file, then its folder
    artifacts.store().delete(key)
