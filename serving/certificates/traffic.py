"""Requests that both releases answered, as the log has them."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.db import connection

from labeling.datasets import queries as dataset_queries
from labeling.models import Project, Split
from serving.models import Release, RequestLog
from slmstudio.storage.hashing import sha256_text

#: newest pairs of which the share of differing outputs is estimated
_COMPARED = 1_000

_PAIRS = """
SELECT DISTINCT ON (s.key_sha256) s.key_sha256, s.id, r.id
FROM serving_requestlog r
JOIN serving_requestlog s ON s.id = r.shadow_of AND s.project_id = r.project_id
WHERE r.project_id = %(project)s AND r.release_id = ANY(%(candidates)s) AND s.release_id = ANY(%(stables)s)
  AND r.shadow_of IS NOT NULL AND s.status = 200 AND s.text <> '' AND r.status <> 429
  AND (r.status = 200 OR r.status >= 500 OR r.code = 'too_long')
ORDER BY s.key_sha256, s.created_at DESC
"""


@dataclass(frozen=True)
class Pair:
    """A request and its copy: their ids, and the hash of the document."""

    key_sha256: str
    request_id: Any
    shadow_id: Any


def same_model(release: Release) -> list[int]:
    """Releases of the same package or endpoint: an approval makes a new release of the same model."""
    rows = Release.objects.filter(project=release.project_id)
    same = rows.filter(package=release.package_id) if release.package_id else rows.filter(endpoint=release.endpoint_id)
    return list(same.values_list("pk", flat=True))


def pairs(project: Project, stable: Release, candidate: Release) -> list[Pair]:
    """The newest pair of each document that is stored, in no order. A candidate that failed is a pair: it has no
    output."""
    values: dict[str, Any] = {"project": project.pk, "stables": same_model(stable), "candidates": same_model(candidate)}
    with connection.cursor() as cursor:
        cursor.execute(_PAIRS, values)
        return [Pair(*row) for row in cursor.fetchall()]


def in_random_order(found: list[Pair], number: int) -> list[Pair]:
    """The order in which the documents of a certificate are drawn: by a hash, the same each time."""
    return sorted(found, key=lambda one: hashlib.sha256(f"certificate {number} {one.key_sha256}".encode()).digest())


def training_texts(release: Release) -> set[str]:
    """Hashes of the documents that a model was trained or tuned with: they show nothing about others.

    Raises:
        FileNotFoundError: the file of the dataset version is missing.
    """
    run = release.package.eval_run if release.package is not None else None
    dataset = run.backend.trained_on if run is not None else None
    if dataset is None:
        return set()
    splits = (Split.TRAIN, Split.VALIDATION)
    return {sha256_text(row["text"]) for split in splits for row in dataset_queries.rows(dataset, split)}


def rows(ids: list[Any]) -> dict[Any, RequestLog]:
    """Rows of the log by id."""
    return {row.id: row for row in RequestLog.objects.filter(id__in=ids)}


def differing_share(project: Project, found: list[Pair]) -> float | None:
    """The share of pairs whose outputs differ after normalization, which needs no gold; None without pairs.

    Right on one side alone is possible only there, so it is an upper limit for the share that decides.
    """
    from slmstudio.contract.output_json import extract_json
    from slmstudio.contract.scoring.scorer import count_differences

    compiled = project.schema_version.compiled
    some = sorted(found, key=lambda one: one.key_sha256)[:_COMPARED]
    known = rows([one.request_id for one in some] + [one.shadow_id for one in some])

    def differ(pair: Pair) -> Iterator[bool]:
        if pair.request_id in known and pair.shadow_id in known:
            left, _ = compiled.check(extract_json(known[pair.request_id].output)[1])
            right, _ = compiled.check(known[pair.shadow_id].output)
            yield left is None or right is None or count_differences(compiled, left, right)[0] > 0

    flags = [flag for pair in some for flag in differ(pair)]
    return sum(flags) / len(flags) if flags else None
