"""Erases documents with everything about them: labels, reviews, pre-labels, comments and pages."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from django.db import transaction
from django.db.models import ProtectedError

from labeling.models import Document, Gold, Review


@dataclass(frozen=True)
class Erased:
    """Ids of documents: erased ones, those kept for their gold label, and those that something frozen rests on."""

    documents: list[str] = field(default_factory=list)
    with_gold: list[str] = field(default_factory=list)
    in_use: list[str] = field(default_factory=list)


def erase_documents(keys: Iterable[int], *, with_gold: bool = False) -> Erased:
    """Erases the documents with these primary keys. ``with_gold``: also those that have a gold label.

    Documents of dataset versions, evaluations and the regression suite stay: what was approved rests on them.
    """
    result = Erased()
    for key in keys:
        with transaction.atomic():
            document = Document.objects.select_for_update().without_text().filter(pk=key).first()
            if document is None:
                continue
            if not with_gold and Gold.objects.filter(document=document).exists():
                result.with_gold.append(document.external_id)
                continue
            erased = _erase(document)
        (result.documents if erased else result.in_use).append(document.external_id)
    return result


def _erase(document: Document) -> bool:
    """False where rows of dataset versions, evaluations or others protect it."""
    try:
        with transaction.atomic():
            # Both protect the revision that they are about.
            Review.objects.filter(document=document).delete()
            Gold.objects.filter(document=document).delete()
            document.delete()
    except ProtectedError:
        return False
    return True
