"""What the labels of a document become under another schema version: which of their revisions are taken along, as what.

What somebody answers for comes first and stands under the new version too; a draft behind it follows as a draft. Who
has saved under the new version already keeps that, behind what is taken along of theirs. Nothing is taken along where
somebody has answered under the new version: that is newer than all of it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from labeling.merging import same
from labeling.models import Annotation, AnnotationRevision, Document, DocumentState, Gold, Project, SchemaVersion
from labeling.services.holding import ANSWERED, Actions
from slmstudio.contract.schema import CompiledSchema, Problem

LABELLED = (DocumentState.SUBMITTED, DocumentState.APPROVED)
Note = Callable[["Part"], Any]


@dataclass(slots=True)
class Part:
    """One revision of an old annotation, ``number`` in its series. ``stands``: somebody answers for it. ``after``: its
    value under the new schema; ``problems``: what that refuses in it.
    """

    old: Annotation
    number: int
    value: Any
    evidence: dict[str, Any]
    stands: bool
    gold: Gold | None = None
    after: Any = None
    problems: list[Problem] = field(default_factory=list)

    @property
    def before(self) -> Any:
        """The value in the order of its own schema."""
        return self.old.schema_version.compiled.ordered(self.value)

    def take(self, compiled: CompiledSchema, apply: Callable[[Any], Any]) -> None:
        """Works out what it becomes."""
        self.after = compiled.ordered(apply(self.before))
        self.problems = compiled.validate(self.after)


@dataclass(slots=True)
class Labels:
    """The annotations of one document under the newest version it has any, and its gold with the annotation of that.

    ``standing``: what still stands of an annotation that goes on as a draft, by its key. ``there``: what people saved
    under the new version, by person; ``answered``: those of them who submitted it.
    """

    document: Document
    annotations: list[Annotation] = field(default_factory=list)
    gold: Gold | None = None
    standing: dict[int, AnnotationRevision] = field(default_factory=dict)
    there: dict[int | None, Annotation] = field(default_factory=dict)
    answered: set[int | None] = field(default_factory=set)

    @property
    def apart(self) -> bool:
        """Whether several people label it unseen by each other, so that each label counts by itself."""
        return self.document.wanted > 1 and self.document.state != DocumentState.APPROVED

    def of(self, old: Annotation) -> list[Part]:
        """What is taken along of one annotation, in its order."""
        now = Part(old, old.version, old.value, old.evidence, old.submitted)
        parts = {now.number: now}
        gold = self.gold if self.gold and self.gold.revision.annotation_id == old.pk else None
        for revision in (self.standing.get(old.pk), gold.revision if gold is not None else None):
            if revision is None:
                continue
            # A draft that says the same is no other one.
            number = now.number if not old.submitted and same(revision.value, old.value) else revision.number
            found = parts.setdefault(number, Part(old, number, revision.value, revision.evidence, True))
            found.stands = True
            if gold is not None and gold.revision_id == revision.pk:
                found.gold = gold
        return [parts[number] for number in sorted(parts)]

    def parts(self) -> list[Part]:
        """What is to be taken along of all, in the order in which it was saved."""
        if self.answered and not self.apart:
            return []
        found = [part for old in self.annotations for part in self.of(old) if old.user_id not in self.answered]
        found = [part for part in found if part.stands or part.old.user_id not in self.there]
        return sorted(found, key=lambda part: (part.old.schema_version.number, part.number, part.old.pk))


def told(parts: Iterable[Part]) -> list[Part]:
    """Of each annotation the part that it is counted by: the newest that stands, else the newest."""
    of: dict[int, Part] = {}
    for part in parts:
        if part.stands or not (part.old.pk in of and of[part.old.pk].stands):
            of[part.old.pk] = part
    return list(of.values())


def read(project: Project, upto: SchemaVersion, keys: list[int], version: SchemaVersion | None = None) -> list[Labels]:
    """The labels of some documents under versions up to one; with ``version`` also what there is under that."""
    documents = Document.objects.filter(pk__in=keys).defer("text", "metadata").in_bulk()
    labels = {key: Labels(documents[key]) for key in keys if key in documents}
    annotations = (
        Annotation.objects.filter(document__in=keys, schema_version__number__lte=upto.number)
        .select_related("schema_version")
        .order_by("-schema_version__number", "version", "updated_at")
    )
    for annotation in annotations:
        mine = labels[annotation.document_id].annotations
        if not mine or mine[0].schema_version_id == annotation.schema_version_id:
            annotation.document = documents[annotation.document_id]
            mine.append(annotation)
    golds = Gold.objects.newest_of(project).filter(document__in=keys, schema_version__number__lte=upto.number)
    for gold in golds.select_related("revision__annotation__schema_version"):
        one, annotation = labels[gold.document_id], gold.revision.annotation
        one.gold = gold
        if all(other.pk != annotation.pk for other in one.annotations):
            annotation.document = one.document
            one.annotations.append(annotation)
    _read_standing(labels)
    if version is not None:
        _read_there(labels, version)
    return list(labels.values())


def _read_standing(labels: dict[int, Labels]) -> None:
    drafts = {
        annotation.pk: one
        for one in labels.values()
        for annotation in one.annotations
        if one.document.state in LABELLED and not annotation.submitted
    }
    answered = AnnotationRevision.objects.filter(annotation__in=drafts, action__in=ANSWERED)
    for revision in answered.order_by("annotation_id", "-number").distinct("annotation_id"):
        drafts[revision.annotation_id].standing[revision.annotation_id] = revision


def _read_there(labels: dict[int, Labels], version: SchemaVersion) -> None:
    there = {row.pk: row for row in Annotation.objects.filter(document__in=labels, schema_version=version)}
    for row in there.values():
        labels[row.document_id].there[row.user_id] = row
    answered = AnnotationRevision.objects.filter(annotation__in=there, action__in=ANSWERED)
    for pk in answered.values_list("annotation_id", flat=True).distinct():
        labels[there[pk].document_id].answered.add(there[pk].user_id)


def write(labels: Labels, version: SchemaVersion, apply: Callable[[Any], Any], note: Note, by: int | None) -> bool:
    """Writes one document under the new version. False where what counts of it no longer fits, so that it is to be
    labelled again. ``by``: who takes it along.
    """
    parts = labels.parts()
    waits = labels.document.state not in LABELLED
    for part in parts:
        part.take(version.compiled, apply)
    # What does not fit is no news for those who have gone on from it, and where the document waits already.
    known = {part.old.user_id for part in parts if part.old.user_id in labels.there}
    for part in told(parts):
        if not (part.problems and waits and part.old.user_id in known):
            note(part)
    _Writer(labels, version, by).write([part for part in parts if not (part.problems and part.old.user_id in known)])
    standing = [part for part in parts if part.stands]
    if not standing:
        return waits or bool(labels.answered)
    deciding = standing if labels.apart else [standing[-1], *(part for part in standing if part.gold)]
    return not any(part.problems for part in deciding)


_CARRIED = (
    "project_id",
    "document_id",
    "user_id",
    "origin",
    "prediction_id",
    "changed_fields",
    "predicted_fields",
    "submitted_at",
    "updated_at",
)


class _Writer:
    """Writes what is taken along of one document, in one series of numbers behind what is there."""

    def __init__(self, labels: Labels, version: SchemaVersion, by: int | None) -> None:
        self.labels, self.version, self.by = labels, version, by
        self.number = max((row.version for row in labels.there.values()), default=0)

    def write(self, parts: list[Part]) -> None:
        """``parts``: each with what it becomes, in order."""
        last = {part.old.user_id: part for part in parts}
        rows = {user: self.labels.there.get(user) or self._row(part) for user, part in last.items()}
        for part in parts:
            row, carried = rows[part.old.user_id], part.stands and not part.problems
            action, user = (Actions.MIGRATE, self.by) if carried else (Actions.DRAFT, part.old.user_id)
            revision = self._revision(row, action, part.after, part.evidence, user)
            if part.gold is not None and carried:
                self._gold(part.gold, revision)
        for user, row in rows.items():
            changes: dict[str, Any] = {}
            if user in self.labels.there:
                # What they saved meanwhile stays what they go on from.
                self._revision(row, Actions.DRAFT, row.value, row.evidence, user)
                changes["submitted_at"] = row.submitted_at or last[user].old.submitted_at
            Annotation.objects.filter(pk=row.pk).update(version=row.version, **changes)

    def _row(self, part: Part) -> Annotation:
        """A person's annotation, as the last of their parts leaves it."""
        return Annotation.objects.create(
            **{name: getattr(part.old, name) for name in _CARRIED},
            schema_version=self.version,
            value=part.after,
            evidence=part.evidence,
            valid=not part.problems,
            submitted=part.old.submitted and not part.problems,
        )

    def _revision(
        self, row: Annotation, action: str, value: Any, evidence: Any, user: int | None
    ) -> AnnotationRevision:
        self.number += 1
        row.version = self.number
        return AnnotationRevision.objects.create(
            annotation=row, number=self.number, action=action, value=value, evidence=evidence, user_id=user
        )

    def _gold(self, gold: Gold, revision: AnnotationRevision) -> None:
        Gold.objects.create(
            document_id=gold.document_id,
            schema_version=self.version,
            revision=revision,
            origin=gold.origin,
            approved_by_id=gold.approved_by_id,
        )
