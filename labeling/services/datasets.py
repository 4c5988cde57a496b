"""Dataset versions: freezing what is labelled, reading a frozen file.

``DatasetVersion.counts`` is ``{"documents", "splits", "origins", "holdout_origins", "tags", "holdout_tags"}``, each but
the first a count by name, and ``"left_out"``: ``{"near_duplicate_of_holdout", "does_not_fit_schema"}``.
"""

import hashlib
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Any

from django.core.files import File
from django.db import connection, transaction
from django.db.models import Case, Count, Max, Value, When

from labeling import splits
from labeling.models import AnnotationRevision, DatasetItem, DatasetVersion, Document, Gold, Origin, Project
from labeling.shapes import SHAPES
from slmstudio import artifacts
from slmstudio.contract.schema import CompiledSchema, dumps, loads

CHUNK = 500


class Refused(ValueError):
    """A version that cannot be frozen; ``field`` is what to change, the message a sentence."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        self.message = message


@dataclass
class Preview:
    """What a freeze would take in, counted by the database. The exact splits are only known once it is done."""

    documents: int = 0
    held_out: int = 0
    earlier_schema: int = 0
    # Not Counters: a template that asks one for ``items`` gets the count of "items".
    origins: dict[str, int] = field(default_factory=dict)
    holdout_origins: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Entry:
    pk: int
    external_id: str
    revision_id: int
    origin: str


@dataclass
class _Written:
    sha256: str
    holdout_sha256: str
    counts: dict[str, Any]


def preview(*, project: Project) -> Preview:
    """What ``freeze`` would take in right now."""
    result = Preview()
    current = project.schema_version.pk
    rows = (
        Gold.objects.to_freeze(project)
        .values_list("document__holdout", "schema_version_id", _origin())
        .annotate(count=Count("pk"))
        .order_by()
    )
    for holdout, schema_version_id, origin, count in rows:
        result.documents += count
        result.origins[origin] = result.origins.get(origin, 0) + count
        if holdout:
            result.held_out += count
            result.holdout_origins[origin] = result.holdout_origins.get(origin, 0) + count
        if schema_version_id != current:
            result.earlier_schema += count
    return result


def _origin() -> Case:
    """Where the gold comes from; a generated document stays synthetic whoever labelled it."""
    return Case(When(document__synthetic=True, then=Value(str(Origin.SYNTHETIC))), default="origin")


@transaction.atomic
def freeze(
    *,
    project: Project,
    user: Any,
    seed: int = 17,
    validation_share: float = 0.1,
    holdout_share: float = 0.2,
) -> DatasetVersion:
    """Freezes what is labelled now; the newest version itself, where nothing has changed since.

    Documents marked as hold-out are the hold-out; where there are none, ``holdout_share`` is drawn by the seed and
    marked for ever. The file is written before the row is committed, so that no row is ever without its file.

    Raises:
        Refused: a share or the seed is out of range, or there is nothing to freeze or to train on.
    """
    _check_knobs(seed, validation_share, holdout_share)
    # One freeze or import batch of a project at a time; rows that only point at the project do not wait.
    Project.objects.select_for_update(no_key=True).get(pk=project.pk)
    version = project.schema_version
    compiled = version.compiled
    entries, candidates, unfit = _collect(project, version.pk, compiled)
    if not entries:
        raise Refused("form", _nothing(unfit))
    if not any(candidate.holdout for candidate in candidates):
        waiting = Document.objects.filter(project=project, holdout=True).count()
        if waiting:
            raise Refused(
                "form", f"{waiting:,} documents are held out, and none of them has a label that fits. Label them first."
            )
    plan = splits.plan(candidates, seed=seed, validation_share=validation_share, holdout_share=holdout_share)
    if splits.TRAIN not in plan.split.values():
        raise Refused("form", "Everything that is labelled is held out, so nothing is left to train on. Label more.")
    Document.objects.filter(pk__in=plan.newly_held_out).update(holdout=True)
    order = _ordered(entries, plan.split)

    pk = _next_pk()
    key = f"datasets/{pk}/dataset.jsonl"
    with tempfile.TemporaryFile() as file:
        written = _write(file, order, plan.split, compiled)
        written.counts["left_out"] = {
            "near_duplicate_of_holdout": len(plan.near_duplicates),
            "does_not_fit_schema": unfit,
        }
        dataset = DatasetVersion(
            pk=pk,
            project=project,
            schema_version=version,
            instruction=project.contract.instruction,
            seed=seed,
            sha256=written.sha256,
            holdout_sha256=written.holdout_sha256,
            artifact_key=key,
            counts=written.counts,
            created_by=user,
        )
        same = _newest_if_same(dataset)
        if same is not None:
            return same
        file.seek(0)
        _store(key, file)
    try:
        _insert(dataset, order, plan.split)
    except BaseException:
        artifacts.store().delete(key)
        raise
    return dataset


def _newest_if_same(dataset: DatasetVersion) -> DatasetVersion | None:
    newest = dataset.project.datasets.order_by("-number").first()
    if newest is None:
        return None
    same = all(
        getattr(newest, name) == getattr(dataset, name) for name in ("sha256", "schema_version_id", "instruction")
    )
    return newest if same else None


def _insert(dataset: DatasetVersion, order: list[_Entry], split: dict[int, str]) -> None:
    newest = dataset.project.datasets.aggregate(newest=Max("number"))["newest"]
    dataset.number = (newest or 0) + 1
    dataset.full_clean()
    dataset.save(force_insert=True)
    DatasetItem.objects.bulk_create(
        (
            DatasetItem(
                dataset=dataset,
                document_id=entry.pk,
                revision_id=entry.revision_id,
                split=split[entry.pk],
                origin=entry.origin,
            )
            for entry in order
        ),
        batch_size=2_000,
    )


def _check_knobs(seed: int, validation_share: float, holdout_share: float) -> None:
    if not 0 <= seed < 2**31:
        raise Refused("seed", "The seed is a whole number from 0 to 2,147,483,647.")
    if not 0 <= validation_share <= 0.5:
        raise Refused("validation_share", "Validation may take from 0 to 50 % of what is not held out.")
    if not 0 <= holdout_share <= 0.9:
        raise Refused("holdout_share", "The hold-out may take from 0 to 90 %.")


def _nothing(unfit: int) -> str:
    if unfit:
        return (
            f"None of the {unfit} labelled documents fits the present schema. Open them under Label and submit them "
            "again."
        )
    return "No document is labelled yet, so there is nothing to freeze. Label some, or import rows with gold."


def _collect(
    project: Project, version_pk: int, compiled: CompiledSchema
) -> tuple[list[_Entry], list[splits.Candidate], int]:
    """What can go in, what the draw needs of it, and how many labels of an earlier schema no longer fit."""
    entries: list[_Entry] = []
    candidates: list[splits.Candidate] = []
    unfit = 0
    used = set(DatasetItem.objects.filter(dataset__project=project).values_list("document_id", flat=True).distinct())
    rows = (
        Gold.objects.to_freeze(project)
        .order_by("document_id")
        .values_list(
            "document_id",
            "document__external_id",
            "document__text",
            "document__holdout",
            "revision_id",
            "revision__value",
            "schema_version_id",
            _origin(),
        )
    )
    for pk, external_id, text, holdout, revision_id, value, schema_pk, origin in rows.iterator(chunk_size=CHUNK):
        # Gold was checked against its own schema when it became gold.
        if schema_pk != version_pk and compiled.validate(value):
            unfit += 1
            continue
        entries.append(_Entry(pk, external_id, revision_id, origin))
        candidates.append(splits.Candidate(pk, splits.text_key(text), holdout, origin, pk in used))
    return entries, candidates, unfit


def _ordered(entries: list[_Entry], split: dict[int, str]) -> list[_Entry]:
    """By split and id, compared by code points: the order must not hang on the database's collation or on keys."""
    place = {name: number for number, name in enumerate(splits.ORDER)}
    kept = [entry for entry in entries if entry.pk in split]
    return sorted(kept, key=lambda entry: (place[split[entry.pk]], entry.external_id))


