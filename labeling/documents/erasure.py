"""Erases documents with everything about them: labels, reviews, pre-labels, comments and pages.

The row of a document stays without its content where something frozen rests on it: a dataset version, an evaluation or
the regression suite. The hashes of these stay, too, so what was approved stays approved.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from functools import partial

from django.db import transaction
from django.db.models import ProtectedError
from django.utils import timezone

from labeling.models import (
    Annotation,
    AnnotationRevision,
    Comment,
    Document,
    DocumentScore,
    DocumentSearch,
    DocumentState,
    Erasure,
    Gold,
    Page,
    Prediction,
    Project,
    Review,
)
from slmstudio.hooks import Hook
from slmstudio.storage import artifacts
from slmstudio.storage.hashing import sha256_text

#: erases what higher apps store about these documents, whose rows stay
documents_emptied: Hook[[list[int]], object] = Hook()


@dataclass(frozen=True)
class Erased:
    """Ids of documents: erased ones, those kept for their gold label, and those that something frozen rests on."""

    documents: list[str] = field(default_factory=list)
    with_gold: list[str] = field(default_factory=list)
    in_use: list[str] = field(default_factory=list)


def erase_documents(
    keys: Iterable[int], *, with_gold: bool = False, empty_in_use: bool = False, in_use: Collection[int] = ()
) -> Erased:
    """Erases the documents with these primary keys. ``with_gold``: also those that have a gold label.

    Documents of dataset versions, evaluations, the regression suite and ``in_use`` stay, as what was approved rests on
    them; with ``empty_in_use`` their content goes, and only the row stays.
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
            name, images = document.external_id, _images(document)
            erased = key not in in_use and _erase(document)
            if not erased and empty_in_use:
                _empty(document)
            if erased or empty_in_use:
                transaction.on_commit(partial(_delete_files, images))
        (result.documents if erased else result.in_use).append(name)
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


def _empty(document: Document) -> None:
    """Erases the content of a document; the row, and the numbers of its revisions, stay."""
    Document.objects.filter(pk=document.pk).update(
        external_id=f"erased-{document.pk}", text="", source="", metadata={}, skip_reason="", returned=None,
        state=DocumentState.SKIPPED, disputed=False, assigned_to=None, locked_by=None, locked_until=None, page_count=0,
        erased_at=timezone.now(),
    )  # fmt: skip
    for table in (Review, Gold, Comment, Prediction, Page, DocumentSearch, DocumentScore):
        table.objects.filter(document=document).delete()
    Annotation.objects.filter(document=document).update(value={}, evidence={}, field_seconds={})
    AnnotationRevision.objects.filter(annotation__document=document).update(value={}, evidence={})
    documents_emptied.call([document.pk])


def _images(document: Document) -> list[str]:
    return list(Page.objects.filter(document=document).exclude(image_key="").values_list("image_key", flat=True))


def _delete_files(keys: Iterable[str]) -> None:
    for key in keys:
        artifacts.store().delete(key)


def text_sha256(project: Project, text: str) -> str:
    """The hash of an erased text, of this project alone: with the text at hand, its report can be found."""
    return sha256_text(f"erasure {project.pk} {text.casefold()}")


def frozen_sha256(key: str, sha256: str) -> str:
    """The hash that a file of the artifact store was frozen with, if only an erasure has changed it since; else the
    given hash, which is that of the file now.
    """
    erasure = Erasure.objects.filter(files__has_key=key).order_by("-pk").first()
    if erasure is None:
        return sha256
    before, after = erasure.files[key]
    return str(before) if sha256 == after else sha256
