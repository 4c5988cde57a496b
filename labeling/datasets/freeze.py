"""Freezing a dataset version: the current gold labels, assigned to splits, as a file and rows that never change.

``DatasetVersion.counts`` is ``{"documents", "splits", "origins", "holdout_origins", "tags", "validation_tags",
"holdout_tags", "unanswered"}``, each but the first a count by name (``unanswered``: documents by the pattern of an
unanswered field); ``"left_out"``, a count by reason (``splits.EXCLUSION_REASONS``); ``"near_duplicates"``: ``{"pairs",
"groups", "documents", "across"}``, where across counts split pairs; ``"families"`` (``families.family_counts``); and
``"ceiling"`` (``labeling.datasets.ceiling``).
``DatasetVersion.rules`` holds the fields of ``freeze_rules.Rules``, validation_share and holdout_share.
"""

import tempfile
from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

from django.contrib.auth.models import User
from django.db import connection, transaction
from django.db.models import Max
from django.urls import reverse
from django.utils.translation import ngettext

from labeling.datasets import files, splits
from labeling.datasets.ceiling import absent_key
from labeling.datasets.families import family_counts, shared_families
from labeling.datasets.files import DatasetFile, pairs_key
from labeling.datasets.freeze_candidates import (
    FreezeCandidates,
    Progress,
    TextIndex,
    class_fields,
    collect_candidates,
    no_progress,
)
from labeling.datasets.freeze_rules import Rules, rules_of
from labeling.datasets.near_duplicates import HIGHEST, LOWEST
from labeling.datasets.silver import check_silver_rules, collect_silver, silver_file, silver_key, store_items
from labeling.integrations import events
from labeling.models import (
    DatasetItem,
    DatasetVersion,
    Document,
    FreezeRun,
    Gold,
    Project,
    SchemaMigration,
    SchemaVersion,
)
from labeling.models.annotations import EXCLUDED_STATES
from slmstudio.access import Action, Forbidden, require
from slmstudio.contract.schema.compiled import CompiledSchema
from slmstudio.database.fields import validate_fields
from slmstudio.errors import Refused
from slmstudio.hooks import note_audit
from slmstudio.storage import artifacts
from slmstudio.text.formatting import exact_percent

#: a freeze that reads more documents than this runs in a job
BACKGROUND_THRESHOLD = 2_000
_COPY = "COPY labeling_datasetitem (dataset_id, document_id, revision_id, split, origin, family) FROM STDIN"


def freeze(
    *,
    project: Project,
    user: User | None,
    seed: int = 17,
    validation_share: float = 0.1,
    holdout_share: float = 0.2,
    rules: Rules | None = None,
    progress: Progress = no_progress,
) -> DatasetVersion:
    """Freezes the current gold labels. Returns the newest version if nothing has changed since.

    Documents marked as hold-out are the hold-out; without any, ``holdout_share`` is drawn by the seed and marked
    permanently. The files are written before the row is committed, so a row always has its file. No lock is held during
    the work: texts and revisions never change, and everything else is checked at the end.

    Raises:
        Refused: a setting is invalid, there is nothing to freeze or to train on, a label migration is incomplete, or
            the schema or the hold-out changed during the freeze.
    """
    require(project, user, Action.CURATE)
    rules = rules or Rules()
    _check_change(project)
    version = project.schema_version
    validate_settings(seed, validation_share, holdout_share, rules, version.compiled)
    newest = _newest_number(project)
    texts = TextIndex(rules.similarity)
    texts.read(project, progress)
    progress("drawing", 0, 0)
    collected = collect_candidates(project, rules, texts)
    plan = _assign_splits(project, collected, seed, validation_share, holdout_share, rules)
    order = files.sort_candidates(collected.candidates, plan.split)
    sides = plan.split | plan.excluded
    family = shared_families(plan.family)
    with tempfile.TemporaryFile() as file, ExitStack() as stack:
        written = files.write_rows(file, order, plan.split, family, version.compiled, progress)
        written.counts |= _counts(collected, plan, sides)
        silver = collect_silver(project, version, rules, plan.split, progress)
        silver_rows = stack.enter_context(silver_file(silver))
        if rules.silver:
            written.counts["silver"] = silver.counts()
        dataset = _version(project, user, version, seed, written)
        dataset.rules = {**asdict(rules), "validation_share": validation_share, "holdout_share": holdout_share}
        same = _unchanged_version(dataset)
        if same is not None:
            return same
        progress("storing", 0, 0)
        file.seek(0)
        try:
            files.store(dataset.artifact_key, file)
            artifacts.write_text(pairs_key(dataset.artifact_key), files.pairs_text(collected, sides))
            artifacts.write_text(absent_key(dataset.artifact_key), written.ceiling.text())
            if rules.silver:
                files.store(silver_key(dataset.artifact_key), silver_rows)
            with transaction.atomic():
                _mark_holdout(dataset, plan, newest)
                _store_version(dataset, order, plan.split, family)
                store_items(dataset, silver)
                _notify(dataset)
        except BaseException:
            key = dataset.artifact_key
            files.remove(key, pairs_key(key), absent_key(key), silver_key(key))
            raise
    return dataset