def _next_pk() -> int:
    """The key the next version will have: its file is named by it, and a frozen row cannot be changed afterwards."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT nextval(pg_get_serial_sequence(%s, 'id'))", [DatasetVersion._meta.db_table])
        return int(cursor.fetchone()[0])


def _write(file: IO[bytes], order: list[_Entry], split: dict[int, str], compiled: CompiledSchema) -> _Written:
    whole, holdout = hashlib.sha256(), hashlib.sha256()
    by_split: Counter[str] = Counter()
    origins: Counter[str] = Counter()
    holdout_origins: Counter[str] = Counter()
    tags: Counter[str] = Counter()
    holdout_tags: Counter[str] = Counter()
    for start in range(0, len(order), CHUNK):
        for row in _rows(order[start : start + CHUNK], split, compiled):
            line = f"{dumps(row)}\n".encode()
            file.write(line)
            whole.update(line)
            by_split[row["split"]] += 1
            origins[row["origin"]] += 1
            tags.update(row["tags"])
            if row["split"] == splits.HOLDOUT:
                holdout.update(line)
                holdout_origins[row["origin"]] += 1
                holdout_tags.update(row["tags"])
    counts = {
        "documents": len(order),
        "splits": {name: by_split[name] for name in splits.ORDER},
        "origins": dict(origins),
        "holdout_origins": dict(holdout_origins),
        "tags": dict(sorted(tags.items())),
        "holdout_tags": dict(sorted(holdout_tags.items())),
    }
    return _Written(whole.hexdigest(), holdout.hexdigest(), counts)


def _rows(entries: Sequence[_Entry], split: dict[int, str], compiled: CompiledSchema) -> Iterator[dict[str, Any]]:
    documents = Document.objects.only("text", "tags").in_bulk([entry.pk for entry in entries])
    revisions = AnnotationRevision.objects.only("value").in_bulk([entry.revision_id for entry in entries])
    for entry in entries:
        document = documents[entry.pk]
        yield {
            "id": entry.external_id,
            "split": split[entry.pk],
            "text": document.text,
            "gold": compiled.ordered(revisions[entry.revision_id].value),
            "tags": sorted(set(document.tags)),
            "origin": entry.origin,
        }


def _store(key: str, file: IO[bytes]) -> None:
    # The key is fresh from the database's sequence: a file under it is left over from a database that is gone.
    if artifacts.store().exists(key):
        artifacts.store().delete(key)
    artifacts.store().save(key, File(file))


def file_path(dataset: DatasetVersion) -> Path:
    """The version's JSONL file on this machine.

    Raises:
        FileNotFoundError: the artifact store no longer has it.
    """
    path = artifacts.local_path(dataset.artifact_key)
    if not path.is_file():
        raise FileNotFoundError(f"The file of {dataset} is gone from the artifact store ({dataset.artifact_key}).")
    return path


def rows(dataset: DatasetVersion, split: str | None = None) -> Iterator[dict[str, Any]]:
    """The rows of a version in the file's order, or those of one split; numbers are exact.

    Raises:
        FileNotFoundError: as ``file_path``.
    """
    with file_path(dataset).open("rb") as file:
        for line in file:
            row = loads(line, max_characters=None)
            if split is None or row["split"] == split:
                yield row


def some_rows(dataset: DatasetVersion, *, split: str | None, start: int, count: int) -> list[dict[str, Any]]:
    """``count`` rows of a version or of one split from number ``start`` on; lines before them are not parsed.

    Raises:
        FileNotFoundError: as ``file_path``.
    """
    if split is not None:
        earlier = splits.ORDER[: splits.ORDER.index(split)]
        count = max(0, min(count, dataset.counts["splits"][split] - start))
        start += sum(dataset.counts["splits"][name] for name in earlier)
    with file_path(dataset).open("rb") as file:
        return [loads(line, max_characters=None) for line in islice(file, start, start + count)]


def export(dataset: DatasetVersion, shape: str, split: str | None = None) -> Iterator[str]:
    """Lines of JSONL in one of the shapes of ``labeling.shapes``, read as they are asked for.

    Raises:
        KeyError: no such shape.
        FileNotFoundError: as ``file_path``.
    """
    write = SHAPES[shape].write
    compiled = dataset.schema_version.compiled
    return (write(row, dataset.instruction, compiled) for row in rows(dataset, split))
