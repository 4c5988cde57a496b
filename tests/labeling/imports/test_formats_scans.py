"""PDFs and images in a child process: text, line boxes and pictures of pages; hostile files cost only themselves."""

import os
import signal
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from labeling.imports.formats import scan_child
from labeling.imports.formats.base import Context
from labeling.imports.formats.page_text import MAX_PAGES
from labeling.imports.formats.registry import FORMATS
from labeling.imports.formats.scans import Scanner
from labeling.imports.rows import ParsedRow
from tests.labeling.import_files import in_format, pdf, picture, schema, stored


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Scanner]:
    work = tmp_path / "work"
    work.mkdir()
    with Scanner(Context(schema(), work, {"ocr": "never"})) as scanner:
        yield scanner


def row_of(reader: Scanner, path: Path, kind: str) -> ParsedRow:
    return reader.row(1, path, FORMATS[kind], path.name)


def test_pdf_text_and_boxes(reader: Scanner, tmp_path: Path) -> None:
    path = stored(tmp_path, "a.pdf", pdf([["Invoice A-1029", "Total 1,248.50"], ["Second page"]]))
    row = row_of(reader, path, "pdf")
    text = row.data["text"]
    assert text == "Invoice A-1029\nTotal 1,248.50\n\nSecond page"
    assert [(page.number, text[page.start : page.end]) for page in row.pages] == [
        (1, "Invoice A-1029\nTotal 1,248.50"),
        (2, "Second page"),
    ]
    first, second = row.pages[0].lines
    assert text[first[0] : first[1]] == "Invoice A-1029"
    assert first[3] < second[3], "the first line stands above the second"
    page = row.pages[0]
    with Image.open(str(page.image)) as image:
        assert (image.format, image.size) == ("WEBP", (page.width, page.height))
        # Where the box says there is writing, there is some.
        ink = image.convert("L").crop((first[2], first[3], first[4], first[5]))
        assert min(ink.tobytes()) < 128
        assert min(image.convert("L").crop((0, 0, page.width, first[3] - 5)).tobytes()) > 200


@pytest.mark.slow
def test_ocr_is_optional(tmp_path: Path) -> None:
    image = picture(["INVOICE A-1029", "Total due 1,248.50"])
    path = stored(tmp_path, "scan.pdf", in_format(image, "PDF"))
    (tmp_path / "w").mkdir()
    with Scanner(Context(schema(), tmp_path / "w", {"ocr": "never"})) as never:
        assert row_of(never, path, "pdf").error == "no text was found (1 page)"
    with Scanner(Context(schema(), tmp_path / "w")) as auto:
        for name, kind, data in (
            ("scan.pdf", "pdf", path.read_bytes()),
            ("scan.png", "image", in_format(image, "PNG")),
            ("scan.jpg", "image", in_format(image, "JPEG")),
        ):
            row = row_of(auto, stored(tmp_path, name, data), kind)
            assert row.error == "", name
            text = row.data["text"].replace(" ", "")
            assert "A-1029" in text and "1,248.50" in text, name  # noqa: PT018
            start, end, left, top, right, bottom = row.pages[0].lines[0]
            assert row.data["text"][start:end].startswith("INVOICE")
            assert 0 < left < right <= row.pages[0].width
            assert 0 < top < bottom < row.pages[0].height


def test_pages_of_an_image(tmp_path: Path) -> None:
    def pages(name: str, data: bytes) -> list[tuple[dict[str, Any], int]]:
        path = str(stored(tmp_path, name, data))
        return list(scan_child.pages({"path": path, "kind": "image", "out": str(tmp_path), "ocr": "never"}))

    two = in_format(picture(["one"]), "TIFF", save_all=True, append_images=[picture(["two"])])
    assert [(page["number"], of) for page, of in pages("a.tif", two)] == [(1, 2), (2, 2)]
    assert (tmp_path / "2.webp").exists()
    ((page, _),) = pages("a.png", in_format(Image.new("RGB", (4_000, 1_000), "white"), "PNG"))
    assert (page["width"], page["height"]) == (2_200, 550), "large pages are scaled down"


def huge_png(width: int, height: int) -> bytes:
    """The head of a PNG of this size with almost no data behind it."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    )


def test_hostile_files_are_rejected(reader: Scanner, tmp_path: Path) -> None:
    fine = stored(tmp_path, "fine.pdf", pdf([["fine"]]))
    for name, kind, data, message in (
        ("a.pdf", "pdf", pdf([["x"]], encrypted=True), "protected with a password"),
        ("a.pdf", "pdf", pdf([["x"]])[:200], "not a valid PDF"),
        ("a.pdf", "pdf", b"%PDF-1.4 nonsense", "not a valid PDF"),
        ("a.pdf", "pdf", pdf([["x"]] * 10_000), f"the PDF has 10,000 pages; the maximum is {MAX_PAGES}"),
        ("a.png", "image", huge_png(30_000, 30_000), "the image is 30,000 x 30,000 pixels"),
        ("a.png", "image", huge_png(3_000, 3_000), "damaged or truncated"),
        ("a.jpg", "image", in_format(picture(["x"]), "JPEG")[:3_000], "damaged or truncated"),
        ("a.png", "image", b"\x89PNG\r\n\x1a\nnothing", "not a valid PNG, JPEG or TIFF"),
        ("a.gif", "image", in_format(picture(["x"]), "GIF"), "not a valid PNG, JPEG or TIFF"),
        ("a.png", "image", pdf([["x"]]), "not a valid PNG, JPEG or TIFF"),
    ):
        assert message in row_of(reader, stored(tmp_path, name, data), kind).error
        assert row_of(reader, fine, "pdf").data["text"] == "fine"


def test_page_timeout_and_cancel(reader: Scanner, tmp_path: Path) -> None:
    path = stored(tmp_path, "fine.pdf", pdf([["fine"]]))
    assert not row_of(reader, path, "pdf").error
    assert reader.child is not None
    limits = Path(f"/proc/{reader.child.process.pid}/limits")
    if limits.exists():
        (line,) = [line for line in limits.read_text().splitlines() if line.startswith("Max address space")]
        assert line.split()[3] == str(scan_child.MEMORY_BYTES)
    os.kill(reader.child.process.pid, signal.SIGSTOP)
    reader.seconds = 0.5
    assert "page 1 took longer than" in row_of(reader, path, "pdf").error
    reader.seconds = 60.0
    assert not row_of(reader, path, "pdf").error, "a new child reads the next file"
    reader.context = Context(reader.context.compiled, reader.context.folder, {}, lambda: True)
    assert row_of(reader, path, "pdf").error == "the import was cancelled"


def test_crash_of_child_rejects_one_file(reader: Scanner, tmp_path: Path) -> None:
    path = stored(tmp_path, "fine.pdf", pdf([["fine"]]))
    row_of(reader, path, "pdf")
    assert reader.child is not None
    os.kill(reader.child.process.pid, signal.SIGSTOP)
    child = reader.child.process

    def kill() -> bool:
        child.kill()
        return False

    reader.context = Context(reader.context.compiled, reader.context.folder, {"ocr": "never"}, kill)
    row = row_of(reader, path, "pdf")
    assert "stopped at page 1" in row.error
    assert not row_of(reader, path, "pdf").error
