"""What an upload becomes, before its import. A child process with limits reads it; nothing is written."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from pydantic import TypeAdapter

from labeling.imports import uploads
from labeling.imports.exchange_reviews import ExchangeReview
from labeling.imports.review_process import ask
from labeling.imports.rows import ReadError
from labeling.imports.table_reviews import ImportPreview, TableReview
from labeling.imports.uploads import Upload
from labeling.models import SchemaVersion
from slmstudio.errors import Refused

#: under which a file is read that has no project yet
_NO_SCHEMA: Final = '{"type":"object","properties":{"answer":{"type":"string"}}}'
_EXCHANGES: Final = TypeAdapter(ExchangeReview)
_TABLE: Final = TypeAdapter(TableReview)
_ROWS: Final = TypeAdapter(ImportPreview)


def review_exchanges(
    upload: Upload, options: Mapping[str, Any], version: SchemaVersion | None = None
) -> ExchangeReview:
    """The first rows of a file of exchanges, as an import with these options would read them.

    Raises:
        Refused: the file cannot be read, or is no longer stored.
    """
    with _request(upload, options, version) as request:
        return _EXCHANGES.validate_python(ask("exchanges", **request))


def review_table(
    upload: Upload, options: Mapping[str, Any], version: SchemaVersion, chosen: Sequence[str] | Mapping[str, str]
) -> TableReview:
    """The first rows of a table. ``chosen``: the roles of columns, by their place ("" as guessed) or by their name.

    Raises:
        Refused: the table cannot be read, or is no longer stored.
    """
    with _request(upload, options, version) as request, uploads.sample_path(upload) as sample:
        return _TABLE.validate_python(ask("table", **request, sample=sample, chosen=chosen))


def preview_rows(upload: Upload, options: Mapping[str, Any], version: SchemaVersion) -> ImportPreview:
    """Which of the first rows are valid.

    Raises:
        Refused: the file cannot be read, or is no longer stored.
    """
    with _request(upload, options, version) as request, uploads.sample_path(upload) as sample:
        return _ROWS.validate_python(ask("rows", **request, sample=sample))


@contextmanager
def _request(upload: Upload, options: Mapping[str, Any], version: SchemaVersion | None) -> Iterator[dict[str, Any]]:
    """The arguments that all requests to the child have. Errors of the block are those of the file."""
    schema = _NO_SCHEMA if version is None else version.schema_text
    try:
        with uploads.local_path(upload.key) as path, tempfile.TemporaryDirectory(prefix="preview-") as folder:
            context = {"folder": folder, "schema": schema, "options": dict(options)}
            yield {"path": str(path), "kind": upload.kind, "name": upload.name, "context": context}
    except ReadError as error:
        raise Refused(str(error)) from None
    except FileNotFoundError:
        raise Refused("The uploaded file is no longer available. Upload it again.") from None
