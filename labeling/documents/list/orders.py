"""The orders of the list: the table and key of each, and positions in it as URL parameters."""

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils.dateparse import parse_datetime

from labeling.documents.list.conditions import SQL
from labeling.models import Project

#: in an order: the key (None if documents are sorted by id) and the document's id
Position = tuple[Any, int]
_MAX_ID = 2**63 - 1


@dataclass(frozen=True)
class Order:
    """An order of documents, backed by an index. ``key`` is the sort column of ``table`` (alias ``k``); documents with
    the same key are sorted by id. ``only`` is SQL that selects one row per document, for example its last label.
    """

    table: str
    key: str
    id: str
    descending: bool
    only: str = "true"

    def reversed(self) -> "Order":
        """The opposite order."""
        return Order(self.table, self.key, self.id, not self.descending, self.only)

    def source(self, project: Project, columns: SQL | None) -> SQL:
        """``FROM ... WHERE ...`` of the rows of the project that match the column filter.

        ``columns`` can only be given for orders of the document table.
        """
        if columns is not None and not self.key:
            where, params = columns
            return f"labeling_document d WHERE {where}", params
        alias = "k" if self.key else "d"
        return f"{self.table} {alias} WHERE {alias}.project_id = %s AND {self.only}", (project.pk,)

    @property
    def columns(self) -> str:
        """Key and id, for SELECT."""
        return f"{self.key or 'NULL'} AS key, {self.id} AS id"

    def by(self, key: str, pk: str) -> str:
        """``ORDER BY`` over columns of these names."""
        direction = "DESC" if self.descending else "ASC"
        return f"{key} {direction}, {pk} {direction}" if self.key else f"{pk} {direction}"

    def after(self, position: Position | None) -> SQL:
        """SQL for the rows after a position."""
        if position is None:
            return "true", ()
        sign = "<" if self.descending else ">"
        if not self.key:
            return f"{self.id} {sign} %s", (position[1],)
        return f"({self.key}, {self.id}) {sign} (%s, %s)", position

    def sort_key(self, position: Position) -> Any:
        """A key for Python's sort, ascending."""
        return (position[0], position[1]) if self.key else position[1]


# Of several labels of a document, the first in the order counts.
_NO_OTHER = (
    "k.user_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM labeling_annotation o WHERE o.document_id = k.document_id "
    "AND o.user_id IS NOT NULL AND (o.{0}, o.id) > (k.{0}, k.id))"
)
_LABELS, _SCORES = "labeling_annotation", "labeling_documentscore"
_ORDERS = {
    "": Order("labeling_document", "", "d.id", False),
    "newest": Order("labeling_document", "", "d.id", True),
    "saved": Order(_LABELS, "k.updated_at", "k.document_id", True, _NO_OTHER.format("updated_at")),
    "slowest": Order(_LABELS, "k.seconds", "k.document_id", True, _NO_OTHER.format("seconds")),
    "worst": Order(_SCORES, "k.score", "k.document_id", False),
    "best": Order(_SCORES, "k.score", "k.document_id", True),
}


def order_of(name: str) -> Order:
    """The order of this name (see ``filters.ORDERS``)."""
    return _ORDERS[name]


def encode_position(position: Position) -> str:
    """A position as a URL parameter: ``7`` or ``0.25~7``."""
    key, pk = position
    if key is None:
        return str(pk)
    return f"{key.isoformat() if isinstance(key, datetime) else repr(float(key))}~{pk}"


def decode_position(text: str, order: str) -> Position | None:
    """The position of a URL parameter; None if it is not one of this order."""
    key_text, _, id_text = text.rpartition("~")
    if not (id_text.isascii() and id_text.isdigit() and len(id_text) < 20 and int(id_text) <= _MAX_ID):
        return None
    if not _ORDERS[order].key:
        return None if key_text else (None, int(id_text))
    try:
        key = parse_datetime(key_text) if order == "saved" else float(key_text)
    except ValueError:
        return None
    usable = key.tzinfo is not None if isinstance(key, datetime) else key is not None and math.isfinite(key)
    return (key, int(id_text)) if usable else None
