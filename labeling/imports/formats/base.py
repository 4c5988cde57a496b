"""What an import format is made of: how it is detected, the options it takes, and how its rows are read.

A format is detected by the first bytes, then by the name. The name alone is never trusted. The central directory of a
zip may be hostile.
"""

import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from labeling.imports.rows import ParsedRow, ReadError
from slmstudio.contract.schema.compiled import CompiledSchema

MAX_FILES: Final = 200_000
#: of the central directory: enough for as many files with names of a hundred characters
MAX_DIRECTORY_BYTES: Final = 32 * 1024**2


def open_zip(path: Path, name: str) -> zipfile.ZipFile:
    """A zip whose list of files fits into memory; ``name`` begins the error message.

    Raises:
        ReadError: it is not a zip, is damaged, or has too many files.
    """
    try:
        large = _directory_size(path) > MAX_DIRECTORY_BYTES
        archive = None if large else zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:
        raise ReadError(
            f"{name} is a zip that cannot be opened: {error}. It may be truncated; create it again."
        ) from None
    if archive is None or len(archive.filelist) > MAX_FILES:
        raise ReadError(f"{name} is a zip with too many files; the maximum is {MAX_FILES:,}.")
    return archive


def _directory_size(path: Path) -> int:
    """Bytes of the central directory as the end record states them and zipfile trusts them; 0 without an end record."""
    with path.open("rb") as file:
        # Private, but a parser of our own could be led to another record than zipfile's.
        end = zipfile._EndRecData(file)  # type: ignore[attr-defined]
        return int(end[zipfile._ECD_SIZE]) if end else 0  # type: ignore[attr-defined]


if TYPE_CHECKING:
    from labeling.imports.conversations.readings import Reading
    from labeling.imports.formats.column_mapping import Preview, Sample

__all__ = ["PASTED", "RESERVE", "Context", "FileHead", "Format", "Option", "Progress", "ReadError", "Session", "Source"]

#: the file name of a pasted text; its documents get their ids from their texts
PASTED: Final = "pasted text"
#: bytes that detection reads
HEAD_BYTES: Final = 256 * 1024
_BOM: Final = b"\xef\xbb\xbf"
_T = TypeVar("_T")


@dataclass(frozen=True)
class Option:
    """A setting of a format, for its form field and for the REST interface.

    ``choices`` maps stored values to labels, the default first. ``is_detected``: without a choice the value is read
    off the file; ``detected_only`` are values that only detection can give.
    """

    name: str
    label: str
    choices: Mapping[str | bool, str]
    is_detected: bool = False
    detected_only: Mapping[str, str] = field(default_factory=dict)

    def error(self, value: object) -> str:
        """Why this cannot be the value; "" where it can."""
        if any(value == choice and type(value) is type(choice) for choice in self.choices):
            return ""
        known = ", ".join(str(choice).lower() if isinstance(choice, bool) else repr(choice) for choice in self.choices)
        return f"{self.name} must be one of {known}."

    def label_of(self, value: str) -> str:
        """The label of a value that was chosen or detected."""
        return self.choices.get(value) or self.detected_only[value]

    @property
    def form_choices(self) -> list[tuple[str, str]]:
        """Values and labels of a select element; booleans are written yes and no."""
        names = {True: "yes", False: "no"}
        listed = [(names[value] if isinstance(value, bool) else value, label) for value, label in self.choices.items()]
        return [("", "Detect automatically"), *listed] if self.is_detected else listed

    def parse(self, text: str) -> str | bool | None:
        """The value of a submitted form field; None where nothing was chosen."""
        names = {"yes": True, "no": False}
        return next((value for value in self.choices if text and value == names.get(text, text)), None)


#: of formats with pre-labels: the size of the hold-out up to which documents are reserved for it. So many without an
#: error prove 95 or 99% in its first evaluation, at 97.5% confidence (0.95^72 and 0.99^368 are below 2.5%).
RESERVE: Final = Option(
    "reserve",
    "Reserve for the hold-out, if pre-labeled",
    {
        "75": "30% of the documents, up to 75 in the hold-out: enough to prove 95%",
        "370": "30% of the documents, up to 370 in the hold-out: enough to prove 99%",
        "none": "None: every pre-label is shown",
    },
)


@dataclass(frozen=True)
class Context:
    """What readers need besides their file.

    ``folder`` takes temporary files (page images), ``options`` are those that the user chose, ``stopped`` returns True
    once the import is cancelled.
    """

    compiled: CompiledSchema
    folder: Path
    options: Mapping[str, Any] = field(default_factory=dict)
    stopped: Callable[[], bool] = lambda: False


@dataclass(slots=True)
class Progress:
    """How far an upload is read.

    ``share`` of its bytes, from 0 to 1; ``pages_done`` of ``pages_total`` (0: unknown) of a PDF or image, with its name
    in ``file`` if it is part of a zip; the labels of the ``encodings`` of its texts.
    """

    share: float = 0.0
    file: str = ""
    pages_done: int = 0
    pages_total: int = 0
    encodings: dict[str, None] = field(default_factory=dict)


class Session:
    """The reading of one upload: what all its files share. Closes its resources at the end."""

    def __init__(self, context: Context, formats: "Mapping[str, Format]") -> None:
        self.context = context
        self.formats = formats
        self.progress = Progress()
        #: what each file of exchanges was read as, for the page that shows it
        self.readings: list[Reading] = []
        #: rows that only the end of the upload can give
        self.leftovers: list[Callable[[], Iterator[ParsedRow]]] = []
        self._resources: dict[object, Any] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.close()

    def resource(self, create: "Callable[[Session], AbstractContextManager[_T]]") -> _T:
        """Something costly (a child process) that all files share: created by the first that asks for it."""
        if create not in self._resources:
            self._resources[create] = self._stack.enter_context(create(self))
        resource: _T = self._resources[create]
        return resource


