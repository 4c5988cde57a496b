"""Uploads before their import: stored, detected, reviewed, and deleted if the import is not started."""

import json
import tempfile
import uuid
import zipfile
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, Final, TypeVar, cast

from django.core import signing
from django.core.files import File
from django.utils import timezone
from pydantic import TypeAdapter

from labeling.imports.formats.base import MAX_FILES, Format
from labeling.imports.formats.registry import FORMATS
from labeling.imports.reviews import ExchangeReview, ImportPreview, TableReview
from labeling.imports.rows import ReadError
from labeling.models import ImportRun, Project, SchemaVersion
from slmstudio.contract.json_text import dumps
from slmstudio.errors import Refused
from slmstudio.runs.limited_child import CPU_SECONDS, LimitedChild, LimitError
from slmstudio.storage import artifacts
from slmstudio.storage.artifacts import is_disk_full
from slmstudio.storage.virus_scan import require_clean

_T = TypeVar("_T")
MAX_UPLOAD = 2 * 1024**3
#: of an upload whose import is not started
RETENTION = timedelta(days=2)
_FOLDER = "imports"
_SALT = "labeling.upload"
#: under which a file is read that has no project yet
_NO_SCHEMA: Final = '{"type":"object","properties":{"answer":{"type":"string"}}}'
_CHILD: Final = LimitedChild("labeling.imports.reviews")
_PROBLEMS: Final = {
    "time": f"Reading it takes more than {CPU_SECONDS:.0f} seconds. Split the file, or correct it.",
    "memory": "Reading it takes too much memory. Split the file, or correct it.",
    "failed": "It cannot be read: the file is damaged.",
}


@dataclass(frozen=True)
class Upload:
    """A stored upload: its key in the artifact store, its name and the name of its format."""

    key: str
    name: str
    kind: str

    @property
    def format(self) -> Format:
        """Detected or chosen."""
        return FORMATS[self.kind]


def store_upload(*, files: Sequence["File[bytes]"], paths: Sequence[str] = (), kind: str = "") -> Upload:
    """Stores a file, or several as one zip, and detects its format.

    ``paths`` are the paths of the files in their folder, in the same order. ``kind`` is the format that the user chose.

    Raises:
        Refused: it is empty, too large, or its format is not supported.
    """
    if not files:
        raise Refused("Choose a file.", field="file")
    size = sum(file.size or 0 for file in files)
    if not size:
        raise Refused("The file is empty." if len(files) == 1 else "The files are empty.", field="file")
    if size > MAX_UPLOAD:
        raise Refused(
            f"The upload is larger than {MAX_UPLOAD // 1024**3} GB. Split it into several imports.", field="file"
        )
    if len(files) == 1:
        return _store(files[0], _last_name(files[0].name), kind)
    if len(files) > MAX_FILES:
        raise Refused(f"The upload has {len(files):,} files; the maximum is {MAX_FILES:,}.", field="file")
    names = list(_names(files, paths))
    with _enough_room(), tempfile.TemporaryFile() as packed:
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
            for file, name in zip(files, names, strict=True):
                with archive.open(name, "w", force_zip64=True) as entry:
                    for chunk in file.chunks():
                        entry.write(chunk)
        packed.seek(0)
        return _store(File(packed), _joint_name(names), kind)


def _joint_name(names: Sequence[str]) -> str:
    """The name of an upload of several files: their folder, or the first of them."""
    folders = {name.partition("/")[0] if "/" in name else "" for name in names}
    folder = folders.pop()
    if folder and not folders:
        return folder[:200]
    more = f" and {len(names) - 1:,} more"
    return _last_name(names[0])[: 200 - len(more)] + more


@contextmanager
def _enough_room() -> Iterator[None]:
    """Refuses an upload for which the disk has no room."""
    try:
        yield
    except OSError as error:
        if not is_disk_full(error):
            raise
        message = "The server disk is full. Nothing was stored. Ask an administrator to free some space."
        raise Refused(message, field="file", code="disk_full") from error


def _store(file: "File[bytes]", name: str, kind: str) -> Upload:
    require_clean(file, name)
    place = f"{_FOLDER}/{uuid.uuid4().hex}/upload"
    with _enough_room():
        key = artifacts.store().save(place, file)
    try:
        with local_path(key) as path:
            detected = str(_ask("detect", path=str(path), name=name))
    except ReadError as error:
        if kind and FORMATS[kind].is_line_based:
            return Upload(key, name, kind)
        artifacts.store().delete(key)
        raise Refused(str(error), field="file") from None
    except BaseException:
        artifacts.store().delete(key)
        raise
    return Upload(key, name, kind or detected)


def _last_name(name: str | None) -> str:
    return (PurePosixPath((name or "").replace("\\", "/")).name or "upload")[:200]


def _names(files: Sequence["File[bytes]"], paths: Sequence[str]) -> Iterator[str]:
    """A unique name for each file in the zip: its path in its folder if that is known."""
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
def local_path(key: str) -> Iterator[Path]:
    """A stored file as a local path.

    Raises:
        FileNotFoundError: it was deleted.
    """
    path = Path(artifacts.store().path(key))
    if not path.exists():
        raise FileNotFoundError(key)
    yield path


def _store_sample(upload: Upload) -> None:
    """Stores a sample of a table that is costly to open, or the error, for the pages that show it."""
    read = upload.format.sample
    assert read is not None
    try:
        with local_path(upload.key) as path:
            stored: dict[str, Any] = asdict(read(path))
    except ReadError as error:
        stored = {"error": str(error)}
    artifacts.write_text(_sample_key(upload), json.dumps(stored))


