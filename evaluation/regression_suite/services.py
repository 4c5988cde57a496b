"""The regression suite: documents that are pinned because no model may break them again.

A pin is broken by an evaluation that has its document and does not have the whole of it right. What the evaluation has
no answer for is not checked, and is said so.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from evaluation.audit import services as audit_services
from evaluation.models import EvalOutput, EvalRun, Pin
from labeling.models import Document, Project
from slmstudio.errors import Refused

LONGEST = 300
MOST_AT_ONCE = 50


@dataclass(frozen=True)
class Standing:
    """How the pinned documents did in one evaluation: keys of those it has right and of those it breaks."""

    pinned: int
    right: tuple[int, ...] = ()
    broken: tuple[int, ...] = ()

    @property
    def checked(self) -> int:
        """How many of them it has an answer for."""
        return len(self.right) + len(self.broken)

    @property
    def unchecked(self) -> int:
        """How many it has no answer for."""
        return self.pinned - self.checked

    @property
    def words(self) -> str:
        """The standing as a sentence; "" where nothing is pinned."""
        if not self.pinned:
            return ""
        if not self.checked:
            return f"None of the {self.pinned:,} pinned documents is among its documents."
        said = f"{len(self.right):,} of {self.checked:,} pinned documents right"
        if self.broken:
            said += f", {len(self.broken):,} broken"
        return f"{said}; {self.unchecked:,} more are not among its documents." if self.unchecked else f"{said}."


def pin(*, project: Project, document: Document, user: User, reason: str = "") -> Pin:
    """Pins a document. One that is pinned already stays as it is.

    Raises:
        Refused: the document belongs to another project, or the reason is too long.
    """
    if document.project_id != project.pk:
        raise Refused("That document belongs to another project.", field="document")
    reason = reason.replace("\0", "").strip()
    if len(reason) > LONGEST:
        raise Refused(f"A reason has at most {LONGEST} characters.", field="reason")
    there = Pin.objects.filter(document=document, removed_at=None).first()
    if there is not None:
        return there
    row = Pin(project=project, document=document, reason=reason, created_by=user)
    row.full_clean(validate_constraints=False)
    try:
        with transaction.atomic():
            row.save()
            _record(row, user, "pinned", reason)
    except IntegrityError:  # somebody else pinned it in this very moment
        return Pin.objects.get(document=document, removed_at=None)
    return row


def pin_all(*, project: Project, names: Sequence[str], user: User, reason: str = "") -> int:
    """Pins the documents with these ids; returns how many were not pinned yet.

    Raises:
        Refused: there is none, or there are so many that the suite would forbid any change.
    """
    if not 0 < len(names) <= MOST_AT_ONCE:
        raise Refused(
            f"From 1 to {MOST_AT_ONCE} documents are pinned at once; these are {len(names):,}.", field="documents"
        )
    before = pinned_documents(project)
    found = Document.objects.filter(project=project, external_id__in=names).only("external_id", "project_id")
    new = [document for document in found if document.pk not in before]
    for document in new:
        pin(project=project, document=document, user=user, reason=reason)
    return len(new)


def unpin(*, project: Project, document: Document, user: User, reason: str = "") -> bool:
    """Takes a document out of the suite; its pin stays as history. False where it was not pinned."""
    with transaction.atomic():
        rows = Pin.objects.select_for_update(of=("self",)).select_related("document")
        row = rows.filter(project=project, document=document, removed_at=None).first()
        if row is None:
            return False
        row.removed_at, row.removed_by = timezone.now(), user
        row.save(update_fields=["removed_at", "removed_by"])
        _record(row, user, "unpinned", reason.replace("\0", "").strip()[:LONGEST])
    return True


def _record(row: Pin, user: User, action: str, reason: str) -> None:
    about = f"document {row.document.external_id}"
    details = {"document": row.document_id, "reason": reason}
    audit_services.record(project=row.project, user=user, action=action, about=about[:200], details=details)


def pinned_documents(project: Project) -> set[int]:
    """Keys of the documents of the suite as it is now."""
    return set(Pin.objects.filter(project=project, removed_at=None).values_list("document_id", flat=True))


def standing(run: EvalRun) -> Standing:
    """How the pinned documents did in an evaluation."""
    return standings(run.project_id, [run])[run.pk]


def standings(project: Any, runs: Iterable[EvalRun]) -> dict[int, Standing]:
    """How they did in several evaluations of one project (or its key), by the key of the evaluation."""
    keys = [run.pk for run in runs]
    rows = Pin.objects.filter(project=project, removed_at=None).order_by("document_id")
    pinned = list(rows.values_list("document_id", flat=True))
    if not pinned:
        return dict.fromkeys(keys, Standing(0))
    right: dict[int, list[int]] = {key: [] for key in keys}
    broken: dict[int, list[int]] = {key: [] for key in keys}
    for run, document, exact in answers(keys, pinned):
        (right if exact else broken)[run].append(document)
    return {key: Standing(len(pinned), tuple(right[key]), tuple(broken[key])) for key in keys}


RUNS = 5


@dataclass(frozen=True)
class Pinned:
    """A pin with what the newest evaluations made of its document, newest first: right, broken, or None."""

    row: Pin
    answers: tuple[bool | None, ...]

    @property
    def newest(self) -> bool | None:
        """What the newest evaluation that has the document made of it."""
        return next((answer for answer in self.answers if answer is not None), None)


def suite(project: Project) -> tuple[list[EvalRun], list[Pinned]]:
    """The newest evaluations of fine-tuned models that have a pinned document, and every pin with their answers; what
    is broken now stands first.

    What a base model or one elsewhere makes of them is no regression, and a benchmark never has them.
    """
    rows = Pin.objects.filter(project=project, removed_at=None).select_related("document", "created_by")
    rows = rows.defer("document__text", "document__metadata").order_by("-created_at", "-pk")
    pinned = list(rows)
    keys = [row.document_id for row in pinned]
    tuned: Any = EvalRun.objects.filter(Q(training_run__isnull=False) | Q(model_version__isnull=False))
    tuned = tuned.filter(Exists(EvalOutput.objects.filter(eval_run=OuterRef("pk"), document__in=keys)))
    runs = list(tuned.filter(project=project, benchmark=None).done().with_model().order_by("-number")[:RUNS])
    found = {(run, document): exact for run, document, exact in answers([run.pk for run in runs], keys)}
    told = [Pinned(row, tuple(found.get((run.pk, row.document_id)) for run in runs)) for row in pinned]
    order = {False: 0, None: 1, True: 2}
    return runs, sorted(told, key=lambda one: order[one.newest])


def removed(project: Project) -> Any:
    """Pins that were taken out again, newest first."""
    rows = Pin.objects.filter(project=project, removed_at__isnull=False).order_by("-removed_at", "-pk")
    return rows.select_related("document", "created_by", "removed_by").defer("document__text", "document__metadata")


def of_document(document: Document) -> Pin | None:
    """The pin of a document, where it is in the suite now."""
    return Pin.objects.filter(document=document, removed_at=None).select_related("created_by").first()


def answers(runs: Sequence[int], documents: Sequence[int]) -> Any:
    """(evaluation, document, whether the whole of it is right) for what these evaluations have of these documents."""
    rows = EvalOutput.objects.filter(eval_run__in=runs, document__in=documents).order_by("document_id", "eval_run_id")
    return rows.values_list("eval_run_id", "document_id", "exact")
