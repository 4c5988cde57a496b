"""Labels: opening a document, saving drafts, submitting, skipping, flagging.

Every save is one transaction that holds the document's row. A version number, one series for a document and schema
whoever saves, travels with each save: a save that was made from an older version is merged with what others saved since
(``labeling.merging``), never put over it. Nothing that the schema rejects is ever submitted or gold.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any

from django.db import transaction
from django.db.models import BigIntegerField, Case, F, OuterRef, Subquery, Value, When
from django.utils import timezone

from labeling.checks import Checks, check
from labeling.entries import Parsed, Typed, from_entry
from labeling.formtree import FormNode, tree_of
from labeling.merging import Clash, merge, same
from labeling.models import (
    Annotation,
    AnnotationRevision,
    Document,
    DocumentState,
    Gold,
    Origin,
    SchemaVersion,
)
from labeling.services.queueing import (
    LOCK,
    Refused,
    flag,
    free_for,
    hold,
    next_document,
    previous_document,
    release,
    skip,
    standing,
)
from slmstudio.contract.schema import CompiledSchema, Problem

__all__ = [
    "Checks",
    "Invalid",
    "Opened",
    "Refused",
    "Saved",
    "flag",
    "hold",
    "next_document",
    "open_document",
    "previous_document",
    "release",
    "save_draft",
    "skip",
    "standing",
    "submit",
]


class Invalid(ValueError):
    """The value cannot be submitted. It was kept as a draft: ``saved``. ``problems`` has a sentence per field."""

    def __init__(self, saved: "Saved", problems: list[Problem]) -> None:
        super().__init__("; ".join(f"{problem.path} {problem.message}".strip() for problem in problems))
        self.saved, self.problems = saved, problems


@dataclass(slots=True)
class Opened:
    """A document as a person finds it. ``annotation`` is the newest of anybody for the newest schema; without one the
    value is that of an older schema, or nothing. ``version`` is what a save must name as its base.
    """

    document: Document
    schema_version: SchemaVersion
    annotation: Annotation | None
    value: Any
    evidence: dict[str, Any]
    version: int
    locked_by_other: Any
    checks: Checks

    @property
    def author(self) -> Any:
        """Whose value it is; None for an import, or where there is none."""
        return self.annotation.user if self.annotation else None


@dataclass(slots=True)
class Saved:
    """What a save left. ``merged``: paths that somebody else changed meanwhile and that are now theirs; ``clashes``:
    paths that both changed, where this person's value stays. ``submitted`` is False where a submit had to be merged
    first: the person must see the result before it counts.
    """

    version: int
    value: Any
    checks: Checks
    schema_version: SchemaVersion
    state: str
    submitted: bool = False
    merged: list[str] = field(default_factory=list)
    clashes: list[Clash] = field(default_factory=list)
    merged_with: str = ""
    shown: dict[str, str] = field(default_factory=dict)

    @property
    def problems(self) -> list[Problem]:
        """What the schema rejects."""
        return self.checks.problems


@lru_cache(maxsize=256)
def _schema(pk: int, sha256: str) -> SchemaVersion:
    """A schema version, read once per process: its rows never change."""
    return SchemaVersion.objects.get(pk=pk, sha256=sha256)


def _newest(project: Any) -> Any:
    return SchemaVersion.objects.filter(project=project).order_by("-number")


def open_document(*, document: Document, user: Any) -> Opened:
    """Opens a document for a person and holds it for them; where somebody else does, ``locked_by_other`` says who."""
    other = hold(document=document, user=user)
    newest = _newest(document.project_id).values_list("pk", "sha256")[0]
    schema_version = _schema(*newest)
    latest = (
        Annotation.objects.filter(document=document)
        .select_related("user")
        .order_by("-schema_version__number", "-version", "-updated_at")
        .first()
    )
    current = latest if latest is not None and latest.schema_version_id == schema_version.pk else None
    compiled = schema_version.compiled
    value = compiled.ordered(latest.value) if latest is not None else {}
    evidence = dict(latest.evidence) if latest is not None else {}
    return Opened(
        document=document,
        schema_version=schema_version,
        annotation=current,
        value=value,
        evidence=evidence,
        version=current.version if current else 0,
        locked_by_other=other,
        checks=check(compiled, Parsed(value), document.text, evidence),
    )


# -- saving ------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Held:
    """A document whose row this transaction holds, and where its annotations stand."""

    document: Any
    schema_version: SchemaVersion

    @property
    def compiled(self) -> CompiledSchema:
        return self.schema_version.compiled

    @property
    def node(self) -> FormNode:
        return tree_of(self.compiled)


def _hold_row(document: Document, user: Any, changes: Mapping[str, Any]) -> _Held:
    """Updates the document's row, and so waits for and keeps out every other save of it; then reads it.

    The update comes first because only a statement that starts after the wait sees what the other save wrote.
    """
    of_project = {"project_id": document.project_id} if document.project_id else {}
    if not Document.objects.filter(pk=document.pk, **of_project).update(**changes):
        raise Document.DoesNotExist(f"document {document.pk} has gone")
    newest = _newest(OuterRef("project_id"))
    there = Annotation.objects.filter(document=OuterRef("pk"), schema_version=OuterRef("schema_pk"))
    heads, own = there.order_by("-version", "-updated_at"), there.filter(user=user)
    row = (
        Document.objects.select_related("project")
        .annotate(
            schema_pk=Subquery(newest.values("pk")[:1]),
            schema_sha256=Subquery(newest.values("sha256")[:1]),
            head_pk=Subquery(heads.values("pk")[:1]),
            head_version=Subquery(heads.values("version")[:1]),
            own_pk=Subquery(own.values("pk")[:1]),
        )
        .get(pk=document.pk)
    )
    return _Held(row, _schema(row.schema_pk, row.schema_sha256))


def _draft_changes(user: Any, now: datetime) -> dict[str, Any]:
    mine = free_for(user)
    return {
        "state": Case(
            When(state__in=[DocumentState.NEW, DocumentState.SKIPPED], then=Value(DocumentState.IN_PROGRESS)),
            default=F("state"),
        ),
        "locked_by": Case(When(mine, then=Value(user.pk)), default=F("locked_by"), output_field=BigIntegerField()),
        "locked_until": Case(When(mine, then=Value(now + LOCK)), default=F("locked_until")),
    }


_SUBMIT_CHANGES = {
    "state": DocumentState.SUBMITTED,
    "locked_by": None,
    "locked_until": None,
    "skip_reason": "",
}


def save_draft(
    *,
    document: Document,
    user: Any,
    value: Any,
    evidence: Mapping[str, Any],
    base_version: int,
    seconds: float = 0,
    schema_number: int | None = None,
) -> Saved:
    """Saves what a person has so far; it may be invalid. ``value`` is a JSON value, or ``Typed(entry)``.

    ``base_version`` is the version it was made from, under the schema of ``schema_number`` (None: the newest); where
    others saved since, the two are merged field by field. ``seconds``: spent since the last save.
    """
    with transaction.atomic():
        held = _hold_row(document, user, _draft_changes(user, timezone.now()))
        change = _merged(held, user, value, evidence, base_version, schema_number)
        _write(held, user, change.saved, AnnotationRevision.Action.DRAFT, seconds)
        return change.saved


def submit(
    *,
    document: Document,
    user: Any,
    value: Any,
    evidence: Mapping[str, Any],
    base_version: int,
    seconds: float = 0,
    schema_number: int | None = None,
) -> Saved:
    """Submits a label; where the project has review off it is gold at once. Arguments as in ``save_draft``.

    Where others changed something meanwhile, or the schema is no longer number ``schema_number``, the merged value is
    saved as a draft and not submitted.

    Raises:
        Invalid: the schema rejects the value, or a value is neither in the document nor confirmed; saved as a draft.
    """
    problems: list[Problem] = []
    try:
        with transaction.atomic():
            held = _hold_row(document, user, _SUBMIT_CHANGES)
            change = _merged(held, user, value, evidence, base_version, schema_number)
            saved = change.saved
            unseen = bool(saved.clashes) or not same(change.mine, saved.value)
            if unseen or schema_number not in (None, held.schema_version.number):
                raise _NotYet
            problems = [*saved.problems, *saved.checks.unconfirmed]
            if problems:
                raise _NotYet
            revision = _write(held, user, saved, AnnotationRevision.Action.SUBMIT, seconds)
            if not held.document.project.review_required:
                _make_gold(held, revision)
            saved.submitted = True
            return saved
    except _NotYet:
        # Everything above is rolled back, the document's state with it.
        saved = save_draft(
            document=document,
            user=user,
            value=value,
            evidence=evidence,
            base_version=base_version,
            seconds=seconds,
            schema_number=schema_number,
        )
    if problems:
        raise Invalid(saved, problems)
    return saved


class _NotYet(Exception):
    """What was to be submitted becomes a draft."""


@dataclass(slots=True)
class _Change:
    """A save about to be written. ``mine`` is the value as the person has it."""

    saved: Saved
    mine: Any


def _merged(
    held: _Held, user: Any, value: Any, evidence: Mapping[str, Any], base_version: int, schema_number: int | None
) -> _Change:
    parsed = from_entry(held.node, value.entry) if isinstance(value, Typed) else Parsed(value)
    mine = parsed.value
    if schema_number not in (None, held.schema_version.number):
        # Another schema counts its own versions.
        base_version = 0
    head_version = held.document.head_version or 0
    merged_with, taken, clashes = "", [], []
    if head_version not in (0, base_version):
        head = Annotation.objects.get(pk=held.document.head_pk)
        revisions = AnnotationRevision.objects.filter(
            annotation__document=held.document, annotation__schema_version=held.schema_version
        )
        start = revisions.filter(number=base_version).first()
        base, since = (start.value, start.number) if start is not None else ({}, 0)
        result = merge(base, mine, head.value)
        taken = result.taken
        # What somebody else put clashes although a later save of this person went over it. Between two tabs of one
        # person nothing clashes: what this one says is newer.
        others = revisions.filter(number__gt=since).exclude(annotation__user=user).select_related("annotation__user")
        other = others.order_by("-number").first()
        if other is not None:
            clashes = merge(base, mine, other.value).clashes
        merged_with = "you, in another window" if other is None else _author(other.annotation)
        evidence = {**head.evidence, **evidence}
        parsed = Parsed(result.value, parsed.problems, parsed.shown)
    checks = check(held.compiled, parsed, held.document.text, evidence)
    saved = Saved(
        version=head_version + 1,
        value=held.compiled.ordered(parsed.value),
        checks=checks,
        schema_version=held.schema_version,
        state=held.document.state,
        merged=taken,
        clashes=clashes,
        merged_with=merged_with if taken or clashes else "",
        shown=parsed.shown,
    )
    return _Change(saved, held.compiled.ordered(mine))


def _author(annotation: Annotation) -> str:
    return annotation.user.get_username() if annotation.user is not None else "an import"


def _write(held: _Held, user: Any, saved: Saved, action: str, seconds: float) -> AnnotationRevision:
    """Writes the annotation of this person and its revision; fills in the version."""
    now = timezone.now()
    content = {"value": saved.value, "evidence": saved.checks.evidence}
    changes: dict[str, Any] = {
        **content,
        "valid": saved.checks.valid,
        "submitted": action == AnnotationRevision.Action.SUBMIT,
        "origin": Origin.SYNTHETIC if held.document.synthetic else Origin.HUMAN,
        "version": saved.version,
        "updated_at": now,
    }
    if changes["submitted"]:
        changes["submitted_at"] = now
    pk = held.document.own_pk
    if pk is None:
        pk = Annotation.objects.create(
            project_id=held.document.project_id,
            document=held.document,
            schema_version=held.schema_version,
            user=user,
            seconds=seconds,
            **changes,
        ).pk
    else:
        Annotation.objects.filter(pk=pk).update(**changes, seconds=F("seconds") + seconds)
    return AnnotationRevision.objects.create(
        annotation_id=pk, number=saved.version, action=action, user=user, created_at=now, **content
    )


def _make_gold(held: _Held, revision: AnnotationRevision) -> None:
    gold = Gold(
        document=held.document,
        schema_version=held.schema_version,
        revision=revision,
        origin=Origin.SYNTHETIC if held.document.synthetic else Origin.HUMAN,
        created_at=revision.created_at,
    )
    Gold.objects.bulk_create(
        [gold],
        update_conflicts=True,
        unique_fields=["document", "schema_version"],
        update_fields=["revision", "origin", "approved_by", "created_at"],
    )