@dataclass(frozen=True)
class Source:
    """A file to read. ``name`` is the id of a document that has no other; ``is_nested``: it is part of a zip."""

    path: Path
    name: str
    session: Session
    is_nested: bool = False

    @property
    def context(self) -> Context:
        """Of the import."""
        return self.session.context


@dataclass(frozen=True)
class FileHead:
    """The beginning of a file and its name, from which formats are detected.

    ``declared`` is the format that the extension names, "" if none does.
    """

    path: Path
    name: str
    data: bytes
    declared: str = ""

    @property
    def suffix(self) -> str:
        """The extension in lower case, with its dot."""
        return Path(self.name).suffix.lower()

    @cached_property
    def start(self) -> bytes:
        """The first bytes without a byte order mark and white space."""
        return self.data.removeprefix(_BOM).lstrip()

    @property
    def is_zip(self) -> bool:
        """By its signature."""
        return self.data.startswith((b"PK\x03\x04", b"PK\x05\x06"))

    @cached_property
    def zip_names(self) -> list[str]:
        """The names of the files in a zip; none if it is something else.

        Raises:
            ReadError: it cannot be opened.
        """
        if not self.is_zip:
            return []
        with open_zip(self.path, self.name) as archive:
            return archive.namelist()


@dataclass(frozen=True)
class Format:
    """An import format.

    ``name`` is stored with imports and used in the REST interface, ``title`` is shown. ``rows`` reads a file.
    ``detect`` recognizes one; a file that no format detects has the format of its extension.
    """

    name: str
    title: str
    rows: Callable[[Source], Iterator[ParsedRow]]
    extensions: tuple[str, ...] = ()
    detect: Callable[[FileHead], bool] = lambda head: False
    options: tuple[Option, ...] = ()
    #: of a format that its content decides, for the import page
    usual_extensions: tuple[str, ...] = ()
    #: what its rows are, for the counts of an import
    unit: str = "row"
    #: detected before text formats, by signatures
    is_binary: bool = False
    #: the extension decides, whatever the content looks like
    trusts_extension: bool = False
    #: a broken line costs only itself, so a user can choose the format for a file that is not recognized
    is_line_based: bool = False
    #: one document of pages: progress counts pages instead of rows
    is_paged: bool = False
    #: its rows are shown as documents before the import starts
    is_reviewed: bool = False
    #: the columns and first rows of a table. Tables are imported after the user has mapped their columns
    preview: "Callable[[Path, Mapping[str, Any]], Preview] | None" = None
    #: of a table that is costly to open: its first rows, read once and stored, from which the preview is made
    sample: "Callable[[Path], Sample] | None" = None

    @property
    def is_table(self) -> bool:
        """Whether its columns are mapped."""
        return self.preview is not None or self.sample is not None


_UNSUPPORTED: Final = (
    (b"\xd0\xcf\x11\xe0", "an old Office file; save it as PDF or CSV"),
    (b"{\\rtf", "a rich text file; save it as PDF or as plain text"),
    (b"\x1f\x8b", "compressed with gzip; decompress it first, or use a zip"),
    (b"7z\xbc\xaf", "compressed with 7-Zip; use a zip"),
    (b"Rar!", "compressed with RAR; use a zip"),
    (b"GIF8", "a GIF; use PNG, JPEG or TIFF"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
)
_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")


def detect_format(path: Path, name: str, formats: Mapping[str, Format]) -> Format:
    """The format of a file.

    Raises:
        ReadError: it is empty, of a format that is not supported, or of another one than its extension says.
    """
    with path.open("rb") as file:
        data = file.read(HEAD_BYTES)
    if not data:
        raise ReadError(f"{name} is empty.")
    suffix = Path(name).suffix.lower()
    named = [one for one in formats.values() if suffix in (*one.extensions, *one.usual_extensions)]
    declared = next((one for one in named[::-1] if suffix in one.extensions), None)
    head = FileHead(path, name, data, declared.name if declared else "")
    found = _by_content(head, declared, formats)
    # Text formats may have each other's extensions, and text may have one that is not known. Some are read from zips.
    is_right = suffix == ".zip" if head.is_zip else found in named
    if named and not is_right and (found.is_binary or head.is_zip or all(one.is_binary for one in named)):
        raise ReadError(f"{name} is named {suffix}, but its content is not ({found.title}). Correct its name.")
    return found


def _by_content(head: FileHead, declared: Format | None, formats: Mapping[str, Format]) -> Format:
    """The format, by signatures before names. Later formats are tried first: they are the more specific ones."""
    data, name = head.data, head.name
    candidates = list(formats.values())[::-1]
    if binary := next(
        (
            file_format
            for file_format in candidates
            if (file_format.is_binary or head.is_zip) and file_format.detect(head)
        ),
        None,
    ):
        return binary
    for signature, description in _UNSUPPORTED:
        if data.startswith(signature):
            raise ReadError(f"{name} is {description}.")
    fallback = declared or formats["text"]
    if data.startswith(_UTF16):
        return fallback
    if declared is None and b"\0" in data[:8192]:
        supported = "; ".join(file_format.title for file_format in formats.values())
        raise ReadError(f"The format of {name} is not supported. Supported formats: {supported}.")
    if declared is not None and declared.trusts_extension:
        return declared
    return next(
        (file_format for file_format in candidates if not file_format.is_binary and file_format.detect(head)), fallback
    )