def _check_change(project: Project) -> None:
    if SchemaMigration.unfinished(project):
        raise Refused("A label migration is incomplete. Finish it first.", field="form", code="migration")


def validate_settings(
    seed: int, validation_share: float, holdout_share: float, rules: Rules, compiled: CompiledSchema
) -> None:
    """Raises Refused if a setting is out of range, or a rule names an unknown field."""
    if not 0 <= seed < 2**31:
        raise Refused("The seed must be a whole number from 0 to 2,147,483,647.", field="seed")
    if not 0 <= validation_share <= 0.5:
        raise Refused(
            "Validation must be from 0 to 50% of the documents outside the hold-out.", field="validation_share"
        )
    if not 0 <= holdout_share <= 0.9:
        raise Refused("The hold-out must be from 0 to 90%.", field="holdout_share")
    if not LOWEST <= rules.similarity <= HIGHEST:
        raise Refused(
            f"The near-duplicate threshold must be from {exact_percent(LOWEST)} to {exact_percent(HIGHEST)}.",
            field="similarity",
        )
    check_silver_rules(rules)
    if rules.most is not None and rules.most < 2:
        raise Refused("The maximum must be at least 2 documents.", field="most")
    key = rules.group_by.removeprefix("metadata.")
    if rules.group_by not in ("", "source") and (key == rules.group_by or not key or "\0" in key):
        raise Refused("Documents can be grouped by source or by a metadata key.", field="group_by")
    if rules.large_families not in ("", splits.WHOLE, splits.SPREAD):
        raise Refused("Large families can be held out whole, or spread.", field="large_families")
    if rules.large_families and not rules.group_by:
        raise Refused("Choose what to group documents by. Near-duplicates are never spread.", field="large_families")
    if rules.stratify not in ("", "tags", *(pattern for pattern, _ in class_fields(compiled))):
        raise Refused("Documents can be stratified by tags, or by a field with fixed values.", field="stratify")


def _assign_splits(
    project: Project,
    collected: FreezeCandidates,
    seed: int,
    validation_share: float,
    holdout_share: float,
    rules: Rules,
) -> splits.SplitAssignment:
    if not collected.candidates:
        raise Refused(_nothing_to_freeze(collected.invalid), field="form", code="no_gold")
    if not any(candidate.holdout for candidate in collected.candidates):
        waiting = Document.objects.filter(project=project, holdout=True).count()
        if waiting:
            documents = ngettext("hold-out document has", "hold-out documents have", waiting)
            message = f"{waiting:,} {documents} no gold label. Label the hold-out first."
            raise Refused(message, field="form", code="unlabeled_holdout")
    plan = splits.assign_splits(
        collected.candidates,
        seed=seed,
        validation_share=validation_share,
        holdout_share=holdout_share,
        most=rules.most,
        large_families=rules.large_families,
    )
    if splits.TRAIN not in plan.split.values():
        raise Refused(_empty_training_split(plan, rules), field="form", code="no_training")
    return plan


def _nothing_to_freeze(unfit: int) -> str:
    if unfit:
        return (
            f"{unfit:,} {ngettext('label is', 'labels are', unfit)} invalid under the current schema. Label "
            "these documents again."
        )
    return "No document has a gold label. Label documents, or import rows with gold labels."


