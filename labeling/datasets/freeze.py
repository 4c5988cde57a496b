"""Freezing a dataset version: what is labelled now, drawn by rules, as a file and rows that never change.

``DatasetVersion.counts`` is ``{"documents", "splits", "origins", "holdout_origins", "tags", "validation_tags",
"holdout_tags", "unanswered"}``, each but the first a count by name (``unanswered``: documents by the pattern of an
optional field that holds nothing although nobody said that it is not in the document); ``"left_out"``, a count by
reason (the names of ``LEFT_OUT``); and ``"near_duplicates"``: ``{"pairs", "groups", "documents", "across"}``, where
across counts pairs whose two texts went different ways. ``DatasetVersion.rules`` holds the fields of ``splits.Rules``,
validation_share and holdout_share.
"""

import tempfile
from collections.abc import Sized
from dataclasses import asdict
from typing import Any

from django.contrib.auth.models import User
from django.db import connection, transaction
from django.db.models import Max
from django.urls import reverse
from django.utils.translation import ngettext

from labeling.datasets import files, splits
from labeling.datasets.files import Written, pairs_key
from labeling.datasets.freeze_candidates import Collected, Entry, Progress, Texts, class_fields, collect, untold
from labeling.datasets.near_duplicates import HIGHEST, LOWEST
from labeling.integrations import webhooks
from labeling.models import DatasetItem, DatasetVersion, Document, FreezeRun, Project, SchemaMigration, SchemaVersion
from labeling.models.annotations import ASIDE
from slmstudio.audit import note
from slmstudio.contract.schema.compiled import CompiledSchema
from slmstudio.errors import Refused

LEFT_OUT = {
    "near_duplicate_of_holdout": "nearly the same as a hold-out document",
    "related_to_holdout": "grouped with a hold-out document",
    "holdout_not_by_people": "held out, but generated or labelled with a pre-label",
    "does_not_fit_schema": "with a label that does not fit the schema",
    "not_chosen": "that the rules do not take in",
    "over_the_most": "beyond the number asked for",
}
#: with more labelled documents than this a freeze goes to the queue
IN_THE_BACKGROUND = 2_000
_COPY = "COPY labeling_datasetitem (dataset_id, document_id, revision_id, split, origin) FROM STDIN"


def freeze(
    *,
    project: Project,
    user: User | None,
    seed: int = 17,
    validation_share: float = 0.1,
    holdout_share: float = 0.2,
    rules: splits.Rules | None = None,
    progress: Progress = untold,
) -> DatasetVersion:
    """Freezes what is labelled now; the newest version itself, where nothing has changed since.

    Documents marked as hold-out are the hold-out; where there are none, ``holdout_share`` is drawn by the seed and
    marked for ever. The files are written before the row is committed, so that no row is ever without its file. Nobody
    waits meanwhile: texts and revisions never change, and what else could have changed is looked at in the end.

    Raises:
        Refused: a share, the seed or a rule makes no sense, there is nothing to freeze or to train on, a schema change
            is not finished, or the schema or the hold-out changed on the way.
    """
    rules = rules or splits.Rules()
    _check_change(project)
    version = project.schema_version
    check_knobs(seed, validation_share, holdout_share, rules, version.compiled)
    newest = _newest_number(project)
    texts = Texts(rules.similarity)
    texts.read(project, progress)
    progress("drawing", 0, 0)
    collected = collect(project, rules, texts)
    plan = _plan(project, collected, seed, validation_share, holdout_share, rules)
    order = files.ordered(collected.entries, plan.split)
    sides = _sides(plan)
    with tempfile.TemporaryFile() as file:
        written = files.write_rows(file, order, plan.split, version.compiled, progress)
        written.counts |= _counts(collected, plan, sides)
        dataset = _version(project, user, version, seed, written)
        dataset.rules = {**asdict(rules), "validation_share": validation_share, "holdout_share": holdout_share}
        same = _newest_if_same(dataset)
        if same is not None:
            return same
        progress("storing", 0, 0)
        file.seek(0)
        try:
            files.store(dataset.artifact_key, file)
            with files.pairs_file(collected, sides) as pairs:
                files.store(pairs_key(dataset.artifact_key), pairs)
            with transaction.atomic():
                _take_holdout(dataset, plan, newest)
                _insert(dataset, order, plan.split)
                _tell(dataset)
        except BaseException:
            files.remove(dataset.artifact_key, pairs_key(dataset.artifact_key))
            raise
    return dataset


def _check_change(project: Project) -> None:
    if SchemaMigration.unfinished(project):
        raise Refused("A schema change has not reached all labels. Finish the schema change first.", field="form")


