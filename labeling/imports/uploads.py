"""Uploads between their arrival and their import: stored at once, described, and thrown away where nobody confirms."""

import json
import shutil
import tempfile
import uuid
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from django.core import signing
from django.core.files import File
from django.utils import timezone

from labeling.imports.formats import MAPPED, Context, ReadError, arrow
from labeling.imports.formats import table as format_table
from labeling.imports.formats.readers import guess, open_rows
from labeling.imports.formats.zip_files import MOST_FILES
from labeling.imports.rows import ParsedRow, RowError, judge
from labeling.models import ImportRun, Project
from slmstudio.errors import Refused
from slmstudio.storage import artifacts

MAX_UPLOAD = 2 * 1024**3
#: an upload that waits for its columns to be mapped is kept this long
KEPT = timedelta(days=2)
_FOLDER = "imports"
_SALT = "labeling.upload"


@dataclass(frozen=True)
class Upload:
    """A stored upload: its key in the artifact store, its name, and the kind that it seems to be."""

    key: str
    name: str
    kind: str


def keep(*, files: Sequence[File], paths: Sequence[str] = (), kind: str = "") -> Upload:
    """Stores a file, or several as one zip, and looks at what it is.

    ``paths`` are the files' places in the folder they come from, in the same order. ``kind`` overrules the guess.

    Raises:
        Refused: nothing in it, too large, or of a kind that is not read.
    """
    if not files:
        raise Refused("Choose a file.")
    size = sum(file.size or 0 for file in files)
    if not size:
        raise Refused("The file is empty." if len(files) == 1 else "The files are empty.")
    if size > MAX_UPLOAD:
        raise Refused(f"That is over {MAX_UPLOAD // 1024**3} GB. Split it and import the parts one after the other.")
    if len(files) == 1:
        return _store(files[0], _last_name(files[0].name), kind)
    if len(files) > MOST_FILES:
        raise Refused(f"That is {len(files):,} files; at most {MOST_FILES:,} are taken.")
    with tempfile.TemporaryFile() as packed:
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
            for file, name in zip(files, _names(files, paths), strict=True):
                with archive.open(name, "w", force_zip64=True) as entry:
                    for chunk in file.chunks():
                        entry.write(chunk)
        packed.seek(0)
        return _store(File(packed), f"{len(files)} files.zip", kind)


def _store(file: File, name: str, kind: str) -> Upload:
    key = artifacts.store().save(f"{_FOLDER}/{uuid.uuid4().hex}/upload{PurePosixPath(name).suffix.lower()[:12]}", file)
    try:
        with local(key) as path:
            seen = guess(path, name)
    except ReadError as error:
        if kind in ("text", "csv", "jsonl"):  # what the person knows better than the first bytes
            return Upload(key, name, kind)
        artifacts.store().delete(key)
        raise Refused(str(error)) from None
    return Upload(key, name, kind or seen)


def _last_name(name: str | None) -> str:
    return (PurePosixPath((name or "").replace("\\", "/")).name or "upload")[:200]


def _names(files: Sequence[File], paths: Sequence[str]) -> Iterator[str]:
    """A name for each file in the zip: its place in its folder where that is known, and every name once."""
    taken: set[str] = set()
    known = len(paths) == len(files)
    for number, file in enumerate(files):
        parts = PurePosixPath(paths[number].replace("\\", "/")).parts if known else ()
        name = "/".join(part for part in parts if part not in ("..", ".", "/"))[-300:] or _last_name(file.name)
        while name in taken:
            name = f"{number + 1}-{name}"
        taken.add(name)
        yield name


@contextmanager
def local(key: str) -> Iterator[Path]:
    """A stored file as a path on this machine; copied where the store is elsewhere."""
    store = artifacts.store()
    try:
        path = Path(store.path(key))
    except NotImplementedError:
        with tempfile.NamedTemporaryFile(suffix=PurePosixPath(key).suffix) as copy:
            with store.open(key) as file:
                shutil.copyfileobj(file, copy, 1 << 20)
            copy.flush()
            yield Path(copy.name)
        return
    if not path.exists():
        raise FileNotFoundError(key)
    yield path


# -- waiting for the columns -------------------------------------------------------------------------------------------


def needs_mapping(upload: Upload) -> bool:
    """Whether a person is asked which column is what."""
    return upload.kind in MAPPED


