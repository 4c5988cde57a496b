"""The regression suite: pinned documents that every model must get right.

An evaluation breaks a pinned document if it has an output for it that is not an exact match. Documents without an
output are reported as unchecked.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone
from django.utils.translation import ngettext

from evaluation.audit import services as audit_services
from evaluation.models import EvalOutput, EvalRun, Pin
from labeling.models import Document, Project
from slmstudio.access import Action, require
from slmstudio.errors import Refused

MAX_REASON_LENGTH = 300
#: documents that can be pinned in one request
MAX_PINS = 50


@dataclass(frozen=True)
class SuiteResult:
    """The result of the suite in one evaluation: keys of the pinned documents that are right, and that are broken."""

    pinned: int
    right: tuple[int, ...] = ()
    broken: tuple[int, ...] = ()

    @property
    def checked(self) -> int:
        """How many of them have an output."""
        return len(self.right) + len(self.broken)

    @property
    def unchecked(self) -> int:
        """How many have no output."""
        return self.pinned - self.checked

    @property
    def words(self) -> str:
        """The result as a sentence; "" where no document is pinned."""
        if not self.pinned:
            return ""
        if not self.checked:
            if self.pinned == 1:
                return "The pinned document is not in this evaluation."
            return f"None of the {self.pinned:,} pinned documents are in this evaluation."
        noun = ngettext("pinned document", "pinned documents", self.checked)
        text = f"{len(self.right):,} of {self.checked:,} {noun} correct"
        if self.broken:
            text += f", {len(self.broken):,} wrong"
        if not self.unchecked:
            return f"{text}."
        return f"{text}; {self.unchecked:,} more {ngettext('is', 'are', self.unchecked)} not in this evaluation."


def pin(*, project: Project, document: Document, user: User, reason: str = "") -> Pin:
    """Pins a document; returns the existing pin of a pinned one.

    Raises:
        Refused: the document belongs to another project, its outputs on the hold-out are not open, or the reason is too
            long.
    """
    require(project, user, Action.PROPOSE_POLICY)
    if document.project_id != project.pk:
        raise Refused("That document belongs to another project.", field="document")
    reason = reason.replace("\0", "").strip()
    if len(reason) > MAX_REASON_LENGTH:
        raise Refused(f"The reason can have at most {MAX_REASON_LENGTH} characters.", field="reason")
    existing = Pin.objects.filter(document=document, removed_at=None).first()
    if existing is not None:
        return existing
    if document.holdout and not _is_open(document):
        raise Refused(
            f"{document.external_id} is in the hold-out, and pinning it would reveal its result. Pin validation "
            "documents instead.",
            field="document",
            code="holdout",
        )
    row = Pin(project=project, document=document, reason=reason, created_by=user)
    row.full_clean(validate_constraints=False)
    try:
        with transaction.atomic():
            row.save()
            _record(row, user, "pinned", reason)
    except IntegrityError:  # pinned by a concurrent request
        return Pin.objects.get(document=document, removed_at=None)
    return row


def _is_open(document: Document) -> bool:
    """Whether an output for a hold-out document is shown already."""
    runs = EvalRun.objects.filter(project=document.project_id).on_holdout().with_visible_outputs()
    return EvalOutput.objects.filter(document=document, eval_run__in=runs).exists()


def pin_all(*, project: Project, names: Sequence[str], user: User, reason: str = "") -> int:
    """Pins the documents with these ids; returns how many were not pinned yet.

    Raises:
        Refused: there are none, or more than ``MAX_PINS``.
    """
    require(project, user, Action.PROPOSE_POLICY)
    if not 0 < len(names) <= MAX_PINS:
        raise Refused(f"Select 1 to {MAX_PINS} documents; {len(names):,} are selected.", field="documents")
    before = pinned_documents(project)
    documents = Document.objects.filter(project=project, external_id__in=names).only(
        "external_id", "project_id", "holdout"
    )
    new = [document for document in documents if document.pk not in before]
    for document in new:
        pin(project=project, document=document, user=user, reason=reason)
    return len(new)


def unpin(*, project: Project, document: Document, user: User, reason: str = "") -> bool:
    """Unpins a document; its pin stays as history. False where it was not pinned."""
    require(project, user, Action.SET_POLICY)
    with transaction.atomic():
        rows = Pin.objects.select_for_update(of=("self",)).select_related("document")
        row = rows.filter(project=project, document=document, removed_at=None).first()
        if row is None:
            return False
        row.removed_at, row.removed_by = timezone.now(), user
        row.save(update_fields=["removed_at", "removed_by"])
        _record(row, user, "unpinned", reason.replace("\0", "").strip()[:MAX_REASON_LENGTH])
    return True


def _record(row: Pin, user: User, action: str, reason: str) -> None:
    about = f"document {row.document.external_id}"
    details = {"document": row.document_id, "reason": reason}
    audit_services.record(project=row.project, user=user, action=action, about=about[:200], details=details)


def pinned_documents(project: Project) -> set[int]:
    """Keys of the pinned documents."""
    return set(Pin.objects.filter(project=project, removed_at=None).values_list("document_id", flat=True))


def suite_result(run: EvalRun) -> SuiteResult:
    """The result of the suite in an evaluation."""
    return suite_results(run.project_id, [run])[run.pk]


def suite_results(project: Any, runs: Iterable[EvalRun]) -> dict[int, SuiteResult]:
    """The results in several evaluations of one project (or its key), by the key of the evaluation."""
    keys = [run.pk for run in runs]
    rows = Pin.objects.filter(project=project, removed_at=None).order_by("document_id")
    pinned = list(rows.values_list("document_id", flat=True))
    if not pinned:
        return dict.fromkeys(keys, SuiteResult(0))
    right: dict[int, list[int]] = {key: [] for key in keys}
    broken: dict[int, list[int]] = {key: [] for key in keys}
    for run, document, exact in answers(keys, pinned):
        (right if exact else broken)[run].append(document)
    return {key: SuiteResult(len(pinned), tuple(right[key]), tuple(broken[key])) for key in keys}


#: evaluations that the page of the suite shows
MAX_RUNS = 5


@dataclass(frozen=True)
class PinnedDocument:
    """A pin with the results of the newest evaluations, newest first: right, broken, or None without an output."""

    row: Pin
    answers: tuple[bool | None, ...]

    @property
    def newest(self) -> bool | None:
        """The result of the newest evaluation with the document."""
        return next((answer for answer in self.answers if answer is not None), None)


def pinned_with_results(project: Project) -> tuple[list[EvalRun], list[PinnedDocument]]:
    """The newest evaluations of models that were trained here with a pinned document, and every pin with their results,
    broken ones first.

    Errors of base models and external models are not regressions, and benchmarks never have hold-out documents.
    """
    rows = Pin.objects.filter(project=project, removed_at=None).select_related("document", "created_by")
    rows = rows.defer("document__text", "document__metadata").order_by("-created_at", "-pk")
    pinned = list(rows)
    keys = [row.document_id for row in pinned]
    tuned: Any = EvalRun.objects.of_trained_models()
    tuned = tuned.filter(Exists(EvalOutput.objects.filter(eval_run=OuterRef("pk"), document__in=keys)))
    runs = list(tuned.filter(project=project, benchmark=None).done().with_model().order_by("-number")[:MAX_RUNS])
    results = {(run, document): exact for run, document, exact in answers([run.pk for run in runs], keys)}
    suite = [PinnedDocument(row, tuple(results.get((run.pk, row.document_id)) for run in runs)) for row in pinned]
    order = {False: 0, None: 1, True: 2}
    return runs, sorted(suite, key=lambda pinned_document: order[pinned_document.newest])


def unpinned(project: Project) -> Any:
    """Former pins, newest first."""
    rows = Pin.objects.filter(project=project, removed_at__isnull=False).order_by("-removed_at", "-pk")
    return rows.select_related("document", "created_by", "removed_by").defer("document__text", "document__metadata")


def of_document(document: Document) -> Pin | None:
    """The pin of a document, if it is pinned."""
    return Pin.objects.filter(document=document, removed_at=None).select_related("created_by").first()


def answers(runs: Sequence[int], documents: Sequence[int]) -> Any:
    """(evaluation, document, exact match) for the outputs of these evaluations on these documents."""
    rows = EvalOutput.objects.filter(eval_run__in=runs, document__in=documents).order_by("document_id", "eval_run_id")
    return rows.values_list("eval_run_id", "document_id", "exact")
