"""Real files for the tests of imports, built here: PDFs, images, zips, tables."""

import io
import json
import stat
import zipfile
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from labeling.demo.templates import template
from labeling.imports.formats.base import Context
from labeling.imports.formats.registry import detect, open_file
from labeling.imports.rows import ParsedRow
from slmstudio.contract.schema.compiled import CompiledSchema, compile_schema


def schema(name: str = "invoice") -> CompiledSchema:
    """The compiled schema of a template."""
    return compile_schema(template(name).schema)


def read(path: Path, kind: str = "", *, compiled: CompiledSchema | None = None, **options: Any) -> list[ParsedRow]:
    """Every row of a file, in its detected format."""
    work = path.parent / "work"
    work.mkdir(exist_ok=True)
    context = Context(compiled or schema(), work, options)
    with open_file(path, kind or detect(path, path.name).name, path.name, context) as opened:
        return list(opened.rows)


def pdf(pages: list[list[str]], *, encrypted: bool = False) -> bytes:
    """A PDF with one line of text below the other, written by hand."""
    objects: list[bytes] = [b"<< /Type /Catalog /Pages 2 0 R >>", b""]
    objects.append(b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>")
    kids = []
    for lines in pages:
        moves = "".join(f"({line}) Tj 0 -20 Td " for line in lines)
        stream = f"BT /F1 14 Tf 72 700 Td {moves}ET".encode("cp1252")
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream))
        content = len(objects)
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents %d 0 R "
            b"/Resources << /Font << /F1 3 0 R >> >> >>" % content
        )
        kids.append(b"%d 0 R" % len(objects))
    objects[1] = b"<< /Type /Pages /Count %d /Kids [%s] >>" % (len(kids), b" ".join(kids))
    out = bytearray(b"%PDF-1.4\n")
    offsets = []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    for offset in offsets:
        out += b"%010d 00000 n \n" % offset
    lock = b""
    if encrypted:
        key = b"<" + b"5a" * 32 + b">"
        lock = b" /ID [<00> <00>] /Encrypt << /Filter /Standard /V 1 /R 2 /P -4 /O %s /U %s >>" % (key, key)
    out += b"trailer\n<< /Size %d /Root 1 0 R%s >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, lock, start)
    return bytes(out)


def picture(lines: list[str], size: tuple[int, int] = (900, 420)) -> Image.Image:
    """A scan: large black letters on white."""
    image = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(40)
    for number, line in enumerate(lines):
        draw.text((50, 40 + 70 * number), line, fill="black", font=font)
    return image


def in_format(image: Image.Image, name: str, **more: Any) -> bytes:
    """An image as the bytes of a file."""
    out = io.BytesIO()
    image.save(out, name, **more)
    return out.getvalue()


def packed(files: dict[str, bytes | str], *, links: dict[str, str] | None = None) -> bytes:
    """A zip of these files, and of links to others."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
        for name, target in (links or {}).items():
            entry = zipfile.ZipInfo(name)
            entry.create_system = 3
            entry.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(entry, target)
    return out.getvalue()


def stored(folder: Path, name: str, data: bytes | str | list[Any]) -> Path:
    """A file with these bytes, this text, or this value as JSON."""
    path = folder / name
    if isinstance(data, bytes):
        path.write_bytes(data)
    else:
        path.write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf-8")
    return path