def check_knobs(
    seed: int, validation_share: float, holdout_share: float, rules: splits.Rules, compiled: CompiledSchema
) -> None:
    """Raises Refused where a knob is out of range, or a rule names what is not there."""
    if not 0 <= seed < 2**31:
        raise Refused("The seed is a whole number from 0 to 2,147,483,647.", field="seed")
    if not 0 <= validation_share <= 0.5:
        raise Refused("Validation may take from 0 to 50 % of what is not held out.", field="validation_share")
    if not 0 <= holdout_share <= 0.9:
        raise Refused("The hold-out may take from 0 to 90 %.", field="holdout_share")
    if not LOWEST <= rules.similarity <= HIGHEST:
        raise Refused(f"Near-duplicates are alike by {100 * LOWEST:.0f} to {100 * HIGHEST:.0f} %.", field="similarity")
    if rules.most is not None and rules.most < 2:
        raise Refused("At least 2 documents, so that there is something to train on.", field="most")
    key = rules.group_by.removeprefix("metadata.")
    if rules.group_by not in ("", "source") and (key == rules.group_by or not key or "\0" in key):
        raise Refused("Documents are grouped by their source or by a key of their metadata.", field="group_by")
    if rules.stratify not in ("", "tags", *(pattern for pattern, _ in class_fields(compiled))):
        raise Refused("Only failure tags and fields with a fixed set of values can be spread evenly.", field="stratify")


def _plan(
    project: Project,
    collected: Collected,
    seed: int,
    validation_share: float,
    holdout_share: float,
    rules: splits.Rules,
) -> splits.Plan:
    if not collected.entries:
        raise Refused(_nothing(collected.unfit), field="form")
    if not any(candidate.holdout for candidate in collected.candidates):
        waiting = Document.objects.filter(project=project, holdout=True).count()
        if waiting:
            held = ngettext("held-out document has", "held-out documents have", waiting)
            raise Refused(f"{waiting:,} {held} no label that counts. Label the hold-out first.", field="form")
    plan = splits.plan(
        collected.candidates,
        seed=seed,
        validation_share=validation_share,
        holdout_share=holdout_share,
        most=rules.most,
    )
    if splits.TRAIN not in plan.split.values():
        raise Refused(_nothing_to_train_on(plan, rules), field="form")
    return plan


def _nothing(unfit: int) -> str:
    if unfit:
        return (
            f"{unfit:,} {ngettext('label is', 'labels are', unfit)} invalid under the present schema. Open them under "
            "Label and submit them again."
        )
    return "No document is labelled yet, so there is nothing to freeze. Label some, or import rows with gold."


def _nothing_to_train_on(plan: splits.Plan, rules: splits.Rules) -> str:
    if plan.relatives:
        return (
            f"{_documents(plan.relatives, 'belongs', 'belong')} to groups of which a document is held out, so "
            "nothing is left to train on. Group by something finer, or by nothing."
        )
    if plan.near_duplicates:
        return (
            f"{_documents(plan.near_duplicates, 'is', 'are')} nearly the same as documents that are held out, so "
            "nothing is left to train on. Label others, or count as the same only what is more alike than "
            f"{100 * rules.similarity:.0f} %."
        )
    if plan.unwanted:
        return f"The rules leave nothing to train on: {_documents(plan.unwanted, 'is', 'are')} left out by them."
    return "Everything that is labelled is held out, so nothing is left to train on. Label more."


def _documents(some: Sized, verb: str, verbs: str) -> str:
    return f"{len(some):,} {ngettext(f'document {verb}', f'documents {verbs}', len(some))}"


def _sides(plan: splits.Plan) -> dict[int, str]:
    """Where each document went: its split, or the reason for which it was left out."""
    sides = dict(plan.split)
    for name, members in _left_out(plan).items():
        sides.update(dict.fromkeys(members, name))
    return sides


def _left_out(plan: splits.Plan) -> dict[str, list[int]]:
    return {
        "near_duplicate_of_holdout": plan.near_duplicates,
        "related_to_holdout": plan.relatives,
        "holdout_not_by_people": plan.not_by_people,
        "not_chosen": plan.unwanted,
        "over_the_most": plan.over,
    }


def _counts(collected: Collected, plan: splits.Plan, sides: dict[int, str]) -> dict[str, Any]:
    sizes = collected.found.sizes()
    counted = {name: len(members) for name, members in _left_out(plan).items()} | {
        "does_not_fit_schema": collected.unfit
    }
    places = collected.places
    return {
        "left_out": {name: counted[name] for name in LEFT_OUT},
        "near_duplicates": {
            "pairs": collected.found.pair_count,
            "groups": len(sizes),
            "documents": sum(sizes.values()),
            "across": sum(sides.get(places[p.first]) != sides.get(places[p.second]) for p in collected.found.pairs),
        },
    }


def _version(
    project: Project, user: User | None, version: SchemaVersion, seed: int, written: Written
) -> DatasetVersion:
    with connection.cursor() as cursor:
        # Its key is known beforehand: the file is named by it, and a frozen row cannot be changed afterwards.
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


def _newest_if_same(dataset: DatasetVersion) -> DatasetVersion | None:
    newest = dataset.project.datasets.order_by("-number").first()
    if newest is None:
        return None
    same = all(
        getattr(newest, name) == getattr(dataset, name) for name in ("sha256", "schema_version_id", "instruction")
    )
    return newest if same else None


