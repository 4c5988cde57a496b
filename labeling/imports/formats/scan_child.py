"""The child process that opens PDFs and images: renders pages, reads the text layer, or reads scans by OCR.

``python -m labeling.imports.formats.scan_child`` takes one request a line on standard input, ``{"path", "kind", "out",
"ocr", "images"}``, and writes lines: one per page, then ``{"end": true}``, or ``{"error": sentence, "code"}``. It has
a limit on memory and dies with its parent, so a hostile file affects only its own import.
"""

import contextlib
import json
import os
import resource
import signal
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

from labeling.imports.formats.page_text import MAX_BOXES, MAX_PAGES, Segment, text_of
from slmstudio.runs.parent_death import die_with_parent

MEMORY_BYTES: Final = 4 * 1024**3
MAX_PIXELS: Final = 80_000_000
#: the longer side of a page's image, and the resolution of a small page
MAX_SIDE_PIXELS: Final = 2_200
DOTS_PER_INCH: Final = 170
QUALITY: Final = 80
#: a page of a PDF with an image and fewer letters is a scan
_MIN_LETTERS: Final = 8


#: why a file is not read, for programs; ``no_text``, ``too_slow`` and ``cancelled`` are given by the parent
CODES: Final = frozenset(
    {"encrypted", "damaged", "too_many_pages", "too_many_pixels", "memory", "no_text", "too_slow", "cancelled"}
)


class FileRejectedError(ValueError):
    """Why a file is not read; ``code`` is one of ``CODES``."""

    def __init__(self, message: str, code: str = "damaged") -> None:
        super().__init__(message)
        self.code = code


def pages(request: dict[str, Any]) -> Iterator[tuple[dict[str, Any], int]]:
    """The pages of a file: number, width and height of the image in pixels, text, line boxes, the image's path. Each
    with the number of pages.

    Raises:
        FileRejectedError: it cannot be read.
    """
    path, out = Path(request["path"]), Path(request["out"])
    ocr = str(request.get("ocr", "auto"))
    target = out if request.get("images", True) else None
    yield from _pdf(path, target, ocr) if request["kind"] == "pdf" else _images(path, target, ocr)


# -- PDF ---------------------------------------------------------------------------------------------------------------


def _pdf(path: Path, out: Path | None, ocr: str) -> Iterator[tuple[dict[str, Any], int]]:
    import pypdfium2 as pdfium

    try:
        document = pdfium.PdfDocument(path)
    except pdfium.PdfiumError as error:
        message = str(error).lower()
        if "password" in message or "security" in message:
            raise FileRejectedError("the PDF is protected with a password; save it without one", "encrypted") from None
        raise FileRejectedError("not a valid PDF: it is damaged, truncated, or another format") from None
    with contextlib.closing(document):
        count = len(document)
        if count > MAX_PAGES:
            raise FileRejectedError(f"the PDF has {count:,} pages; the maximum is {MAX_PAGES}", "too_many_pages")
        for number in range(count):
            try:
                page = document[number]
            except pdfium.PdfiumError:
                raise FileRejectedError(f"page {number + 1} of the PDF is damaged") from None
            with contextlib.closing(page):
                yield _pdf_page(page, number + 1, out, ocr), count


def _pdf_page(page: Any, number: int, out: Path | None, ocr: str) -> dict[str, Any]:
    width, height = (max(1.0, side) for side in page.get_size())
    scale = min(DOTS_PER_INCH / 72, MAX_SIDE_PIXELS / max(width, height))
    bitmap = page.render(scale=scale)
    image = bitmap.to_pil().convert("RGB")
    segments: list[Segment] = []
    if ocr != "always":
        segments = list(_layer(page, bitmap.get_posconv(page)))
    letters = sum(len("".join(segment.text.split())) for segment in segments)
    if ocr == "always" or (ocr == "auto" and _is_scan(page, letters)):
        segments = list(_read(image)) or segments
    return _page(number, image, segments, out)


def _is_scan(page: Any, letters: int) -> bool:
    """Whether a page shows more than its text layer: an image with little text, or drawn letters only."""
    import pypdfium2.raw as raw

    if letters >= _MIN_LETTERS:
        return False
    types = None if not letters else [raw.FPDF_PAGEOBJ_IMAGE]
    return next(iter(page.get_objects(filter=types, max_depth=3)), None) is not None


def _layer(page: Any, places: Any) -> Iterator[Segment]:
    """The segments of the text layer; adjacent ones are joined."""
    textpage = page.get_textpage()
    with contextlib.closing(textpage):
        last: Segment | None = None
        for index in range(min(textpage.count_rects(), MAX_BOXES)):
            box = textpage.get_rect(index)
            text = _clean(textpage.get_text_bounded(*box))
            if not text:
                continue
            (x0, y0), (x1, y1) = places.to_bitmap(box[0], box[3]), places.to_bitmap(box[2], box[1])
            segment = Segment(text, min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))
            joined = _joined(last, segment) if last is not None else None
            if last is not None and joined is None:
                yield last
            last = joined or segment
        if last is not None:
            yield last


