"""PDFs and images: one document each, read by a child process with limits on memory and time (``scan_child``)."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from labeling.imports.formats.base import Context, Format, Option, Progress, Session, Source
from labeling.imports.formats.line_child import ChildStopped, LineChild
from labeling.imports.formats.page_layout import LAYOUT, laid_out
from labeling.imports.formats.page_text import ReadPage, join_pages
from labeling.imports.rows import ParsedRow

#: for one page (the first one also loads the models)
SECONDS_PER_PAGE: Final = 90.0
_ENVIRONMENT: Final = {"PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "2"}


class _ScanError(Exception):
    """Why a file cannot be read; ``code`` is one of ``scan_child.CODES``."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


#: when the pages of PDFs and images are read by OCR
OCR: Final = Option(
    "ocr",
    "OCR",
    {"auto": "Pages without text", "always": "Every page", "never": "Never"},
)


class Scanner:
    """The child process: started for the first file, and again after it crashed."""

    def __init__(
        self,
        context: Context,
        seconds_per_page: float = SECONDS_PER_PAGE,
        progress: Progress | None = None,
        *,
        images: bool = True,
    ) -> None:
        self.context = context
        self.images = images
        self.seconds = seconds_per_page
        self.child: LineChild | None = None
        self.progress = progress or Progress()

    def __enter__(self) -> "Scanner":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def row(self, number: int, path: Path, file_format: Format, name: str, *, is_nested: bool = False) -> ParsedRow:
        """The file as a row with its pages, or with an error."""
        out = Path(tempfile.mkdtemp(prefix="pages-", dir=self.context.folder))
        self.progress.file = name if is_nested else ""
        self.progress.pages_done = self.progress.pages_total = 0
        try:
            pages = list(self._pages(path, file_format, out))
        except _ScanError as error:
            return ParsedRow(number, {"id": name}, str(error), code=error.code)
        if not pages:
            return ParsedRow(number, {"id": name}, "it has no pages", code="no_text")
        text, placed = join_pages(pages)
        if self.context.options.get(LAYOUT.name):
            text, placed = laid_out(text, placed)
        if not text.strip():
            sentence = f"no text was found ({len(pages)} page{'s' if len(pages) > 1 else ''})"
            return ParsedRow(number, {"id": name}, sentence, code="no_text")
        return ParsedRow(number, {"id": name, "text": text}, pages=placed)

    def _pages(self, path: Path, file_format: Format, out: Path) -> Iterator[tuple[str, ReadPage]]:
        request = {
            "path": str(path),
            "kind": file_format.name,
            "out": str(out),
            "ocr": self.context.options.get("ocr", "auto"),
            "images": self.images,
        }
        self._ask(request)
        seen = 0
        while True:
            answer = self._answer(seen + 1)
            if "error" in answer:
                raise _ScanError(str(answer["error"]), str(answer["code"]))
            if "page" not in answer:
                return
            seen += 1
            self.progress.pages_done, self.progress.pages_total = seen, int(answer["of"])
            page = answer["page"]
            lines = [[int(side) for side in line] for line in page["lines"]]
            text = str(page["text"])
            yield (
                text,
                ReadPage(
                    number=seen,
                    width=int(page["width"]),
                    height=int(page["height"]),
                    start=0,
                    end=len(text),
                    lines=lines,
                    image=out / f"{seen}.webp" if self.images else None,
                ),
            )

    def _ask(self, request: dict[str, Any]) -> None:
        if self.child is None or self.child.process.poll() is not None:
            self.close()
            with (self.context.folder / "scanner.log").open("ab") as log:
                self.child = LineChild("labeling.imports.formats.scan_child", environment=_ENVIRONMENT, log=log)
        try:
            self.child.send(json.dumps(request).encode())
        except BrokenPipeError:
            raise _ScanError("its reader could not be started; see the log of the worker", "damaged") from None

    def _answer(self, page: int) -> dict[str, Any]:
        assert self.child is not None
        try:
            line = self.child.line(self.seconds, self.context.stopped)
        except ChildStopped:
            self.close()
            raise _ScanError("the import was cancelled", "cancelled") from None
        except TimeoutError:
            self.close()
            raise _ScanError(f"page {page} took longer than {self.seconds:.0f} seconds", "too_slow") from None
        if line is None:
            code = self.child.process.wait()
            self.close()
            raise _ScanError(
                f"its reader stopped at page {page} (exit code {code}): the file is damaged, or takes too much memory",
                "damaged",
            )
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """Ends the child."""
        child, self.child = self.child, None
        if child is not None:
            child.close()


def _pdf_rows(source: Source) -> Iterator[ParsedRow]:
    yield source.session.resource(_scanner).row(1, source.path, PDF, source.name, is_nested=source.is_nested)


def _image_rows(source: Source) -> Iterator[ParsedRow]:
    yield source.session.resource(_scanner).row(1, source.path, IMAGE, source.name, is_nested=source.is_nested)


def _scanner(session: Session) -> Scanner:
    return Scanner(session.context, progress=session.progress)


PDF = Format(
    "pdf",
    "PDF",
    _pdf_rows,
    detect=lambda head: b"%PDF-" in head.data[:1024],
    options=(OCR, LAYOUT),
    usual_extensions=(".pdf",),
    unit="document",
    is_binary=True,
    is_paged=True,
)
IMAGE = Format(
    "image",
    "Image: PNG, JPEG, TIFF",
    _image_rows,
    detect=lambda head: head.data.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\x00", b"MM\x00*")),
    options=(OCR, LAYOUT),
    usual_extensions=(".png", ".jpg", ".jpeg", ".tif", ".tiff"),
    unit="document",
    is_binary=True,
    is_paged=True,
)