def _take_holdout(dataset: DatasetVersion, plan: splits.Plan, newest: int) -> None:
    """Locks the project, and marks who is newly held out; refuses where that was overtaken."""
    # One freeze or import batch of a project at a time; rows that only point at the project do not wait.
    Project.objects.select_for_update(no_key=True).get(pk=dataset.project.pk)
    if dataset.project.schema_versions.order_by("-number").first() != dataset.schema_version:
        raise Refused(
            "The schema was changed while this was being frozen. Nothing was frozen; freeze again.", field="form"
        )
    marked = Document.objects.filter(project=dataset.project, holdout=True)
    if plan.newly_held_out and (marked.exists() or _newest_number(dataset.project) != newest):
        raise Refused(
            "Somebody else chose a hold-out or froze a version while this was being frozen. Nothing was frozen; freeze "
            "again, and that hold-out is used.",
            field="form",
        )
    if _moved(dataset.project, plan):
        raise Refused(
            "Documents were moved to or from the hold-out, skipped or sent back while this was being frozen. Nothing "
            "was frozen; freeze again.",
            field="form",
        )
    rows: Any = Document.objects.filter(pk__in=plan.newly_held_out)
    list(rows.order_by("pk").select_for_update(no_key=True).values_list("pk"))  # in the order in which all lock them
    rows.update(holdout=True)


def _moved(project: Project, plan: splits.Plan) -> bool:
    """Whether what was drawn is no longer true of a document: it would be trained on in this version and judged in the
    next one, or the other way round. Asked under the lock of the project, which whoever moves a document holds too.
    """
    rows = Document.objects.filter(project=project)
    held = set(rows.filter(holdout=True).values_list("pk", flat=True))
    if any(split != splits.HOLDOUT and pk in held for pk, split in plan.split.items()):
        return True
    judged = set(plan.newly_held_out)
    freed = [pk for pk, split in plan.split.items() if split == splits.HOLDOUT and pk not in held and pk not in judged]
    if freed:
        # What a version held out once is held out for ever, whatever became of the mark.
        used = DatasetItem.objects.filter(dataset__project=project, split=splits.HOLDOUT, document__in=freed)
        if used.values("document").distinct().count() < len(freed):
            return True
    aside = rows.filter(state__in=ASIDE).values_list("pk", flat=True)
    return not plan.split.keys().isdisjoint(aside)


def _insert(dataset: DatasetVersion, order: list[Entry], split: dict[int, str]) -> None:
    dataset.number = _newest_number(dataset.project) + 1
    dataset.full_clean()
    dataset.save(force_insert=True)
    with connection.cursor() as cursor, cursor.copy(_COPY) as copy:
        for entry in order:
            copy.write_row((dataset.pk, entry.pk, entry.revision_id, split[entry.pk], entry.origin))


def _tell(dataset: DatasetVersion) -> None:
    facts = {
        "documents": dataset.counts["documents"],
        "splits": dataset.counts["splits"],
        "sha256": dataset.sha256,
        "holdout_sha256": dataset.holdout_sha256,
    }
    note(project=dataset.project, user=dataset.created_by, action="froze", about=str(dataset), details=facts)
    url = reverse("dataset", args=[dataset.project.slug, dataset.number])
    webhooks.emit(dataset.project, "dataset.frozen", {"dataset": dataset.number, "url": url, **facts})


# -- in the background -------------------------------------------------------------------------------------------------


def start_freeze(*, project: Project, user: User | None, rules: splits.Rules, **knobs: Any) -> FreezeRun:
    """Queues a freeze. ``knobs``: seed, validation_share, holdout_share.

    Raises:
        Refused: a knob makes no sense, or a schema change is not finished.
    """
    _check_change(project)
    compiled = project.schema_version.compiled
    check_knobs(knobs["seed"], knobs["validation_share"], knobs["holdout_share"], rules, compiled)
    run = FreezeRun(project=project, knobs={**knobs, "rules": asdict(rules)}, created_by=user)
    run.full_clean()
    with transaction.atomic():
        run.save()
        run.enqueue()
    return run


class _Stopped(Exception):
    """Somebody cancelled the freeze."""


def process(run: FreezeRun) -> None:
    """Does a claimed freeze. Cancelled half-way, it leaves nothing."""

    def beat(stage: str, done: int, total: int) -> None:
        if not run.beat(stage=stage, progress_done=done, progress_total=total):
            raise _Stopped

    knobs = dict(run.knobs)
    rules = rules_of(knobs.pop("rules"))
    before = _newest_number(run.project)
    try:
        dataset = freeze(project=run.project, user=run.created_by, rules=rules, progress=beat, **knobs)
    except _Stopped:
        run.cancelled()
    except Refused as refusal:
        run.fail(refusal.message)
    else:
        run.finish(dataset=dataset, unchanged=dataset.number <= before)


def rules_of(saved: dict[str, Any]) -> splits.Rules:
    """Rules as a run or a version keeps them."""
    names = splits.Rules.__dataclass_fields__
    given: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in saved.items() if name in names
    }
    return splits.Rules(**given)
