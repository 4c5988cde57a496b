"""Label migrations to another schema: a dry run with counts and examples, and the migration itself.

Both are background runs over all labeled documents. The migration creates the new SchemaVersion first, so annotators
label under it from then on. Then each document gets its annotations under the new version, as new revisions (the old
ones stay, and so do frozen datasets). Labels that are invalid under the new schema are requeued as drafts. An
interrupted run resumes and skips migrated documents (see ``labeling.schema_migration.label_migration``).
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from labeling.annotation.diffs import field_changes
from labeling.annotation.locked_document import LABEL_ACTIONS
from labeling.annotation.state import StateChange
from labeling.contract import changes as contract_changes
from labeling.contract.schema_text import problem_text, read_schema
from labeling.models import (
    Annotation,
    AnnotationRevision,
    Document,
    Project,
    SchemaMigration,
    SchemaVersion,
)
from labeling.models.documents import LABELED_STATES
from labeling.schema_migration import label_migration
from labeling.schema_migration.mapping import Step, check, mapper
from slmstudio.access import Action, require
from slmstudio.contract.schema.compiled import CompiledSchema, dumps, loads, sha256
from slmstudio.database import transactions
from slmstudio.errors import Refused
from slmstudio.runs.models import Status

BATCH = 300
MAX_EXAMPLES = 10
MAX_CHANGES = 12


def start_dry_run(
    *,
    project: Project,
    user: User | None,
    schema_text: str,
    mapping: list[Step],
    dry_run: bool = True,
    source_text: str = "",
) -> SchemaMigration:
    """Queues a dry run of a schema and a mapping over all labels, or the migration itself.

    ``source_text``: what was pasted, if ``schema_text`` is a translation of it.

    Raises:
        ContractError: the schema is invalid.
        MappingError: a step of the mapping is invalid.
        Refused: the schema is unchanged, or another migration of this project is running.
    """
    require(project, user, Action.CONTRACT)
    schema = read_schema(schema_text)
    with transaction.atomic():
        Project.objects.select_for_update(no_key=True).get(pk=project.pk)
        newest = project.schema_version
        if schema.text == newest.schema_text:
            raise Refused("The schema is unchanged.", code="unchanged")
        check(mapping, newest.compiled, schema.compiled)
        if not dry_run and SchemaMigration.objects.live().filter(project=project, dry_run=False).exists():
            raise Refused("Another label migration is running. Wait until it is done.", code="running")
        run = SchemaMigration(
            project=project,
            from_version=newest,
            schema_text=schema.text,
            source_text=schema.source or source_text,
            mapping=loads(dumps(mapping)),
            dry_run=dry_run,
            created_by=user,
        )
        run.full_clean()
        run.save()
        run.enqueue()
    return run


def resume(*, run: SchemaMigration, user: User | None) -> SchemaMigration | None:
    """Queues the rest of a migration that failed or was cancelled after creating its version; None: nothing to resume.

    The new run has the same old and new versions.
    """
    require(run.project, user, Action.CONTRACT)
    if run.dry_run or run.to_version is None or run.status not in (Status.FAILED, Status.CANCELLED):
        return None
    with transaction.atomic():
        Project.objects.select_for_update(no_key=True).get(pk=run.project_id)
        if SchemaMigration.objects.live().filter(project=run.project_id, dry_run=False).exists():
            return None
        if run.project.schema_version.pk != run.to_version_id:
            return None  # superseded by a newer schema version
        again = SchemaMigration(
            project_id=run.project_id,
            from_version_id=run.from_version_id,
            to_version_id=run.to_version_id,
            schema_text=run.schema_text,
            source_text=run.source_text,
            mapping=run.mapping,
            dry_run=False,
            created_by_id=run.created_by_id,
        )
        again.save()
        again.enqueue()
    return again


@dataclass(slots=True)
class MigrationTotals:
    """Counts, and the first examples of changed and of invalid labels."""

    looked_at: int = 0
    kept: int = 0
    broken: int = 0
    drafts: int = 0
    restored: int = 0
    changed: int = 0
    fits: list[dict[str, Any]] = field(default_factory=list)
    breaks: list[dict[str, Any]] = field(default_factory=list)
    reasons: dict[str, int] = field(default_factory=dict)

    def note(self, part: label_migration.RevisionMigration) -> None:
        """Adds one label."""
        problems, document = part.problems, part.old.document
        self.looked_at += 1
        moved = field_changes(part.before, part.migrated)
        self.changed += bool(moved)
        if not part.is_label:
            self.drafts += 1
        elif problems:
            self.broken += 1
            reason = f"{problems[0].path.split('[')[0]} {problems[0].message}".strip()
            self.reasons[reason] = self.reasons.get(reason, 0) + 1
        else:
            self.kept += 1
        examples = self.breaks if problems else self.fits
        if len(examples) < MAX_EXAMPLES and (problems or moved):
            examples.append(
                {
                    "document": document.pk,
                    "name": document.external_id,
                    "changes": [[c.path, c.old, c.new] for c in moved[:MAX_CHANGES]],
                    "more": max(0, len(moved) - MAX_CHANGES),
                    "problem": problem_text(problems[0]) if problems else "",
                }
            )

    def result(self) -> dict[str, Any]:
        """The result as it is stored."""
        return {**asdict(self), "reasons": sorted(self.reasons.items(), key=lambda item: -item[1])[:20]}


def process(run: SchemaMigration) -> None:
    """Runs and ends a claimed run."""
    compiled = read_schema(run.schema_text).compiled
    apply = mapper(check(loads(dumps(run.mapping)), run.from_version.compiled, compiled), compiled)
    documents = _labeled_documents(run)
    tally = MigrationTotals()
    if not run.send_heartbeat(stage="counting" if run.dry_run else "preparing", progress_total=documents.count()):
        run.cancelled(result=tally.result())
        return
    version = run.to_version
    if not run.dry_run and version is None:
        version = _make_version(run)
    under_way = set() if version is None else transactions.running()
    back_to = _restorable_version(run)

    def work_through(rows: QuerySet[Document], done: int) -> tuple[int, bool]:
        for keys in _batches(rows):
            if version is None:
                _count_batch(run, keys, apply, compiled, tally, back_to)
            else:
                _migrate_batch(run, version, keys, apply, tally, back_to)
            done += len(keys)
            stage = "dry run" if run.dry_run else "migrating labels"
            if not run.send_heartbeat(stage=stage, progress_done=done, result=tally.result()):
                return done, True
        return done, False

    done, stopped = work_through(documents, 0)
    if version is not None and not stopped:
        # First labels from saves that started under the old version and ended after their batch.
        transactions.wait_for(under_way)
        done, stopped = work_through(_labeled_documents(run), done)
    ended = {"progress_done": done, "result": tally.result()}
    if stopped:
        run.cancelled(**ended)
    else:
        run.finish(**ended, progress_total=done)


def _restorable_version(run: SchemaMigration) -> SchemaVersion | None:
    """The newest version before the current one with the same schema as the new one."""
    earlier = run.project.schema_versions.filter(sha256=sha256(run.schema_text), number__lt=run.from_version.number)
    return earlier.order_by("-number").first()


def _labeled_documents(run: SchemaMigration) -> QuerySet[Document]:
    """Documents with a label under the old version; once the new version exists, those that are not migrated.

    A draft under the new version does not mean migrated: an open tab can save one.
    """
    annotations = Annotation.objects.filter(document=OuterRef("pk"))
    rows: QuerySet[Document] = Document.objects.filter(Exists(annotations), project=run.project)
    if run.to_version_id:
        new = annotations.filter(schema_version=run.to_version_id)
        answered = AnnotationRevision.objects.filter(
            annotation__document=OuterRef("pk"), annotation__schema_version=run.to_version_id, action__in=LABEL_ACTIONS
        )
        same_person = Annotation.objects.filter(
            document=OuterRef("document"), user=OuterRef("user"), schema_version=run.to_version_id
        )
        left = Q(overlap__gt=1) & Exists(annotations.filter(~Exists(same_person), user__isnull=False))
        rows = rows.filter(~Exists(new) | Q(state__in=LABELED_STATES) & ~Exists(answered) | left)
    return rows


def _batches(documents: QuerySet[Document]) -> Iterator[list[int]]:
    """Batches of keys in order."""
    last = 0
    while keys := list(documents.filter(pk__gt=last).order_by("pk").values_list("pk", flat=True)[:BATCH]):
        yield keys
        last = keys[-1]


def _make_version(run: SchemaMigration) -> SchemaVersion:
    """Creates the new version, if the project still has the version that the run started from.

    Raises:
        Refused: another user changed the schema.
    """
    with transaction.atomic():
        Project.objects.select_for_update(no_key=True).get(pk=run.project_id)
        newest = run.project.schema_version
        if newest.pk != run.from_version_id:
            raise Refused("Another user changed the schema. Start again from the new version.")
        version = SchemaVersion(
            project=run.project,
            number=newest.number + 1,
            schema_text=run.schema_text,
            source_text=run.source_text,
            sha256=sha256(run.schema_text),
            created_by=run.created_by,
        )
        version.full_clean()
        before = contract_changes.state(run.project)
        version.save()
        contract_changes.record(project=run.project, user=run.created_by, before=before)
        type(run).objects.filter(pk=run.pk).update(to_version=version)
    run.to_version = version
    return version


def _count_batch(
    run: SchemaMigration,
    keys: list[int],
    apply: Callable[[Any], Any],
    compiled: CompiledSchema,
    tally: MigrationTotals,
    back_to: SchemaVersion | None,
) -> None:
    for labels in label_migration.read_labels(run.project, run.from_version, keys, back_to=back_to):
        parts = labels.revisions()
        for part in parts:
            part.migrate(compiled, apply)
        for part in label_migration.counted_revisions(parts):
            tally.note(part)
        tally.restored += labels.leaves_queue(parts)


def _migrate_batch(
    run: SchemaMigration,
    version: SchemaVersion,
    keys: list[int],
    apply: Callable[[Any], Any],
    tally: MigrationTotals,
    back_to: SchemaVersion | None,
) -> None:
    """Migrates a batch under locks of its documents."""
    with transaction.atomic():
        held = Document.objects.select_for_update(of=("self",)).filter(pk__in=keys).order_by("pk")
        keys = list(held.values_list("pk", flat=True))
        changes: dict[int, StateChange] = {}
        for labels in label_migration.read_labels(run.project, run.from_version, keys, version, back_to):
            columns = label_migration.write_labels(labels, version, apply, tally.note, run.created_by_id)
            changes[labels.document.pk] = columns
            tally.restored += columns.get("returned", "") is None
        label_migration.update_documents(changes)
