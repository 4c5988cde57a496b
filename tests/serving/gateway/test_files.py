"""Documents that are sent as files: what is read, and what is rejected with which code."""

import asyncio
import io
import json
import time
import zipfile
from pathlib import Path
from typing import Any

import pypdfium2 as pdfium
import pytest
from starlette.responses import JSONResponse, Response

from labeling.imports.formats.page_text import MAX_PAGES
from tests.labeling.import_files import in_format, pdf, picture
from tests.labeling.imports.test_formats_scans import huge_png
from tests.serving.gateway.rig import ANSWER, RAW, Rig, answering

LINE = "Invoice A-17, total 12.50"
AUTHORIZED = {"Authorization": "Bearer good"}
ADDRESS = "/api/v1/projects/invoices/extract"


async def send(gateway: Rig, name: str, content: bytes, **fields: str) -> Any:
    """The response to a file."""
    return await gateway.client.post(ADDRESS, files={"file": (name, content)}, data=fields, headers=AUTHORIZED)


@pytest.mark.slow
async def test_pdf_scan_and_text_are_read_as_an_import_reads_them(tmp_path: Path) -> None:
    async with answering(tmp_path) as (gateway, replica):
        response = await send(gateway, "a.pdf", pdf([[LINE], ["Second page"]]), caller="ana")
        value = response.json()
        assert response.status_code == 200, value
        text = f"{LINE}\n\nSecond page"
        assert value["document"] == {"format": "pdf", "text": text, "pages": [[0, 25], [27, 38]]}
        assert f'"output":{RAW}' in response.text
        assert value["evidence"]["total"] == [[20, 25]]
        assert value["latency_ms"]["file"] > 0
        [row] = gateway.log.rows()
        assert (row["text"], row["caller"]) == (text, "ana")

        text_file = await send(gateway, "b.txt", LINE.encode("utf-16"), evidence="false")
        assert text_file.json()["document"] == {"format": "text", "text": LINE}
        assert "evidence" not in text_file.json()

        scan = await send(gateway, "c.png", in_format(picture(["INVOICE A-1029"]), "PNG"))
        assert scan.json()["document"]["format"] == "image"
        assert replica.asked == [text, LINE, scan.json()["document"]["text"]]
        assert "A-1029" in replica.asked[-1]


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


async def test_files_that_are_not_read(tmp_path: Path) -> None:
    packed = bomb()
    unread: list[tuple[str, bytes, dict[str, str], int, str]] = [
        ("a.pdf", encrypted(), {}, 422, "encrypted"),
        ("a.pdf", pages(1), {}, 422, "no_text"),
        ("a.pdf", pages(MAX_PAGES + 1), {}, 413, "too_many_pages"),
        ("a.pdf", b"%PDF-1.7 nothing", {}, 422, "damaged"),
        ("a.png", huge_png(20_000, 20_000), {}, 413, "too_many_pixels"),
        ("a.png", b"\x89PNG\r\n\x1a\n", {}, 422, "damaged"),
        ("a.zip", packed, {}, 415, "file_type"),
        ("a.docx", packed, {}, 415, "file_type"),
        ("a.doc", b"\xd0\xcf\x11\xe0" + bytes(99), {}, 415, "file_type"),
        ("a.exe", b"MZ" + bytes(99), {}, 415, "file_type"),
        ("a.bin", bytes(range(256)), {}, 415, "file_type"),
        ("a.csv", b"a,b\n1,2\n", {}, 415, "file_type"),
        ("a.pdf", b"INVOICE A-1029", {}, 415, "file_type"),
        ("a.png", b"INVOICE A-1029", {}, 415, "file_type"),
        ("a.txt", b"", {}, 422, "no_text"),
        ("a.txt", b" \n ", {}, 422, "no_text"),
        ("a.txt", b"a\0b", {}, 422, "damaged"),
        *(("a.txt", b"a", {name: "maybe"}, 422, "field") for name in ("ocr", "evidence", "layout", "evidnce")),
        ("a.txt", b"a" * 21_200_000, {}, 413, "too_large"),
    ]
    part = b'--x\r\nContent-Disposition: form-data; name="%s"\r\n\r\na\r\n'
    forms = [
        (b"", 422, "field"),
        (part.replace(b'%s"', b'file"; filename="a.txt"').rstrip(), 422, "field"),  # it has no end
        (part % b"text" + b"--x--\r\n", 422, "field"),
        (b"no form at all", 400, "invalid_form"),
        (2 * part.replace(b'%s"', b'file"; filename="a.txt"') + b"--x--\r\n", 400, "invalid_form"),
    ]

    async with answering(tmp_path) as (gateway, replica):
        for name, content, fields, status, code in unread:
            response = await send(gateway, name, content, **fields)
            assert (response.status_code, response.json()["code"]) == (status, code), (name, fields, content[:20])
            assert response.headers["content-type"] == "application/problem+json"
        headers = {**AUTHORIZED, "Content-Type": "multipart/form-data; boundary=x"}
        for body, status, code in forms:
            response = await gateway.client.post(ADDRESS, content=body, headers=headers)
            assert (response.status_code, response.json()["code"]) == (status, code), body
        assert replica.asked == []


async def test_a_file_that_takes_too_long_is_given_up_and_its_reader_ends(tmp_path: Path) -> None:
    async with answering(tmp_path, file_seconds=0.3) as (gateway, _):
        began = time.monotonic()
        response = await send(gateway, "a.pdf", pages(MAX_PAGES), ocr="always")
        assert (response.status_code, response.json()["code"]) == (422, "too_slow")
        assert time.monotonic() - began < 10
        assert (await send(gateway, "b.txt", LINE.encode())).status_code == 200


async def test_the_event_loop_goes_on_while_a_file_is_read(tmp_path: Path) -> None:
    async with answering(tmp_path) as (gateway, _):
        reading = asyncio.ensure_future(send(gateway, "a.pdf", pages(60)))
        await asyncio.sleep(0.05)
        began = time.monotonic()
        assert (await gateway.extract()).status_code == 200
        assert not reading.done() or time.monotonic() - began < 1
        assert (await reading).json()["code"] == "no_text"


async def test_an_idempotency_key_belongs_to_the_content_of_the_file(
    transactional_db: None, queues: None, tmp_path: Path
) -> None:
    from django.conf import settings

    async def answer(text: str) -> Response:
        return JSONResponse(ANSWER)

    async with answering(tmp_path, answer, redis=settings.REDIS_URL) as (gateway, replica):
        headers = {**AUTHORIZED, "Idempotency-Key": f"file-{tmp_path.name}"}
        got = []
        for content in (b"Invoice 1", b"Invoice 1", b"Invoice 2"):
            response = await gateway.client.post(ADDRESS, files={"file": ("a.txt", content)}, headers=headers)
            got.append((response.status_code, json.loads(response.content).get("code")))
            await gateway.log.store()
        assert got == [(200, None), (200, None), (422, "idempotency_key")]
        assert replica.asked == ["Invoice 1"]