def _joined(left: Segment, right: Segment) -> Segment | None:
    """Both as one segment, if the second follows directly (fonts and kerning split words)."""
    height = max(left.height, right.height, 1)
    gap = right.left - left.right
    if abs(left.middle - right.middle) > 0.4 * height or not -0.5 * height < gap < 0.8 * height:
        return None
    space = " " if gap > 0.15 * height else ""
    text = f"{left.text}{space}{right.text}"
    return Segment(
        text, min(left.left, right.left), min(left.top, right.top), max(left.right, right.right),
        max(left.bottom, right.bottom),
    )  # fmt: skip


def _clean(text: str) -> str:
    """One line without NUL, lone surrogates and the placeholders of pdfium."""
    kept = "".join(" " if c.isspace() else c for c in text if c >= " " or c.isspace())
    kept = kept.replace("\ufffe", "-").replace("\uffff", "")
    return " ".join(kept.encode("utf-8", "ignore").decode().split())


# -- images ------------------------------------------------------------------------------------------------------------


def _images(path: Path, out: Path | None, ocr: str) -> Iterator[tuple[dict[str, Any], int]]:
    from PIL import Image, ImageOps, UnidentifiedImageError

    Image.MAX_IMAGE_PIXELS = None  # checked below, with our own message
    try:
        with Image.open(path, formats=("PNG", "JPEG", "TIFF")) as image:
            frames = getattr(image, "n_frames", 1) if image.format == "TIFF" else 1
            if frames > MAX_PAGES:
                raise FileRejectedError(f"the image has {frames:,} pages; the maximum is {MAX_PAGES}", "too_many_pages")
            for number in range(frames):
                image.seek(number)
                if image.width * image.height > MAX_PIXELS:
                    size = f"{image.width:,} x {image.height:,} pixels"
                    limit = f"{MAX_PIXELS // 1_000_000} million"
                    raise FileRejectedError(f"the image is {size}; the maximum is {limit}", "too_many_pixels")
                drawn = ImageOps.exif_transpose(image)
                drawn.thumbnail((MAX_SIDE_PIXELS, MAX_SIDE_PIXELS))
                drawn = _on_white(drawn)
                yield _page(number + 1, drawn, list(_read(drawn)) if ocr != "never" else [], out), frames
    except UnidentifiedImageError:
        raise FileRejectedError("not a valid PNG, JPEG or TIFF image") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        if isinstance(error, FileRejectedError):
            raise
        raise FileRejectedError(f"the image is damaged or truncated ({str(error)[:80]})") from None


def _on_white(image: Any) -> Any:
    from PIL import Image

    if image.mode in ("I;16", "I;16B", "I", "F"):
        image = image.point(lambda value: value / 256).convert("L")
    if "A" not in image.getbands() and image.info.get("transparency") is None:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")


@cache
def _engine() -> Any:
    from rapidocr import RapidOCR

    threads = min(4, os.cpu_count() or 1)
    return RapidOCR(params={"Global.log_level": "error", "EngineConfig.onnxruntime.intra_op_num_threads": threads})


def _read(image: Any) -> Iterator[Segment]:
    """The lines of a scan by OCR; the models are in the wheel."""
    result = _engine()(image)
    if result is None or result.boxes is None or result.txts is None:
        return
    for corners, text in zip(result.boxes, result.txts, strict=False):
        cleaned = _clean(str(text))
        if cleaned:
            across, down = [float(x) for x, _ in corners], [float(y) for _, y in corners]
            yield Segment(cleaned, min(across), min(down), max(across), max(down))


def _page(number: int, image: Any, segments: list[Segment], out: Path | None) -> dict[str, Any]:
    text, lines = text_of(segments[:MAX_BOXES])
    target = out / f"{number}.webp" if out is not None else None
    if target is not None:
        image.save(target, "WEBP", quality=QUALITY, method=2)
    return {
        "number": number,
        "width": image.width,
        "height": image.height,
        "text": text,
        "lines": lines,
        "image": str(target or ""),
    }


# -- the process -------------------------------------------------------------------------------------------------------


def main() -> None:
    """Answers requests until the end of standard input."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # output of libraries goes to standard error

    def answer(line: dict[str, Any]) -> None:
        answers.write(json.dumps(line) + "\n")
        answers.flush()

    for line in sys.stdin:
        try:
            for page, count in pages(json.loads(line)):
                answer({"page": page, "of": count})
            answer({"end": True})
        except FileRejectedError as rejected:
            answer({"error": str(rejected), "code": rejected.code})
        except MemoryError:
            answer({"error": "reading it takes too much memory", "code": "memory"})
        except Exception as error:
            answer({"error": f"it cannot be read ({type(error).__name__}: {str(error)[:120]})", "code": "damaged"})


if __name__ == "__main__":
    main()
