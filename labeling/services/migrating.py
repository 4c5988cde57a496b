"""Taking labels to another schema: a dry run that counts and shows, and the change itself.

Both are background runs over every labelled document. The change makes the new SchemaVersion first; from then on people
label under it. Each document then gets the annotations of its people once more under the new version, as new revisions
(the old ones stay, and frozen datasets with them). What the new schema refuses goes back into the queue as a draft. An
interrupted run goes on where it stopped: a document that has an annotation under the new version is left alone.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction
from django.db.models import Exists, OuterRef

from labeling.diffs import changes
from labeling.mapping import MappingError, Step, check, mapper
from labeling.merging import same
from labeling.models import (
    Annotation,
    AnnotationRevision,
    Document,
    DocumentState,
    Gold,
    Project,
    SchemaMigration,
    SchemaVersion,
)
from labeling.services.projects import ContractError, in_words, read_schema
from slmstudio.contract.schema import CompiledSchema, dumps, loads, sha256
from slmstudio.runs import Status

BATCH = 300
MOST_EXAMPLES = 10
MOST_CHANGES = 12


class Refused(ValueError):
    """A migration that cannot be started; the message is a sentence."""


def plan(
    *, project: Project, user: Any, schema_text: str, mapping: list[Step], dry_run: bool = True
) -> SchemaMigration:
    """Queues a dry run of a schema and a mapping over all labels, or the change itself.

    Raises:
        ContractError: the schema cannot be read.
        MappingError: a step of the mapping cannot be.
        Refused: nothing would change, or another change of this project is under way.
    """
    compiled, text = read_schema(schema_text)
    with transaction.atomic():
        Project.objects.select_for_update(no_key=True).get(pk=project.pk)
        newest = project.schema_version
        if text == newest.schema_text:
            raise Refused("The schema is the one in force already, so there is nothing to change.")
        check(mapping, newest.compiled, compiled)
        if not dry_run and SchemaMigration.objects.live().filter(project=project, dry_run=False).exists():
            raise Refused("Another change of the schema is under way. Wait until it is done.")
        run = SchemaMigration(
            project=project,
            from_version=newest,
            schema_text=text,
            mapping=loads(dumps(mapping)),
            dry_run=dry_run,
            created_by=user,
        )
        run.full_clean()
        run.save()
        run.enqueue()
    return run


def resume(*, run: SchemaMigration) -> SchemaMigration | None:
    """Queues the rest of a change that failed or was cancelled after it had made its version; None: there is no rest.

    The new run starts from the same old version and goes on to the same new one.
    """
    if run.dry_run or run.to_version is None or run.status not in (Status.FAILED, Status.CANCELLED):
        return None
    with transaction.atomic():
        Project.objects.select_for_update(no_key=True).get(pk=run.project_id)
        if SchemaMigration.objects.live().filter(project=run.project_id, dry_run=False).exists():
            return None
        again = SchemaMigration(
            project_id=run.project_id,
            from_version_id=run.from_version_id,
            to_version_id=run.to_version_id,
            schema_text=run.schema_text,
            mapping=run.mapping,
            dry_run=False,
            created_by_id=run.created_by_id,
        )
        again.save()
        again.enqueue()
    return again


@dataclass(slots=True)
class _Tally:
    """Counts so far, and the first examples of what changes and of what no longer fits."""

    looked_at: int = 0
    kept: int = 0
    broken: int = 0
    drafts: int = 0
    changed: int = 0
    fits: list[dict[str, Any]] = field(default_factory=list)
    breaks: list[dict[str, Any]] = field(default_factory=list)
    reasons: dict[str, int] = field(default_factory=dict)

    def note(self, document: Document, old: Any, new: Any, compiled: CompiledSchema, *, counts: bool) -> bool:
        """Takes one label in; whether it fits."""
        problems = compiled.validate(new)
        self.looked_at += 1
        moved = changes(old, compiled.ordered(new))
        self.changed += bool(moved)
        if not counts:
            self.drafts += 1
        elif problems:
            self.broken += 1
            reason = f"{problems[0].path.split('[')[0]} {problems[0].message}".strip()
            self.reasons[reason] = self.reasons.get(reason, 0) + 1
        else:
            self.kept += 1
        examples = self.breaks if problems else self.fits
        if len(examples) < MOST_EXAMPLES and (problems or moved):
            examples.append(
                {
                    "document": document.pk,
                    "name": document.external_id,
                    "changes": [[c.path, c.old, c.new] for c in moved[:MOST_CHANGES]],
                    "more": max(0, len(moved) - MOST_CHANGES),
                    "problem": in_words(problems[0]) if problems else "",
                }
            )
        return not problems

    def result(self) -> dict[str, Any]:
        """As it is stored."""
        return {
            "looked_at": self.looked_at,
            "kept": self.kept,
            "broken": self.broken,
            "drafts": self.drafts,
            "changed": self.changed,
            "fits": self.fits,
            "breaks": self.breaks,
            "reasons": sorted(self.reasons.items(), key=lambda item: -item[1])[:20],
        }


def process(run: SchemaMigration) -> None:
    """Does a claimed run and ends it."""
    compiled, _ = read_schema(run.schema_text)
    apply = mapper(check(loads(dumps(run.mapping)), run.from_version.compiled, compiled), compiled)
    documents = _labelled(run)
    tally = _Tally()
    if not run.beat(stage="counting" if run.dry_run else "preparing", progress_total=documents.count()):
        run.cancelled(result=tally.result())
        return
    version = run.to_version
    if not run.dry_run and version is None:
        version = _make_version(run)
    done = 0
    stopped = False
    for keys in _batches(documents):
        if version is None:
            _count(run, keys, apply, compiled, tally)
        else:
            _move(run, version, keys, apply, tally)
        done += len(keys)
        stage = "trying" if run.dry_run else "taking the labels along"
        if not run.beat(stage=stage, progress_done=done, result=tally.result()):
            stopped = True
            break
    ended = {"progress_done": done, "result": tally.result()}
    if stopped:
        run.cancelled(**ended)
    else:
        run.finish(**ended, progress_total=done)


def _labelled(run: SchemaMigration) -> Any:
    """Documents with a label under the old version; for a change those that have none under the new one yet."""
    annotations = Annotation.objects.filter(document=OuterRef("pk"))
    rows = Document.objects.filter(Exists(annotations), project=run.project)
    if run.to_version_id:
        rows = rows.exclude(Exists(annotations.filter(schema_version=run.to_version_id)))
    return rows


def _batches(documents: Any) -> Iterator[list[int]]:
    """Keys in order, a batch at a time: what was done before is not read again."""
    last = 0
    while keys := list(documents.filter(pk__gt=last).order_by("pk").values_list("pk", flat=True)[:BATCH]):
        yield keys
        last = keys[-1]


def _make_version(run: SchemaMigration) -> SchemaVersion:
    """The new version, if the project still has the one the run started from.

    Raises:
        Refused: somebody changed the schema meanwhile.
    """
    with transaction.atomic():
        Project.objects.select_for_update(no_key=True).get(pk=run.project_id)
        newest = run.project.schema_version
        if newest.pk != run.from_version_id:
            raise Refused("Somebody else changed the schema meanwhile. Plan the change again, from the new version.")
        version = SchemaVersion(
            project=run.project,
            number=newest.number + 1,
            schema_text=run.schema_text,
            sha256=sha256(run.schema_text),
            created_by=run.created_by,
        )
        version.full_clean()
        version.save()
        type(run).objects.filter(pk=run.pk).update(to_version=version)
    run.to_version = version
    return version


@dataclass(slots=True)
class _Labels:
    """The annotations of one document under the newest version it has any, the oldest save first, and its gold."""

    document: Document
    annotations: list[Annotation]
    gold: Gold | None


def _read(run: SchemaMigration, keys: list[int]) -> list[_Labels]:
    documents = Document.objects.filter(pk__in=keys).defer("text", "metadata").in_bulk()
    annotations = (
        Annotation.objects.filter(document__in=keys, schema_version__number__lte=run.from_version.number)
        .select_related("schema_version")
        .order_by("-schema_version__number", "version", "updated_at")
    )
    labels = {key: _Labels(documents[key], [], None) for key in keys if key in documents}
    for annotation in annotations:
        mine = labels[annotation.document_id].annotations
        if not mine or mine[0].schema_version_id == annotation.schema_version_id:
            mine.append(annotation)
    golds = Gold.objects.newest_of(run.project).filter(document__in=keys).select_related("revision")
    for gold in golds:
        labels[gold.document_id].gold = gold
    return list(labels.values())


def _count(
    run: SchemaMigration, keys: list[int], apply: Callable[[Any], Any], compiled: CompiledSchema, tally: _Tally
) -> None:
    for labels in _read(run, keys):
        for annotation in labels.annotations:
            old = annotation.schema_version.compiled.ordered(annotation.value)
            counts = annotation.submitted or labels.gold is not None
            tally.note(labels.document, old, apply(old), compiled, counts=counts)


def _move(
    run: SchemaMigration, version: SchemaVersion, keys: list[int], apply: Callable[[Any], Any], tally: _Tally
) -> None:
    """Writes a batch under the new version, holding its documents: a save of one of them waits."""
    with transaction.atomic():
        held = Document.objects.select_for_update(of=("self",)).filter(pk__in=keys).order_by("pk")
        keys = list(held.values_list("pk", flat=True))
        there = set(Annotation.objects.filter(document__in=keys, schema_version=version).values_list("document_id"))
        queue_again: list[int] = []
        for labels in _read(run, [key for key in keys if (key,) not in there]):
            if not _write(run, version, labels, apply, tally):
                queue_again.append(labels.document.pk)
        Document.objects.labelled().filter(pk__in=queue_again).update(state=DocumentState.IN_PROGRESS)


def _write(
    run: SchemaMigration, version: SchemaVersion, labels: _Labels, apply: Callable[[Any], Any], tally: _Tally
) -> bool:
    """One document under the new version. False where what counted of it no longer fits."""
    compiled = version.compiled
    fits_all = True
    number = 0
    for old in labels.annotations:
        gold = labels.gold if labels.gold and labels.gold.revision.annotation_id == old.pk else None
        before = old.schema_version.compiled.ordered(old.value)
        value = compiled.ordered(apply(before))
        counts = old.submitted or gold is not None
        valid = tally.note(labels.document, before, value, compiled, counts=counts)
        fits_all = fits_all and (valid or not counts)
        annotation = Annotation.objects.create(
            **{name: getattr(old, name) for name in _CARRIED},
            schema_version=version,
            value=value,
            valid=valid,
            submitted=old.submitted and valid,
        )
        # A draft that was begun after the label became gold: gold is what it was, and the draft follows it.
        values = [value]
        if gold is not None and not same(gold.revision.value, old.value):
            values.insert(0, compiled.ordered(apply(gold.revision.value)))
        for place, content in enumerate(values):
            number += 1
            revision = AnnotationRevision.objects.create(
                annotation=annotation,
                number=number,
                action=AnnotationRevision.Action.MIGRATE,
                value=content,
                evidence=old.evidence,
                user=run.created_by,
            )
            if gold is not None and place == 0:
                fits_all = _keep_gold(gold, version, revision) and fits_all
        Annotation.objects.filter(pk=annotation.pk).update(version=number)
    return fits_all


_CARRIED = (
    "project_id",
    "document_id",
    "user_id",
    "evidence",
    "origin",
    "prediction_id",
    "changed_fields",
    "predicted_fields",
    "submitted_at",
    "updated_at",
)


def _keep_gold(gold: Gold, version: SchemaVersion, revision: AnnotationRevision) -> bool:
    """Gold under the new version, where the revision is valid under it."""
    if version.compiled.validate(revision.value):
        return False
    Gold.objects.create(
        document_id=gold.document_id,
        schema_version=version,
        revision=revision,
        origin=gold.origin,
        approved_by_id=gold.approved_by_id,
    )
    return True


__all__ = ["ContractError", "MappingError", "Refused", "plan", "process"]
