"""The migration of a document's labels to another schema version: which revisions migrate, and as what.

Returning to an earlier schema restores: a label that is unchanged since it was valid under that schema is taken from
there, and a document that is in the queue only because of the schema returns to its state.

Labels migrate as labels, later drafts as drafts. Annotations saved under the new version stay, after the migrated
revisions of the same annotator. Nothing migrates to a document with a label under the new version, which is newer.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from labeling.annotation import state
from labeling.annotation.locked_document import LABEL_ACTIONS, REVIEWED_DECISIONS, Actions
from labeling.form.merge import same
from labeling.models import (
    Annotation,
    AnnotationRevision,
    Document,
    DocumentState,
    Gold,
    Project,
    Review,
    SchemaVersion,
)
from labeling.models.documents import LABELED_STATES
from labeling.schema_migration.mapping import reason
from slmstudio.contract.schema.compiled import CompiledSchema, ValueProblem, dumps, loads

Note = Callable[["RevisionMigration"], None]


@dataclass(slots=True)
class RevisionMigration:
    """The migration of one revision, ``number`` in its series. ``is_label``: it is a label, not a draft. ``migrated``:
    its value under the new schema; ``problems``: the errors of that value.
    """

    old: Annotation
    number: int
    value: Any
    evidence: dict[str, Any]
    is_label: bool
    gold: Gold | None = None
    migrated: Any = None
    problems: list[ValueProblem] = field(default_factory=list)

    @property
    def before(self) -> Any:
        """The value in the order of its schema."""
        return self.old.schema_version.compiled.ordered(self.value)

    def migrate(self, compiled: CompiledSchema, apply: Callable[[Any], Any]) -> None:
        """Computes the migrated value; a label of the same schema is unchanged."""
        is_same = self.old.schema_version.sha256 == compiled.hash
        self.migrated = compiled.ordered(self.value if is_same else apply(self.before))
        self.problems = compiled.validate(self.migrated)


@dataclass(slots=True)
class DocumentLabels:
    """The annotations of a document under the newest version that has any, and its gold label.

    ``labels_of_drafts``: annotation key -> its last label, for annotations that continue as drafts. ``newer``:
    annotations under the new version, by user; ``newer_submitters``: the users who submitted one.
    """

    document: Document
    annotations: list[Annotation] = field(default_factory=list)
    gold: Gold | None = None
    labels_of_drafts: dict[int, AnnotationRevision] = field(default_factory=dict)
    newer: dict[int | None, Annotation] = field(default_factory=dict)
    newer_submitters: set[int | None] = field(default_factory=set)

    @property
    def is_blind_overlap(self) -> bool:
        """Whether annotators label it independently, so each label counts separately."""
        return self.document.overlap > 1 and self.document.state != DocumentState.APPROVED

    @property
    def was_requeued(self) -> bool:
        """Whether it is in the queue because of an earlier schema version, without a newer label."""
        return state.is_requeued_for_schema(self.document.state, self.document.returned)

    def deciding_revisions(self, parts: Iterable[RevisionMigration]) -> list[RevisionMigration]:
        """The revisions that must be valid for the document to stay labeled."""
        standing = [part for part in parts if part.is_label]
        if not standing or self.is_blind_overlap:
            return standing
        return [standing[-1], *(part for part in standing if part.gold)]

    def leaves_queue(self, parts: Iterable[RevisionMigration]) -> bool:
        """Whether the document leaves the queue with these revisions, which are migrated."""
        deciding = self.deciding_revisions(parts)
        return self.was_requeued and bool(deciding) and not any(part.problems for part in deciding)

    def revisions_of(self, old: Annotation) -> list[RevisionMigration]:
        """The revisions of an annotation to migrate, in order."""
        now = RevisionMigration(old, old.version, old.value, old.evidence, old.submitted)
        parts = {now.number: now}
        gold = self.gold if self.gold and self.gold.revision.annotation_id == old.pk else None
        for revision in (self.labels_of_drafts.get(old.pk), gold.revision if gold is not None else None):
            if revision is None:
                continue
            # A draft with an equal value is the same revision.
            number = now.number if not old.submitted and same(revision.value, old.value) else revision.number
            part = parts.setdefault(number, RevisionMigration(old, number, revision.value, revision.evidence, True))
            part.is_label = True
            if gold is not None and gold.revision_id == revision.pk:
                part.gold = gold
        return [parts[number] for number in sorted(parts)]

    def revisions(self) -> list[RevisionMigration]:
        """All revisions to migrate, in the order in which they were saved."""
        if self.newer_submitters and not self.is_blind_overlap:
            return []
        revisions = [
            part
            for old in self.annotations
            for part in self.revisions_of(old)
            if old.user_id not in self.newer_submitters
        ]
        revisions = [part for part in revisions if part.is_label or part.old.user_id not in self.newer]
        return sorted(revisions, key=lambda part: (part.old.schema_version.number, part.number, part.old.pk))


def counted_revisions(parts: Iterable[RevisionMigration]) -> list[RevisionMigration]:
    """The revision of each annotation that counts: the newest label, else the newest."""
    of: dict[int, RevisionMigration] = {}
    for part in parts:
        if part.is_label or not (part.old.pk in of and of[part.old.pk].is_label):
            of[part.old.pk] = part
    return list(of.values())


def read_labels(
    project: Project,
    upto: SchemaVersion,
    keys: list[int],
    version: SchemaVersion | None = None,
    back_to: SchemaVersion | None = None,
) -> list[DocumentLabels]:
    """The labels of some documents under versions up to ``upto``, and with ``version`` also under that one.

    ``back_to``: the newest earlier version with the same schema as the new one, whose labels are restored.
    """
    documents = Document.objects.filter(pk__in=keys).defer("text", "metadata").in_bulk()
    labels = {key: DocumentLabels(documents[key]) for key in keys if key in documents}
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
        document_labels, annotation = labels[gold.document_id], gold.revision.annotation
        document_labels.gold = gold
        if all(other.pk != annotation.pk for other in document_labels.annotations):
            annotation.document = document_labels.document
            document_labels.annotations.append(annotation)
    if back_to is not None:
        _restore(labels, back_to)
    _read_labels_of_drafts(labels)
    if version is not None:
        _read_newer(labels, version)
    return list(labels.values())


def _restore(labels: dict[int, DocumentLabels], back_to: SchemaVersion) -> None:
    """Replaces unchanged copies by the labels of ``back_to`` (a copy keeps ``updated_at``)."""
    before = Annotation.objects.filter(document__in=labels, schema_version=back_to).select_related("schema_version")
    earlier: dict[int, dict[int | None, Annotation]] = {}
    for annotation in before:
        annotation.document = labels[annotation.document_id].document
        earlier.setdefault(annotation.document_id, {})[annotation.user_id] = annotation
    golds = Gold.objects.filter(document__in=labels, schema_version=back_to).select_related("revision")
    # A review under a later version is newer than this version's gold.
    decided = Review.objects.filter(
        document__in=labels, decision__in=REVIEWED_DECISIONS, annotation__schema_version__number__gt=back_to.number
    )
    was_gold = {gold.document_id: gold.revision for gold in golds.exclude(document__in=decided.values("document"))}
    for key, annotations in earlier.items():
        _restore_one(labels[key], annotations, was_gold.get(key))


def _restore_one(
    labels: DocumentLabels, earlier: dict[int | None, Annotation], was_gold: AnnotationRevision | None
) -> None:
    """``was_gold``: the revision that was gold under the version of ``earlier`` and still is."""
    restored: dict[int, Annotation] = {}
    submitted = {user: old.submitted for user, old in earlier.items()}
    for copy in labels.annotations:
        old = earlier.get(copy.user_id)
        is_copy = old is not None and old.pk != copy.pk and old.updated_at == copy.updated_at
        is_gold = labels.gold is not None and labels.gold.revision.annotation_id == copy.pk
        if old is None or not is_copy or (is_gold and (was_gold is None or was_gold.annotation_id != old.pk)):
            restored[copy.pk] = copy
            continue
        # Rejected or requeued since: no longer a label.
        old.submitted = old.submitted and (copy.submitted or labels.was_requeued)
        restored[old.pk] = old
        if labels.gold is not None and is_gold and was_gold is not None:
            labels.gold.revision = was_gold
    if labels.was_requeued:
        restored |= {old.pk: old for user, old in earlier.items() if submitted[user]}
    labels.annotations = list(restored.values())


def _read_labels_of_drafts(labels: dict[int, DocumentLabels]) -> None:
    drafts = {
        annotation.pk: document_labels
        for document_labels in labels.values()
        for annotation in document_labels.annotations
        if document_labels.document.state in LABELED_STATES and not annotation.submitted
    }
    answered = AnnotationRevision.objects.filter(annotation__in=drafts, action__in=LABEL_ACTIONS)
    for revision in answered.order_by("annotation_id", "-number").distinct("annotation_id"):
        drafts[revision.annotation_id].labels_of_drafts[revision.annotation_id] = revision


def _read_newer(labels: dict[int, DocumentLabels], version: SchemaVersion) -> None:
    there = {row.pk: row for row in Annotation.objects.filter(document__in=labels, schema_version=version)}
    for row in there.values():
        labels[row.document_id].newer[row.user_id] = row
    answered = AnnotationRevision.objects.filter(annotation__in=there, action__in=LABEL_ACTIONS)
    for pk in answered.values_list("annotation_id", flat=True).distinct():
        labels[there[pk].document_id].newer_submitters.add(there[pk].user_id)


def write_labels(
    labels: DocumentLabels, version: SchemaVersion, apply: Callable[[Any], Any], note: Note, by: int | None
) -> state.StateChange:
    """Migrates one document, and returns the columns of the document that change: it is requeued if its label is
    invalid under the new version. ``by``: the user who runs the migration.
    """
    parts = labels.revisions()
    waits = labels.document.state not in LABELED_STATES
    for part in parts:
        part.migrate(version.compiled, apply)
    # Not reported: invalid drafts of users with newer annotations, in a document that is in the queue anyway.
    known = {part.old.user_id for part in parts if part.old.user_id in labels.newer}
    for part in counted_revisions(parts):
        if not (part.problems and waits and part.old.user_id in known):
            note(part)
    _Writer(labels, version, by).write([part for part in parts if not (part.problems and part.old.user_id in known)])
    deciding = labels.deciding_revisions(parts)
    returned: dict[str, Any] = labels.document.returned or {}
    if labels.leaves_queue(parts):
        return state.restore(returned)
    problems = [problem for part in deciding for problem in part.problems]
    old = (deciding or parts)[-1].old.schema_version.compiled if deciding or parts else version.compiled
    why = reason(old, version.compiled, problems)
    if labels.was_requeued and problems:
        return {"returned": {**returned, "number": version.number, "reason": why[:300]}}
    if waits or (deciding and not problems) or (labels.newer_submitters and not deciding):
        return {}
    return requeue_columns(labels.document, version, why)


def requeue_columns(document: Document, version: SchemaVersion, why: str) -> state.StateChange:
    """The columns of a document that is requeued because of a schema version."""
    return state.requeue_for_schema(state=document.state, disputed=document.disputed, number=version.number, reason=why)


def update_documents(changes: Mapping[int, state.StateChange]) -> None:
    """Writes columns of documents, one update per kind of change. The caller has locked the rows."""
    groups: dict[str, list[int]] = {}
    for pk, columns in changes.items():
        if columns:
            groups.setdefault(dumps(columns), []).append(pk)
    for text, keys in groups.items():
        Document.objects.filter(pk__in=keys).update(**loads(text))


_MIGRATED_COLUMNS = (
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
    """Writes the migrated revisions of one document, numbered after existing ones."""

    def __init__(self, labels: DocumentLabels, version: SchemaVersion, by: int | None) -> None:
        self.labels, self.version, self.by = labels, version, by
        self.number = max((row.version for row in labels.newer.values()), default=0)

    def write(self, parts: list[RevisionMigration]) -> None:
        """``parts``: the migrated revisions, in order."""
        last = {part.old.user_id: part for part in parts}
        rows = {user: self.labels.newer.get(user) or self._row(part) for user, part in last.items()}
        for part in parts:
            row, carried = rows[part.old.user_id], part.is_label and not part.problems
            action, user = (Actions.MIGRATE, self.by) if carried else (Actions.DRAFT, part.old.user_id)
            revision = self._revision(row, action, part.migrated, part.evidence, user)
            if part.gold is not None and carried:
                self._gold(part.gold, revision)
        for user, row in rows.items():
            changes: dict[str, Any] = {}
            if user in self.labels.newer:
                # Their newer annotation stays the current one.
                self._revision(row, Actions.DRAFT, row.value, row.evidence, user)
                changes["submitted_at"] = row.submitted_at or last[user].old.submitted_at
            Annotation.objects.filter(pk=row.pk).update(version=row.version, **changes)

    def _row(self, part: RevisionMigration) -> Annotation:
        """An annotation, as of its last migrated revision."""
        return Annotation.objects.create(
            **{name: getattr(part.old, name) for name in _MIGRATED_COLUMNS},
            schema_version=self.version,
            value=part.migrated,
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