def _sample_key(upload: Upload) -> str:
    return f"{upload.key.rpartition('/')[0]}/sample.json"


@contextmanager
def sample_path(upload: Upload) -> Iterator[str]:
    """The path of the sample of a table that is costly to open; "" for other uploads."""
    if upload.format.sample is None:
        yield ""
        return
    if not artifacts.store().exists(_sample_key(upload)):
        with _enough_room():
            _store_sample(upload)
    with local_path(_sample_key(upload)) as path:
        yield str(path)


def sign_upload(upload: Upload, project: Project, flags: dict[str, bool]) -> str:
    """An upload as a signed text for a URL, so the page of its columns can be reloaded."""
    return signing.dumps([project.pk, upload.key, upload.name, upload.kind, flags], salt=_SALT, compress=True)


def upload_from_signature(text: str, project: Project) -> tuple[Upload, dict[str, bool]]:
    """The upload of a signed text, and the flags of its import.

    Raises:
        Refused: it belongs to another project, is too old, or the file is no longer stored.
    """
    missing = "The uploaded file is no longer available. Upload it again."
    try:
        pk, key, name, kind, flags = signing.loads(text, salt=_SALT, max_age=RETENTION)
    except (signing.BadSignature, ValueError, TypeError):
        raise Refused(missing, field="file") from None
    if pk != project.pk or not artifacts.store().exists(key):
        raise Refused(missing, field="file")
    return Upload(key, name, kind), flags


def delete_upload(upload: Upload) -> None:
    """Deletes an upload with its sample."""
    for key in (upload.key, _sample_key(upload)):
        artifacts.store().delete(key)


def delete_expired() -> int:
    """Deletes uploads that were not imported in time; returns their number. Uploads of live imports stay."""
    store = artifacts.store()
    try:
        folders, _ = store.listdir(_FOLDER)
    except FileNotFoundError:
        return 0
    limit = timezone.now() - RETENTION
    deleted = 0
    for folder in folders:
        if len(folder) != 32:  # not the folder of an upload
            continue
        for name in store.listdir(f"{_FOLDER}/{folder}")[1]:
            key = f"{_FOLDER}/{folder}/{name}"
            if store.get_modified_time(key) < limit and not ImportRun.objects.live().filter(upload_key=key).exists():
                store.delete(key)
                deleted += 1
    return deleted


# -- reviews: a child process with limits reads the file; nothing is written ------------------------------------------


def review_exchanges(
    upload: Upload, options: Mapping[str, Any], version: SchemaVersion | None = None
) -> ExchangeReview:
    """The first rows of a file of exchanges, as an import with these options would read them.

    Raises:
        Refused: the file cannot be read, or is no longer stored.
    """
    return _review(ExchangeReview, "exchanges", upload, options, version)


def review_table(
    upload: Upload, options: Mapping[str, Any], version: SchemaVersion, chosen: Sequence[str] | Mapping[str, str]
) -> TableReview:
    """The first rows of a table. ``chosen``: the roles of columns, by their place ("" as guessed) or by their name.

    Raises:
        Refused: the table cannot be read, or is no longer stored.
    """
    return _review(TableReview, "table", upload, options, version, chosen=chosen)


def preview_rows(upload: Upload, options: Mapping[str, Any], version: SchemaVersion) -> ImportPreview:
    """Which of the first rows are valid.

    Raises:
        Refused: the file cannot be read, or is no longer stored.
    """
    return _review(ImportPreview, "rows", upload, options, version)


def check_labels(upload: Upload, options: Mapping[str, Any], version: SchemaVersion) -> None:
    """Raises Refused where the first rows of a JSON file have no gold, but keys that look like labels. A file that
    cannot be read passes: its import says why.
    """
    if upload.kind not in ("jsonl", "json"):
        return
    try:
        names = preview_rows(upload, options, version).label_names
    except Refused:
        return
    if names:
        raise Refused(
            f'The rows have no "gold", but fields that look like labels: {", ".join(names)}. Rename the field to '
            '"gold" in the file, or choose “Import without labels” in the options.',
            field="file",
            code="labels_unread",
        )


def _review(
    kind: type[_T], action: str, upload: Upload, options: Mapping[str, Any], version: SchemaVersion | None, **more: Any
) -> _T:
    try:
        with (
            local_path(upload.key) as path,
            sample_path(upload) as sample,
            tempfile.TemporaryDirectory(prefix="preview-") as folder,
        ):
            answer = _ask(
                action,
                path=str(path),
                kind=upload.kind,
                name=upload.name,
                folder=folder,
                schema=_NO_SCHEMA if version is None else version.schema_text,
                options=dict(options),
                sample=sample,
                **more,
            )
    except ReadError as error:
        raise Refused(str(error), field="file") from None
    except FileNotFoundError:
        raise Refused("The uploaded file is no longer available. Upload it again.", field="file") from None
    value: _T = _adapter(cast("Hashable", kind)).validate_python(answer)
    return value


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _ask(action: str, **request: Any) -> Any:
    """The answer of the child: one of ``reviews.ACTIONS`` with these arguments.

    Raises:
        ReadError: the file cannot be read, or not within the limits.
    """
    try:
        answer = json.loads(_CHILD.ask(dumps([action, request])), parse_float=Decimal)
    except LimitError as error:
        raise ReadError(_PROBLEMS[error.what]) from None
    if "error" in answer:
        raise ReadError(answer["error"])
    return answer["value"]
