"""PDFs and images as rows: a child process reads them, with limits on memory and time; see ``scanner``."""

import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from labeling.imports.formats import Context
from labeling.imports.formats.page_text import ReadPage, put_together
from labeling.imports.rows import ParsedRow
from slmstudio.runs.child_environment import child_environment

#: seconds that one page may take (the first one also loads the models)
SECONDS_PER_PAGE: Final = 90.0
_ROOT = Path(__file__).resolve().parents[3]


class _ScanError(Exception):
    """Why a file could not be read, as a sentence."""


@dataclass(slots=True)
class PageProgress:
    """Pages of the file that is being read: its name, how many are read, and how many there are (0: not known yet)."""

    file: str = ""
    done: int = 0
    total: int = 0


class Scanner:
    """The child process, started when the first file asks for it and again after one that it did not survive."""

    def __init__(self, context: Context, seconds_per_page: float = SECONDS_PER_PAGE) -> None:
        self.context = context
        self.seconds = seconds_per_page
        self.child: subprocess.Popen[bytes] | None = None
        self.buffer = b""
        self.progress = PageProgress()

    def __enter__(self) -> "Scanner":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def row(self, number: int, path: Path, kind: str, name: str, file: str = "") -> ParsedRow:
        """The file at ``path`` as a row with its pages; as a row with an error where it cannot be read."""
        out = Path(tempfile.mkdtemp(prefix="pages-", dir=self.context.folder))
        self.progress.file, self.progress.done, self.progress.total = file or name, 0, 0
        try:
            pages = list(self._pages(path, kind, out))
        except _ScanError as error:
            return ParsedRow(number, {"id": name}, str(error), file=file)
        if not pages:
            return ParsedRow(number, {"id": name}, "it has no pages", file=file)
        text, placed = put_together(pages)
        if not text.strip():
            said = (
                "no text was found on its page" if len(pages) == 1 else f"no text was found on its {len(pages)} pages"
            )
            return ParsedRow(number, {"id": name}, said, file=file)
        return ParsedRow(number, {"id": name, "text": text}, pages=placed, file=file)

    def _pages(self, path: Path, kind: str, out: Path) -> Iterator[tuple[str, ReadPage]]:
        request = {"path": str(path), "kind": kind, "out": str(out), "ocr": self.context.options.get("ocr", "auto")}
        self._ask(request)
        seen = 0
        while True:
            answer = self._answer(seen + 1)
            if "error" in answer:
                raise _ScanError(str(answer["error"]))
            if "page" not in answer:
                return
            seen += 1
            self.progress.done, self.progress.total = seen, int(answer["of"])
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
                    image=out / f"{seen}.webp",
                ),
            )

    def _ask(self, request: dict[str, Any]) -> None:
        if self.child is None or self.child.poll() is not None:
            self.close()
            with (self.context.folder / "scanner.log").open("ab") as log:
                self.child = subprocess.Popen(
                    [sys.executable, "-m", "labeling.imports.formats.scan_child"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    cwd=_ROOT,
                    env={**child_environment(), "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "2"},
                    start_new_session=True,
                )
        assert self.child.stdin is not None
        try:
            self.child.stdin.write(json.dumps(request).encode() + b"\n")
            self.child.stdin.flush()
        except BrokenPipeError:
            raise _ScanError("the program that reads it could not be started; look at the worker's log") from None

    def _answer(self, page: int) -> dict[str, Any]:
        assert self.child is not None
        assert self.child.stdout is not None
        until = time.monotonic() + self.seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self.child.stdout, selectors.EVENT_READ)
            while b"\n" not in self.buffer:
                if self.context.stopped():
                    self.close()
                    raise _ScanError("the import was cancelled")
                if time.monotonic() > until:
                    self.close()
                    raise _ScanError(f"page {page} took longer than {self.seconds:.0f} seconds and was given up")
                if not selector.select(timeout=0.5):
                    continue
                piece = os.read(self.child.stdout.fileno(), 1 << 16)
                if not piece:
                    code = self.child.wait()
                    self.close()
                    raise _ScanError(
                        f"the program that reads it ended at page {page} (code {code}): "
                        "the file is damaged, or takes too much memory"
                    )
                self.buffer += piece
        line, _, self.buffer = self.buffer.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """Ends the child."""
        child, self.child, self.buffer = self.child, None, b""
        if child is not None:
            child.kill()
            child.wait()
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    try:
                        pipe.close()
                    except BrokenPipeError:
                        pass
