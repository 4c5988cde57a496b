"""Documents that are sent as files: what is read, and what is rejected with which code."""

import asyncio
import io
import json
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pypdfium2 as pdfium
import pytest
from starlette.responses import JSONResponse, Response

from labeling.imports.formats.page_text import MAX_PAGES
from tests.labeling.import_files import in_format, pdf, picture
from tests.labeling.imports.test_formats_scans import huge_png
from tests.serving import event_loop
from tests.serving.gateway.rig import ANSWER, RAW, Rig, backend, release, reply, rig, route

LINE = "Invoice A-17, total 12.50"
AUTHORIZED = {"Authorization": "Bearer good"}
ADDRESS = "/api/v1/projects/invoices/extract"


async def send(found: Rig, name: str, content: bytes, **fields: str) -> Any:
    """The response to a file."""
    return await found.client.post(ADDRESS, files={"file": (name, content)}, data=fields, headers=AUTHORIZED)


def with_rig(tmp_path: Path, work: Callable[[Rig, list[str]], Any], **options: Any) -> None:
    """Runs ``work`` with a gateway and the texts that its replica got."""

    async def run() -> None:
        async with backend(tmp_path / "a", reply()) as one:
            async with rig(tmp_path, route(release(1, one.address)), **options) as found:
                await work(found, one.asked)

    event_loop.run(run())


@pytest.mark.slow
def test_pdf_scan_and_text_are_read_as_an_import_reads_them(tmp_path: Path) -> None:
    async def work(found: Rig, asked: list[str]) -> None:
        response = await send(found, "a.pdf", pdf([[LINE], ["Second page"]]), caller="ana")
        value = response.json()
        assert response.status_code == 200, value
        text = f"{LINE}\n\nSecond page"
        assert value["document"] == {"format": "pdf", "text": text, "pages": [[0, 25], [27, 38]]}
        assert f'"output":{RAW}' in response.text
        assert value["evidence"]["total"] == [[20, 25]]
        assert value["latency_ms"]["file"] > 0
        [row] = found.log.rows()
        assert (row["text"], row["caller"]) == (text, "ana")

        text_file = await send(found, "b.txt", LINE.encode("utf-16"), evidence="false")
        assert text_file.json()["document"] == {"format": "text", "text": LINE}
        assert "evidence" not in text_file.json()

        scan = await send(found, "c.png", in_format(picture(["INVOICE A-1029"]), "PNG"))
        assert scan.json()["document"]["format"] == "image"
        assert asked == [text, LINE, scan.json()["document"]["text"]]
        assert "A-1029" in asked[-1]

    with_rig(tmp_path, work)


def encrypted() -> bytes:
    """A PDF whose standard security handler no reader can open without its password."""
    plain = pdf([[LINE]])
    start = plain.rindex(b"trailer")
    key = b"<" + b"11" * 32 + b">"
    handler = b"/Encrypt << /Filter /Standard /V 1 /R 2 /O " + key + b" /U " + key + b" /P -4 >> /ID [<01><01>] "
    at = plain.index(b"<<", start) + 2
    return plain[:at] + b" " + handler + plain[at:]


def pages(number: int) -> bytes:
    """A PDF of so many empty pages."""
    document = pdfium.PdfDocument.new()
    for _ in range(number):
        document.new_page(10, 10)
    target = io.BytesIO()
    document.save(target)
    return target.getvalue()


