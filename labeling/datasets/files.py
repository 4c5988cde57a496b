"""The files of a dataset version: its rows, and its pairs of near-duplicates.

One row per line: ``{"id", "split", "text", "gold", "tags", "origin"}``, sorted by split and id, so equal content gives
an equal file. A document that shares its family also has ``"family"``: the id of the oldest document of the family in
this version. Outside the hold-out, a document whose evidence a person chose also has ``"evidence"``: path ->
``[[start, end]]`` in characters. One pair per line: ``{"a", "b", "similarity", "sides"}``; a and b are document keys,
sides their splits or reasons of exclusion.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

from django.core.files import File

from labeling.datasets import splits
from labeling.datasets.ceiling import CeilingCounter
from labeling.datasets.freeze_candidates import CHUNK, FreezeCandidates, Progress
from labeling.datasets.splits import Candidate
from labeling.form.tree import tree_of
from labeling.form.validation import chosen_evidence, unanswered_fields
from labeling.models import AnnotationRevision, Document
from slmstudio.contract.schema.compiled import CompiledSchema, dumps, pattern_of
from slmstudio.storage import artifacts

#: documents of an unanswered field that a version names
MAX_UNANSWERED = 5


@dataclass
class DatasetFile:
    """Hashes of all rows and of the hold-out's rows, and the part of ``DatasetVersion.counts`` that rows give.

    ``ceiling`` has the values that are not in their text, for a file of their own.
    """

    sha256: str
    holdout_sha256: str
    counts: dict[str, Any]
    ceiling: CeilingCounter


def sort_candidates(candidates: Sequence[Candidate], split: Mapping[int, str]) -> list[Candidate]:
    """By split and id, in code point order, independent of the database's collation and keys."""
    place = {name: number for number, name in enumerate(splits.ORDER)}
    kept = [candidate for candidate in candidates if candidate.pk in split]
    return sorted(kept, key=lambda candidate: (place[split[candidate.pk]], candidate.external_id))


def write_rows(
    file: IO[bytes],
    order: Sequence[Candidate],
    split: Mapping[int, str],
    family: Mapping[int, int],
    compiled: CompiledSchema,
    progress: Progress,
) -> DatasetFile:
    """Writes the rows and counts them."""
    ids = {candidate.pk: candidate.external_id for candidate in order if family.get(candidate.pk) == candidate.pk}
    names = {pk: ids[leader] for pk, leader in family.items()}
    whole, holdout = hashlib.sha256(), hashlib.sha256()
    by_split: Counter[str] = Counter()
    origins: dict[str, Counter[str]] = {name: Counter() for name in splits.ORDER}
    tags: dict[str, Counter[str]] = {name: Counter() for name in splits.ORDER}
    never_answered: Counter[str] = Counter()
    unanswered: dict[str, list[int]] = {}
    ceiling = CeilingCounter(compiled)
    for start in range(0, len(order), CHUNK):
        candidates = order[start : start + CHUNK]
        for candidate, row in zip(candidates, _rows(candidates, split, names, compiled), strict=True):
            line = f"{dumps(row)}\n".encode()
            file.write(line)
            whole.update(line)
            by_split[row["split"]] += 1
            origins[row["split"]][row["origin"]] += 1
            tags[row["split"]].update(row["tags"])
            ceiling.add(row, candidate.pk)
            if row["split"] == splits.HOLDOUT:
                holdout.update(line)
        for pattern, pk in _unanswered(candidates, compiled):
            never_answered[pattern] += 1
            if never_answered[pattern] <= MAX_UNANSWERED:
                unanswered.setdefault(pattern, []).append(pk)
        progress("writing", min(start + CHUNK, len(order)), len(order))
    counts = {
        "documents": len(order),
        "splits": {name: by_split[name] for name in splits.ORDER},
        "origins": _sorted(sum(origins.values(), Counter())),
        "holdout_origins": _sorted(origins[splits.HOLDOUT]),
        "tags": _sorted(sum(tags.values(), Counter())),
        "validation_tags": _sorted(tags[splits.VALIDATION]),
        "holdout_tags": _sorted(tags[splits.HOLDOUT]),
        "unanswered": _sorted(never_answered),
        "unanswered_documents": unanswered,
        "ceiling": ceiling.counts(),
    }
    return DatasetFile(whole.hexdigest(), holdout.hexdigest(), counts, ceiling)


def _sorted(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items()))


def _rows(
    candidates: Sequence[Candidate], split: Mapping[int, str], family: Mapping[int, str], compiled: CompiledSchema
) -> Iterator[dict[str, Any]]:
    documents = Document.objects.filter(pk__in=[candidate.pk for candidate in candidates])
    texts = dict(documents.values_list("pk", "text"))
    revisions = AnnotationRevision.objects.filter(pk__in=[candidate.revision_id for candidate in candidates])
    labels = {pk: label for pk, *label in revisions.values_list("pk", "value", "evidence")}
    for candidate in candidates:
        text, (value, given) = texts[candidate.pk], labels[candidate.revision_id]
        # A hold-out is known by the hash of its rows, and no model is trained on it.
        is_used = split[candidate.pk] != splits.HOLDOUT
        evidence = chosen_evidence(compiled, value, text, given) if is_used else {}
        yield {
            "id": candidate.external_id,
            "split": split[candidate.pk],
            "text": text,
            "gold": compiled.ordered(value),
            "tags": sorted(set(candidate.tags)),
            "origin": candidate.origin,
            **({"family": family[candidate.pk]} if candidate.pk in family else {}),
            **({"evidence": {path: [place] for path, place in evidence.items()}} if evidence else {}),
        }


def _unanswered(candidates: Sequence[Candidate], compiled: CompiledSchema) -> Iterator[tuple[str, int]]:
    """Each unanswered field of each document, once. Imported labels have none."""
    node = tree_of(compiled)
    rows = AnnotationRevision.objects.filter(pk__in=[candidate.revision_id for candidate in candidates])
    rows = rows.filter(annotation__user__isnull=False).order_by("annotation__document_id")
    for pk, value, evidence in rows.values_list("annotation__document_id", "value", "evidence"):
        for pattern in {pattern_of(path) for path in unanswered_fields(node, value, evidence)}:
            yield pattern, pk


def pairs_text(collected: FreezeCandidates, sides: Mapping[int, str]) -> str:
    """The file of the pairs: split pairs first, then by similarity."""
    rows: list[dict[str, Any]] = []
    for pair in collected.near_duplicates.pairs:
        a, b = collected.places[pair.first], collected.places[pair.second]
        both = [sides.get(a, splits.INVALID), sides.get(b, splits.INVALID)]
        rows.append({"a": a, "b": b, "similarity": pair.similarity, "sides": both})
    rows.sort(key=lambda row: row["sides"][0] == row["sides"][1])
    return "".join(f"{dumps(row)}\n" for row in rows)


def rows_key(pk: int) -> str:
    """The artifact key of a version's rows."""
    return f"datasets/{pk}/dataset.jsonl"


def pairs_key(artifact_key: str) -> str:
    """The artifact key of the pairs that belong to the rows at ``artifact_key``."""
    return f"{artifact_key.rpartition('/')[0]}/pairs.jsonl"


def store(key: str, file: IO[bytes]) -> None:
    """Stores a file under exactly this key.

    The key is new in the database's sequence: an existing file is a leftover of another database.
    """
    artifacts.store().replace(key, File(file))


def remove(*keys: str) -> None:
    """Removes the files of a version that was not created."""
    for key in keys:
        if artifacts.store().exists(key):
            artifacts.store().delete(key)
