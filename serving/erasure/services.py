"""Finds a text wherever a project stores it, and erases it: the name of a person, an address, a document's ID.

A document that has it in its text, its ID, its metadata or a label is erased as a whole; of a dataset version only its
row stays. Requests lose their texts and outputs. Anywhere else the text is replaced.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Q, QuerySet, TextField
from django.db.models.functions import Cast

from evaluation.models import ClassicalModel
from labeling.documents.erasure import erase_documents, frozen_sha256, text_sha256
from labeling.models import Document, Erasure, Project, Split
from serving.batches import erasure as batches
from serving.erasure import files
from serving.erasure.pattern import ErasedText
from serving.erasure.places import KEPT, OF_DOCUMENTS, tables
from serving.gateway.request_log.process import log_folder
from serving.gateway.request_log.store import erase_rejected
from serving.models import RequestLog
from serving.retention.services import compared_documents, erase_rows
from slmstudio.access import Action, require
from slmstudio.errors import Refused
from slmstudio.hooks import note_audit
from slmstudio.workers.queues import live_runs
from training.models import SpecExport, TrainingRun

_OF_REQUESTS = (
    "caller",
    "detail",
    "text",
    "output",
    "exchange",
    "response",
    "first_output",
    "confidence",
    "calibrated",
)
#: documents that a preview names
MAX_NAMES = 50


@dataclass(frozen=True)
class Found:
    """Where a text is: place -> number of rows, lines or files; ``kept``: of what stays as it is.

    ``documents``: keys of the documents that have it; ``names``: the first of their ids. ``trained``: the models that
    were trained on them.
    """

    counts: dict[str, int]
    kept: dict[str, int]
    documents: list[int]
    names: list[str]
    requests: list[Any]
    files: files.FoundFiles
    trained: list[str]

    @property
    def is_empty(self) -> bool:
        """Whether nothing can be erased."""
        return not self.counts


def find(*, project: Project, user: User | None, text: str) -> Found:
    """Where a text is.

    Raises:
        Forbidden: the user's role does not permit it.
        Refused: ``field`` is text: it is too short or too long.
    """
    require(project, user, Action.ADMINISTER)
    return _find(project, ErasedText(text))


def _find(project: Project, text: ErasedText) -> Found:
    counts: Counter[str] = Counter()
    kept: Counter[str] = Counter()
    documents: set[int] = set()
    for table in tables():
        number = 0
        for key, _ in table.rows(project, text):
            number += 1
            if way := OF_DOCUMENTS.get(table.model):
                documents.add(key if way == "pk" else _document_of(table.model, key, way))
        (kept if table.model in KEPT else counts)[table.title] += number
    rows = Document.objects.filter(pk__in=documents).order_by("pk")
    names = dict(rows.values_list("external_id", "pk"))
    requests = _requests(project, text)
    counts["requests"] += len(requests)
    counts["lines of batches"] += batches.erase_documents(project, found=text.found_in, dry_run=True)[0]
    found_files = files.find(project, _eraser(text, names))
    counts["files"] += len(found_files.keys)
    kept["files of models and packages"] += len(found_files.kept)
    kept["uploads that cannot be searched"] += found_files.unread
    return Found(
        {name: number for name, number in sorted(counts.items()) if number},
        {name: number for name, number in sorted(kept.items()) if number},
        sorted(documents), list(names)[:MAX_NAMES], requests, found_files, _trained_on(documents),
    )  # fmt: skip


def _document_of(model: Any, key: Any, way: str) -> int:
    return int(model._base_manager.values_list(way, flat=True).get(pk=key))


def _eraser(text: ErasedText, names: dict[str, int]) -> files.FileEraser:
    return files.FileEraser(text, {name: f"erased-{pk}" for name, pk in names.items()})


def _requests(project: Project, text: ErasedText) -> list[Any]:
    rows = RequestLog.objects.filter(project_id=project.pk)
    where = Q()
    for column in _OF_REQUESTS:
        rows = rows.annotate(**{f"{column}_text": Cast(column, TextField())})
        where |= Q(**{f"{column}_text__iregex": text.sql})
    found = rows.filter(where).values_list("id", *_OF_REQUESTS)
    return [key for key, *values in found.iterator(chunk_size=100) if any(map(text.found_in, values))]


def _trained_on(documents: set[int]) -> list[str]:
    of_split = {"dataset__items__document__in": documents, "dataset__items__split": Split.TRAIN}
    silver = {"dataset__silver_items__document__in": documents}
    names = []
    for model in (TrainingRun, ClassicalModel):
        names += [str(row) for row in model._default_manager.filter(Q(**of_split) | Q(**silver)).distinct()]
    return names


def erase(*, project: Project, user: User | None, text: str) -> Erasure:
    """Erases a text wherever the project stores it, and stores the report. ``user`` None: an operator.

    Raises:
        Forbidden: the user's role does not permit it.
        Refused: it is too short or too long, it is nowhere, or runs are in progress, which could store it again.
    """
    require(project, user, Action.ADMINISTER)
    erased_text = ErasedText(text)
    with transaction.atomic():
        Project.objects.select_for_update(no_key=True).get(pk=project.pk)
        if number := live_runs(project):
            runs = "1 run is" if number == 1 else f"{number} runs are"
            raise Refused(f"{runs} in progress. Cancel them, or wait until they end.", field="text", code="busy")
        found = _find(project, erased_text)
        if found.is_empty:
            raise Refused("The text was not found.", field="text", code="nothing")
        hashes = _erase(project, erased_text, found)
        report = Erasure.objects.create(
            project=project, sha256=text_sha256(project, erased_text.text), created_by=user, files=hashes,
            counts={**found.counts, "erased documents": len(found.documents)}, kept=found.kept, trained=found.trained,
        )  # fmt: skip
        note_audit(
            project=project, user=user, action="erased", about=f"a text (erasure {report.pk})",
            details={"sha256": report.sha256, "counts": report.counts},
        )  # fmt: skip
    return report


def reports(project: Project) -> QuerySet[Erasure]:
    """The reports of a project, newest first."""
    return Erasure.objects.filter(project=project).select_related("created_by").order_by("-pk")


def _erase(project: Project, text: ErasedText, found: Found) -> dict[str, tuple[str, str]]:
    names = dict(Document.objects.filter(pk__in=found.documents).values_list("external_id", "pk"))
    in_use = compared_documents(found.documents)
    erase_documents(found.documents, with_gold=True, empty_in_use=True, in_use=in_use)
    erase_rows(project, found.requests, with_gold=True, empty_in_use=True)
    batches.erase_documents(project, found=text.found_in)
    erase_rejected(log_folder(), project.pk, found=text.found_in)
    for table in tables():
        if table.model not in KEPT:
            for key, changed in list(table.rows(project, text)):
                table.replace(key, changed)
    keys = _without_exports(project, found.files.keys)
    hashes = files.rewrite(keys, _eraser(text, names))
    return {key: (frozen_sha256(key, before), after) for key, (before, after) in hashes.items()}


def _without_exports(project: Project, keys: list[str]) -> list[str]:
    """Deletes exports for other trainers that have the text; returns the keys of other files."""
    for export in SpecExport.objects.filter(training_run__project=project).exclude(folder_key=""):
        of_export = [key for key in keys if key.startswith(f"{export.folder_key}/")]
        if of_export:
            files.delete_folder(export.folder_key)
            export.delete()
            keys = [key for key in keys if key not in of_export]
    return keys