def _empty_training_split(plan: splits.SplitAssignment, rules: Rules) -> str:
    counts = Counter(plan.excluded.values())
    if counts[splits.RELATED]:
        return (
            f"{_documents(counts[splits.RELATED], 'belongs', 'belong')} to the same group as a hold-out document, so "
            "no training documents remain. Use smaller groups, or none."
        )
    if counts[splits.NEAR_DUPLICATE]:
        return (
            f"{_documents(counts[splits.NEAR_DUPLICATE], 'is', 'are')} a near-duplicate of a hold-out document, so "
            "no training documents remain. Label other documents, or set a near-duplicate threshold above "
            f"{exact_percent(rules.similarity)}."
        )
    if excluded := counts[splits.NOT_CHOSEN]:
        return f"The rules exclude all training documents: {_documents(excluded, 'is', 'are')} excluded."
    return "All labeled documents are in the hold-out. Label more documents for training."


def _documents(count: int, verb: str, verbs: str) -> str:
    return f"{count:,} {ngettext(f'document {verb}', f'documents {verbs}', count)}"


def _counts(collected: FreezeCandidates, plan: splits.SplitAssignment, sides: dict[int, str]) -> dict[str, Any]:
    sizes = collected.near_duplicates.sizes()
    counted = Counter(plan.excluded.values())
    counted[splits.INVALID] = collected.invalid
    places = collected.places
    return {
        "left_out": {name: counted[name] for name in splits.EXCLUSION_REASONS},
        "near_duplicates": {
            "pairs": collected.near_duplicates.pair_count,
            "groups": len(sizes),
            "documents": sum(sizes.values()),
            "across": sum(
                sides.get(places[p.first]) != sides.get(places[p.second]) for p in collected.near_duplicates.pairs
            ),
        },
        "families": family_counts(collected, plan),
    }


def _version(
    project: Project, user: User | None, version: SchemaVersion, seed: int, written: DatasetFile
) -> DatasetVersion:
    with connection.cursor() as cursor:
        # The file is named by the key, and a frozen row cannot be changed: the key is reserved first.
        cursor.execute("SELECT nextval(pg_get_serial_sequence(%s, 'id'))", [DatasetVersion._meta.db_table])
        pk = int(cursor.fetchone()[0])
    return DatasetVersion(
        pk=pk,
        project=project,
        schema_version=version,
        instruction=project.contract.instruction,
        seed=seed,
        sha256=written.sha256,
        holdout_sha256=written.holdout_sha256,
        artifact_key=files.rows_key(pk),
        counts=written.counts,
        created_by=user,
    )


def _newest_number(project: Project) -> int:
    return project.datasets.aggregate(newest=Max("number"))["newest"] or 0


def _unchanged_version(dataset: DatasetVersion) -> DatasetVersion | None:
    newest = dataset.project.datasets.newest()
    if newest is None:
        return None
    same = all(
        getattr(newest, name) == getattr(dataset, name) for name in ("sha256", "schema_version_id", "instruction")
    )
    hashes = [(version.counts.get("silver") or {}).get("sha256") for version in (newest, dataset)]
    return newest if same and hashes[0] == hashes[1] else None


def _mark_holdout(dataset: DatasetVersion, plan: splits.SplitAssignment, newest: int) -> None:
    """Locks the project and marks the new hold-out, unless something changed since."""
    # One freeze or import batch per project at a time; rows that reference the project do not wait.
    Project.objects.select_for_update(no_key=True).get(pk=dataset.project.pk)
    if dataset.project.schema_versions.order_by("-number").first() != dataset.schema_version:
        raise Refused(
            "The schema changed during the freeze. No version was created. Try again.",
            field="form",
            code="schema_changed",
        )
    marked = Document.objects.filter(project=dataset.project, holdout=True)
    if plan.new_holdout and (marked.exists() or _newest_number(dataset.project) != newest):
        raise Refused(
            "Another user changed the hold-out or froze a version. No version was created. Try again.",
            field="form",
        )
    if _is_outdated(dataset.project, plan):
        raise Refused(
            "Documents were moved to or from the hold-out, skipped or rejected during the freeze. No version was "
            "created. Try again.",
            field="form",
        )
    rows: Any = Document.objects.filter(pk__in=plan.new_holdout)
    list(rows.order_by("pk").select_for_update(no_key=True).values_list("pk"))  # in the common lock order
    rows.update(holdout=True)