def bomb() -> bytes:
    """A zip that unpacks to 100 MB."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", b"0" * 100_000_000)
    return target.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "fields", "status", "code"),
    [
        ("a.pdf", encrypted, {}, 422, "encrypted"),
        ("a.pdf", lambda: pages(1), {}, 422, "no_text"),
        ("a.pdf", lambda: pages(MAX_PAGES + 1), {}, 413, "too_many_pages"),
        ("a.pdf", lambda: b"%PDF-1.7 nothing", {}, 422, "damaged"),
        ("a.png", lambda: huge_png(20_000, 20_000), {}, 413, "too_many_pixels"),
        ("a.png", lambda: b"\x89PNG\r\n\x1a\n", {}, 422, "damaged"),
        ("a.zip", bomb, {}, 415, "file_type"),
        ("a.docx", bomb, {}, 415, "file_type"),
        ("a.doc", lambda: b"\xd0\xcf\x11\xe0" + bytes(99), {}, 415, "file_type"),
        ("a.exe", lambda: b"MZ" + bytes(99), {}, 415, "file_type"),
        ("a.bin", lambda: bytes(range(256)), {}, 415, "file_type"),
        ("a.csv", lambda: b"a,b\n1,2\n", {}, 415, "file_type"),
        ("a.txt", lambda: b"", {}, 422, "no_text"),
        ("a.txt", lambda: b" \n ", {}, 422, "no_text"),
        ("a.txt", lambda: b"a\0b", {}, 422, "damaged"),
        ("a.txt", lambda: b"a", {"ocr": "maybe"}, 422, "field"),
        ("a.txt", lambda: b"a", {"evidence": "maybe"}, 422, "field"),
        ("a.txt", lambda: b"a", {"layout": "maybe"}, 422, "field"),
        ("a.txt", lambda: b"a", {"evidnce": "true"}, 422, "field"),
        ("a.txt", lambda: b"a" * 21_200_000, {}, 413, "too_large"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_files_that_are_not_read(
    tmp_path: Path, name: str, content: Callable[[], bytes], fields: dict[str, str], status: int, code: str
) -> None:
    async def work(found: Rig, asked: list[str]) -> None:
        response = await send(found, name, content(), **fields)
        assert (response.status_code, response.json()["code"]) == (status, code), response.json()
        assert response.headers["content-type"] == "application/problem+json"
        assert asked == []

    with_rig(tmp_path, work)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 422, "field"),
        (b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\nab', 422, "field"),
        (b'--x\r\nContent-Disposition: form-data; name="text"\r\n\r\nab\r\n--x--\r\n', 422, "field"),
        (b"no form at all", 400, "invalid_form"),
        (
            b"".join(
                b'--x\r\nContent-Disposition: form-data; name="file"; filename="%d"\r\n\r\na\r\n' % n for n in (1, 2)
            )
            + b"--x--\r\n",
            400,
            "invalid_form",
        ),
    ],
    ids=range(5),
)
def test_forms_without_one_file(tmp_path: Path, body: bytes, status: int, code: str) -> None:
    async def work(found: Rig, asked: list[str]) -> None:
        headers = {**AUTHORIZED, "Content-Type": "multipart/form-data; boundary=x"}
        response = await found.client.post(ADDRESS, content=body, headers=headers)
        assert (response.status_code, response.json()["code"]) == (status, code)
        assert asked == []

    with_rig(tmp_path, work)


def test_a_file_that_takes_too_long_is_given_up_and_its_reader_ends(tmp_path: Path) -> None:
    async def work(found: Rig, asked: list[str]) -> None:
        began = time.monotonic()
        response = await send(found, "a.pdf", pages(MAX_PAGES), ocr="always")
        assert (response.status_code, response.json()["code"]) == (422, "too_slow")
        assert time.monotonic() - began < 10
        assert (await send(found, "b.txt", LINE.encode())).status_code == 200

    with_rig(tmp_path, work, file_seconds=0.3)


def test_the_event_loop_goes_on_while_a_file_is_read(tmp_path: Path) -> None:
    async def work(found: Rig, asked: list[str]) -> None:
        reading = asyncio.ensure_future(send(found, "a.pdf", pages(60)))
        await asyncio.sleep(0.05)
        began = time.monotonic()
        assert (await found.extract()).status_code == 200
        assert not reading.done() or time.monotonic() - began < 1
        assert (await reading).json()["code"] == "no_text"

    with_rig(tmp_path, work)


def test_an_idempotency_key_belongs_to_the_content_of_the_file(
    transactional_db: None, queues: None, tmp_path: Path
) -> None:
    from django.conf import settings

    async def answer(text: str) -> Response:
        return JSONResponse(ANSWER)

    async def run() -> None:
        async with backend(tmp_path / "a", answer) as one:
            async with rig(tmp_path, route(release(1, one.address)), redis=settings.REDIS_URL) as found:
                headers = {**AUTHORIZED, "Idempotency-Key": f"file-{tmp_path.name}"}
                got = []
                for content in (b"Invoice 1", b"Invoice 1", b"Invoice 2"):
                    response = await found.client.post(ADDRESS, files={"file": ("a.txt", content)}, headers=headers)
                    got.append((response.status_code, json.loads(response.content).get("code")))
                    await found.log.store()
                assert got == [(200, None), (200, None), (422, "idempotency_key")]
                assert one.asked == ["Invoice 1"]

    event_loop.run(run())
