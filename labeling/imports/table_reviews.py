"""What a table becomes, before its import: the role of each column, and the rows that would be rejected."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from labeling.imports import uploads
from labeling.imports.formats.column_mapping import Preview, RoleChoice, guess_roles, mapping_error, role_choices
from labeling.imports.formats.registry import COLUMNS
from labeling.imports.uploads import ImportPreview, Upload
from labeling.models import Project
from slmstudio.errors import Refused


@dataclass(frozen=True)
class TableReview:
    """The first rows of a table and a role for every column. ``options``: those of the import, with the detected ones.

    ``error`` is why it cannot be imported; without one there is a ``preview``.
    """

    table: Preview
    roles: Mapping[str, str]
    choices: Sequence[RoleChoice]
    options: dict[str, Any]
    error: str = ""
    preview: ImportPreview | None = None

    @property
    def fingerprint(self) -> str:
        """Tells the table from another one that other options give."""
        content = repr((self.table.names, self.table.rows))
        return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def review_table(
    upload: Upload, project: Project, options: Mapping[str, Any], chosen: Callable[[Preview], Mapping[str, str]]
) -> TableReview:
    """Reads the first rows as an import with these options would, and writes nothing. ``chosen``: the roles of columns
    that are not as guessed.

    Raises:
        Refused: the table cannot be read with them, or is no longer stored.
    """
    compiled = project.schema_version.compiled
    table = uploads.preview(upload, dict(options))
    roles = {**guess_roles(table.names, compiled), **chosen(table)}
    choices = role_choices(compiled)
    complete = {**options, **table.detected, COLUMNS: roles}
    if error := mapping_error(roles, table.names, compiled):
        return TableReview(table, roles, choices, complete, error)
    try:
        preview = uploads.preview_import(upload, project, complete)
    except Refused as refusal:
        return TableReview(table, roles, choices, complete, str(refusal))
    return TableReview(table, roles, choices, complete, preview=preview)