def _is_outdated(project: Project, plan: splits.SplitAssignment) -> bool:
    """Whether a document's hold-out mark or state changed since: it would be in training in this version and in the
    hold-out of the next one, or vice versa. Called under the project's lock, which moving a document needs, too.
    """
    rows = Document.objects.filter(project=project)
    held = set(rows.filter(holdout=True).values_list("pk", flat=True))
    if any(split != splits.HOLDOUT and pk in held for pk, split in plan.split.items()):
        return True
    judged = set(plan.new_holdout)
    freed = [pk for pk, split in plan.split.items() if split == splits.HOLDOUT and pk not in held and pk not in judged]
    if freed:
        # Documents of an earlier hold-out stay in it, even without the mark.
        used = DatasetItem.objects.filter(dataset__project=project, split=splits.HOLDOUT, document__in=freed)
        if used.values("document").distinct().count() < len(freed):
            return True
    aside = rows.filter(state__in=EXCLUDED_STATES).values_list("pk", flat=True)
    return not plan.split.keys().isdisjoint(aside)


def _store_version(
    dataset: DatasetVersion, order: list[splits.Candidate], split: dict[int, str], family: dict[int, int]
) -> None:
    dataset.number = _newest_number(dataset.project) + 1
    validate_fields(dataset)
    dataset.save(force_insert=True)
    with connection.cursor() as cursor, cursor.copy(_COPY) as copy:
        for row in order:
            copy.write_row((dataset.pk, row.pk, row.revision_id, split[row.pk], row.origin, family.get(row.pk)))


def _notify(dataset: DatasetVersion) -> None:
    facts = {
        "documents": dataset.counts["documents"],
        "splits": dataset.counts["splits"],
        "sha256": dataset.sha256,
        "holdout_sha256": dataset.holdout_sha256,
    }
    note_audit(project=dataset.project, user=dataset.created_by, action="froze", about=str(dataset), details=facts)
    url = reverse("dataset", args=[dataset.project.slug, dataset.number])
    events.emit(dataset.project, "dataset.frozen", {"dataset": dataset.number, "url": url, **facts})


# -- in the background -------------------------------------------------------------------------------------------------


def needs_job(project: Project, rules: Rules) -> bool:
    """Whether a freeze reads so many documents that a page should not wait for it."""
    rows: Any = Document.objects.filter(project=project) if rules.silver else Gold.objects.current(project)
    return bool(rows[: BACKGROUND_THRESHOLD + 1].count() > BACKGROUND_THRESHOLD)


def start_freeze(*, project: Project, user: User | None, rules: Rules, **settings: Any) -> FreezeRun:
    """Queues a freeze. ``settings``: seed, validation_share, holdout_share.

    Raises:
        Refused: a setting is invalid, or a label migration is incomplete.
    """
    require(project, user, Action.CURATE)
    _check_change(project)
    compiled = project.schema_version.compiled
    validate_settings(settings["seed"], settings["validation_share"], settings["holdout_share"], rules, compiled)
    run = FreezeRun(project=project, knobs={**settings, "rules": asdict(rules)}, created_by=user)
    validate_fields(run)
    with transaction.atomic():
        run.save()
        run.enqueue()
    return run


class _FreezeCancelled(Exception):
    """The freeze was cancelled."""


def process(run: FreezeRun) -> None:
    """Runs a claimed freeze. Cancelling it creates nothing."""

    def beat(stage: str, done: int, total: int) -> None:
        if not run.send_heartbeat(stage=stage, progress_done=done, progress_total=total):
            raise _FreezeCancelled

    settings = dict(run.knobs)
    rules = rules_of(settings.pop("rules"))
    before = _newest_number(run.project)
    try:
        dataset = freeze(project=run.project, user=run.created_by, rules=rules, progress=beat, **settings)
    except _FreezeCancelled:
        run.cancelled()
    except (Refused, Forbidden) as refusal:
        run.fail(str(refusal))
    else:
        run.finish(dataset=dataset, unchanged=dataset.number <= before)