def prepare(upload: Upload) -> None:
    """Reads a sample of a dataset, once, and stores it, or why there is none: whoever asks for the page again gets it
    from there. The file is unpacked and read by a child process with limits.
    """
    if upload.kind != "dataset":
        return
    try:
        with local(upload.key) as path:
            found: dict[str, Any] = asdict(arrow.sample(path))
    except ReadError as error:
        found = {"error": str(error)}
    artifacts.write_text(_sample_key(upload), json.dumps(found))


def _sample_key(upload: Upload) -> str:
    return f"{upload.key.rpartition('/')[0]}/sample.json"


def _sample(upload: Upload) -> arrow.Sample:
    key = _sample_key(upload)
    if not artifacts.store().exists(key):  # uploaded before there were samples
        prepare(upload)
    with artifacts.store().open(key) as file:
        found = json.load(file)
    if "error" in found:
        raise ReadError(found["error"])
    return arrow.Sample(**found)


def preview(upload: Upload, options: dict[str, Any]) -> format_table.Preview:
    """The columns and first rows of a table.

    Raises:
        Refused: it cannot be read, or is gone.
    """
    try:
        if upload.kind == "dataset":
            return _sample(upload).preview
        with local(upload.key) as path, path.open("rb") as file:
            return format_table.preview(file, options)
    except ReadError as error:
        raise Refused(str(error)) from None
    except FileNotFoundError:
        raise Refused("The uploaded file is no longer there. Upload it again.") from None


@dataclass(frozen=True)
class Trial:
    """What would become of the first rows: how many fit, and why others do not, each reason with its first row."""

    rows: int
    fit: int
    reasons: list[tuple[str, str]]


def trial(upload: Upload, project: Project, options: dict[str, Any], most: int = 100) -> Trial:
    """Reads and judges the first rows as an import with these options would, and writes nothing.

    Raises:
        Refused: the file cannot be read with them.
    """
    compiled = project.schema_version.compiled
    fit, count = 0, 0
    reasons: dict[str, str] = {}
    try:
        with tempfile.TemporaryDirectory(prefix="trial-") as folder:
            for parsed in islice(_first_rows(upload, Context(compiled, Path(folder), options)), most):
                count += 1
                try:
                    judge(parsed, compiled)
                except RowError as error:
                    reasons.setdefault(str(error), f"{parsed.file + ', ' if parsed.file else ''}row {parsed.number}")
                else:
                    fit += 1
    except ReadError as error:
        raise Refused(str(error)) from None
    return Trial(count, fit, [(where, reason) for reason, where in islice(reasons.items(), 3)])


def _first_rows(upload: Upload, context: Context) -> Iterator[ParsedRow]:
    if upload.kind == "dataset":
        yield from _sample(upload).rows(context)
        return
    with local(upload.key) as path, open_rows(path, upload.kind, upload.name, context) as reading:
        yield from reading.rows


def ticket(upload: Upload, project: Project, flags: dict[str, bool]) -> str:
    """An upload as a text for an address, signed, so that the page of the next step can be reloaded."""
    return signing.dumps([project.pk, upload.key, upload.name, upload.kind, flags], salt=_SALT, compress=True)


def by_ticket(text: str, project: Project) -> tuple[Upload, dict[str, bool]]:
    """The upload of a ticket and what was ticked with it.

    Raises:
        Refused: it is not of this project, too old, or the file is gone.
    """
    gone = "The uploaded file is no longer there. Upload it again."
    try:
        pk, key, name, kind, flags = signing.loads(text, salt=_SALT, max_age=KEPT)
    except (signing.BadSignature, ValueError, TypeError):
        raise Refused(gone) from None
    if pk != project.pk or not artifacts.store().exists(key):
        raise Refused(gone)
    return Upload(key, name, kind), flags


def throw_away_old() -> int:
    """Deletes uploads that nobody imported in time; how many. Uploads of an import that may go on stay."""
    store = artifacts.store()
    try:
        folders, _ = store.listdir(_FOLDER)
    except FileNotFoundError:
        return 0
    limit = timezone.now() - KEPT
    gone = 0
    for folder in folders:
        if len(folder) != 32:  # not of an upload
            continue
        for name in store.listdir(f"{_FOLDER}/{folder}")[1]:
            key = f"{_FOLDER}/{folder}/{name}"
            if store.get_modified_time(key) < limit and not ImportRun.objects.live().filter(upload_key=key).exists():
                store.delete(key)
                gone += 1
    return gone
