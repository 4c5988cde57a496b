"""What the list can be sorted by: where each order starts, its key, and keys as they stand in an address."""

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils.dateparse import parse_datetime

from labeling.documents.list.conditions import SQL, Plain
from labeling.models import Project

#: a place in an order: the key (None where documents are sorted by id alone) and the document's id
Place = tuple[Any, int]
_MOST_ID = 2**63 - 1


@dataclass(frozen=True)
class Order:
    """An order of documents, served by an index. ``key`` is the column of ``table`` (as ``k``) that sorts; documents
    with the same key are sorted by id. ``only``: SQL of what else leads to a row, for example one label of several.
    """

    table: str
    key: str
    id: str
    descending: bool
    only: str = "true"

    def reversed(self) -> "Order":
        """The same, read from its end."""
        return Order(self.table, self.key, self.id, not self.descending, self.only)

    def source(self, project: Project, plain: Plain | None) -> SQL:
        """``FROM ... WHERE ...`` of all rows of the project, or of those that the plain filters leave.

        ``plain`` can only be given for orders that start at the documents.
        """
        if plain is not None and not self.key:
            return f"labeling_document d WHERE {plain.where}", plain.params
        alias = "k" if self.key else "d"
        return f"{self.table} {alias} WHERE {alias}.project_id = %s AND {self.only}", (project.pk,)

    @property
    def columns(self) -> str:
        """Key and id."""
        return f"{self.key or 'NULL'} AS key, {self.id} AS id"

    def by(self, key: str, pk: str) -> str:
        """``ORDER BY`` over columns of these names."""
        direction = "DESC" if self.descending else "ASC"
        return f"{key} {direction}, {pk} {direction}" if self.key else f"{pk} {direction}"

    def behind(self, place: Place | None) -> SQL:
        """What comes behind a place."""
        if place is None:
            return "true", ()
        sign = "<" if self.descending else ">"
        if not self.key:
            return f"{self.id} {sign} %s", (place[1],)
        return f"({self.key}, {self.id}) {sign} (%s, %s)", place

    def sorts(self, place: Place) -> Any:
        """A key for Python's sort, ascending."""
        return (place[0], place[1]) if self.key else place[1]


# Of the labels that several people wrote of one document the one that comes first leads to it.
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


def write_place(place: Place) -> str:
    """A place as it stands in an address: ``7`` or ``0.25~7``."""
    key, pk = place
    if key is None:
        return str(pk)
    return f"{key.isoformat() if isinstance(key, datetime) else repr(float(key))}~{pk}"


def read_place(text: str, order: str) -> Place | None:
    """The place of an address; None where it is none of this order."""
    key_text, _, id_text = text.rpartition("~")
    if not (id_text.isascii() and id_text.isdigit() and len(id_text) < 20 and int(id_text) <= _MOST_ID):
        return None
    if not _ORDERS[order].key:
        return None if key_text else (None, int(id_text))
    try:
        key = parse_datetime(key_text) if order == "saved" else float(key_text)
    except ValueError:
        return None
    usable = key.tzinfo is not None if isinstance(key, datetime) else key is not None and math.isfinite(key)
    return (key, int(id_text)) if usable else None
