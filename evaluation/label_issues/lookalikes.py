"""Lookalikes: unlabeled documents similar to those that an evaluation gets wrong, queued for labeling.

They are assigned to annotators, and so go to the front of their queues. Hold-out documents are neither queued nor
searched for: labels chosen by what a model gets wrong on the hold-out make its gates pass without a better model
(``bench.gate_workflow``).
"""

import os
import random
import time
import uuid
import zipfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.db.models import Q
from django.db.models.fields.json import KeyTextTransform
from numpy.typing import NDArray

from evaluation.audit import services as audit_services
from evaluation.label_issues import similarity
from evaluation.label_issues.similarity import Signatures
from evaluation.models import AuditEntry, EvalOutput, EvalRun
from labeling.annotation import queue
from labeling.datasets.near_duplicates import THRESHOLD
from labeling.documents.list.field_filters import like
from labeling.models import DatasetItem, Document, DocumentSearch, DocumentState, Project, Split
from slmstudio.access import Action, require
from slmstudio.contract.scoring.scorer import ERROR_LABELS
from slmstudio.database.transactions import StatementTimeout, statement_timeout
from slmstudio.errors import Refused
from slmstudio.storage import artifacts

#: documents per request
MAX_COUNT, DEFAULT_COUNT = 500, 20
#: failing documents that are compared, sampled where there are more
_MAX_FAILING = 60
#: candidates that are compared; where more documents are unlabeled, candidates come from the index
_MAX_COMPARED = 1_200
_SAMPLE_SIZE = 400
_MAX_PER_WORD = 400
_INDEX_MS = 400.0
#: for all words; the most distinctive are searched first
_INDEX_SECONDS = 5.0
_CHUNK = 500
#: the audit action
QUEUED_ACTION = "queued look-alikes"


@dataclass(frozen=True)
class OutputFilter:
    """A filter of the outputs of an evaluation, as on its page: ``where`` is a metadata value, ``gold`` and
    ``predicted`` are a cell of the confusion matrix of ``field``.
    """

    field: str = ""
    error: str = ""
    tag: str = ""
    where: str = ""
    gold: str = ""
    predicted: str = ""

    @property
    def words(self) -> str:
        """The filter as text."""
        confused = (
            f"{self.gold or 'any'} confused with {self.predicted or 'any'}" if self.gold or self.predicted else ""
        )
        parts = [
            f"{self.field} wrong" if self.field else "",
            confused if self.field else "",
            ERROR_LABELS.get(self.error, self.error),
            f"tag {self.tag.replace('_', ' ')}" if self.tag else "",
            self.where.replace("=", " ", 1),
        ]
        return ", ".join(filter(None, parts)) or "not an exact match"


@dataclass(frozen=True)
class Lookalike:
    """A queued document, its similarity (0 to 1), and the failing document that it is similar to."""

    document: Document
    similarity: float
    like: Document | None


def failing(run: EvalRun, part: OutputFilter) -> Any:
    """The filtered outputs that are not an exact match, without documents that are in the hold-out by now."""
    rows = EvalOutput.objects.filter(eval_run=run, exact=False, document__holdout=False)
    rows = rows.wrong_in(part.field).with_error(part.error).tagged(part.tag).where(part.where)
    return rows.confused_as(part.field, part.gold, part.predicted)


def queue_lookalikes(*, run: EvalRun, part: OutputFilter, count: int, people: Sequence[Any], user: User) -> AuditEntry:
    """Queues up to ``count`` lookalikes of the failing documents of a filter, assigned to ``people`` round robin.

    Returns the entry of the audit log, see ``queued``.

    Raises:
        Refused: ``field`` is count, people or form; code ``holdout`` for an evaluation of the hold-out.
    """
    require(run.project, user, Action.CURATE)
    if run.split == Split.HOLDOUT:
        raise Refused(
            "Lookalikes of hold-out documents would tune the training data to the hold-out. Evaluate the model on "
            "the validation split and queue lookalikes there.",
            field="form",
            code="holdout",
        )
    if not 1 <= count <= MAX_COUNT:
        raise Refused(f"Enter a number from 1 to {MAX_COUNT}.", field="count")
    if not people:
        raise Refused("Select at least one annotator.", field="people")
    with _search_lock(run.project):
        return _queue(run, part, count, people, user)


@contextmanager
def _search_lock(project: Project) -> Iterator[None]:
    """One search per project at a time, as it takes seconds of a processor.

    Raises:
        Refused: a search is running.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(hashtext('evaluation.lookalikes'), %s)", [project.pk % 2**31])
        if not cursor.fetchone()[0]:
            raise Refused("A lookalike search is already running. Try again later.", field="form", code="running")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(hashtext('evaluation.lookalikes'), %s)", [project.pk % 2**31])


def _queue(run: EvalRun, part: OutputFilter, count: int, people: Sequence[Any], user: User) -> AuditEntry:
    began = time.monotonic()
    keys = sorted(failing(run, part).values_list("document_id", flat=True))
    if not keys:
        raise Refused("No wrong documents match this filter.", field="form")
    failing_keys = keys if len(keys) <= _MAX_FAILING else random.Random(run.pk).sample(keys, _MAX_FAILING)
    texts = _texts(failing_keys)
    held_out = _held_out(run.project)
    waiting, candidates = _candidates(run, [texts[key] for key in failing_keys], held_out)
    if not candidates:
        raise Refused(_no_candidates_message(waiting), field="form")
    ours = _texts(candidates)
    held_keys, signatures = signatures_of(run.project, sorted(held_out))
    similar = similarity.nearest(
        [ours[key] for key in candidates],
        [texts[key] for key in failing_keys],
        signatures,
        lambda place: str(Document.objects.values_list("text", flat=True).get(pk=held_keys[place])),
        limit=count,
        threshold=_threshold(run.project),
    )
    rows = [(candidates[place], score, failing_keys[like_it]) for place, score, like_it in similar.rows]
    if not rows:
        raise Refused(
            "All similar documents are near-duplicates of hold-out documents. Import other documents.", field="form"
        )
    with transaction.atomic():
        Project.objects.select_for_update(no_key=True).get(pk=run.project_id)  # first: the audit log locks it
        kept = _assign([key for key, _, _ in rows], people)
        if not kept:
            raise Refused("These documents were assigned by another user. Try again.", field="form")
        return audit_services.record(
            project=run.project,
            user=user,
            action=QUEUED_ACTION,
            about=f"evaluation {run.number}",
            details={
                "evaluation": run.number,
                "part": asdict(part),
                "words": part.words,
                "failing": len(keys),
                "looked_at": len(failing_keys),
                "waiting": waiting,
                "compared": len(candidates),
                "near_held_out": similar.near_held_out,
                "twins": similar.duplicates,
                "asked_for": count,
                "people": [person.get_username() for person in people],
                "seconds": round(time.monotonic() - began, 2),
                "documents": [list(row) for row in rows if row[0] in kept],
            },
        )


def _no_candidates_message(waiting: int) -> str:
    if not waiting:
        return "There are no unlabeled, unassigned documents. Import more documents."
    return f"None of the {waiting:,} unlabeled documents is similar. Import more documents."


def _threshold(project: Project) -> float:
    """The similarity from which the newest version treats two texts as near-duplicates."""
    rules = project.datasets.order_by("-number").values_list("rules", flat=True).first() or {}
    return min(THRESHOLD, float(rules.get("similarity", THRESHOLD)))


def _waiting(project: Project) -> Any:
    """Unlabeled documents that are neither assigned nor locked."""
    rows = Document.objects.unlabeled(project).filter(assigned_to=None, holdout=False)
    return rows.filter(Q(locked_until=None) | Q(locked_by=None))


def _held_out(project: Project) -> set[int]:
    """Keys of current and former hold-out documents."""
    marked = Document.objects.filter(project=project, holdout=True).values_list("pk", flat=True)
    used = DatasetItem.objects.filter(dataset__project=project, split=Split.HOLDOUT)
    return {*marked, *used.values_list("document_id", flat=True).distinct()}


def _texts(keys: Sequence[int]) -> dict[int, str]:
    """Texts by key, in the order of the keys."""
    texts: dict[int, str] = {}
    for start in range(0, len(keys), _CHUNK):
        rows = Document.objects.filter(pk__in=keys[start : start + _CHUNK])
        texts.update(rows.values_list("pk", "text"))
    return {key: texts[key] for key in keys if key in texts}


def _candidates(run: EvalRun, texts: list[str], held: set[int]) -> tuple[int, list[int]]:
    """The number of unlabeled documents, and those to compare: all where they are few, else those with distinctive
    words.
    """
    project = run.project
    waiting = [key for key in _waiting(project).order_by("pk").values_list("pk", flat=True) if key not in held]
    waiting = _without_holdout_groups(project, waiting, held)
    if len(waiting) <= _MAX_COMPARED:
        return len(waiting), waiting
    sample = _texts(random.Random(run.pk).sample(waiting, _SAMPLE_SIZE)).values()
    distinctive = similarity.distinctive_words(
        [similarity.words(text) for text in texts], [similarity.words(text) for text in sample]
    )
    known = set(waiting)
    score: dict[int, float] = defaultdict(float)
    last_call = time.monotonic() + _INDEX_SECONDS
    for word, weight in distinctive:
        if time.monotonic() > last_call:
            break
        for key in _containing(project, word):
            if key in known:
                score[key] += weight
    # Documents of a recent import may not be indexed yet.
    indexed = DocumentSearch.objects.filter(project=project).order_by("-document_id")
    last = indexed.values_list("document_id", flat=True).first() or 0
    fresh = [key for key in waiting if key > last][: _MAX_COMPARED // 4]
    best = sorted(score, key=lambda key: (-score[key], key))[: _MAX_COMPARED - len(fresh)]
    return len(waiting), list(dict.fromkeys([*best, *fresh]))


def _without_holdout_groups(project: Project, keys: list[int], held: set[int]) -> list[int]:
    """Without documents in a group of a hold-out document, by the rules of the newest version: they are never trained
    on."""
    rules = project.datasets.order_by("-number").values_list("rules", flat=True).first() or {}
    group_by = str(rules.get("group_by") or "")
    if not group_by or not held:
        return keys
    name = "source" if group_by == "source" else "family"
    rows = Document.objects.filter(project=project)
    if name == "family":
        rows = rows.annotate(family=KeyTextTransform(group_by.removeprefix("metadata."), "metadata"))
    families = set(rows.filter(pk__in=held).values_list(name, flat=True)) - {None, ""}
    related = set(rows.filter(**{f"{name}__in": families}).values_list("pk", flat=True))
    return [key for key in keys if key not in related]


def _containing(project: Project, word: str) -> list[int]:
    """Some documents with a word in their text, by the index; none where the search takes too long."""
    try:
        with statement_timeout(_INDEX_MS, by_index=True) as cursor:
            # The sum keeps PostgreSQL from the index on projects, with which it would compare every text.
            cursor.execute(
                "SELECT s.document_id FROM labeling_documentsearch s "
                "WHERE s.project_id + 0 = %s AND s.content LIKE %s LIMIT %s",
                [project.pk, f"%{like(word)}%", _MAX_PER_WORD],
            )
            return [key for (key,) in cursor.fetchall()]
    except StatementTimeout:
        return []


def _assign(keys: list[int], people: Sequence[Any]) -> set[int]:
    """Assigns documents round robin, the most similar first; returns those that were still unassigned."""
    # Locked in the same order everywhere.
    unassigned = set(
        _unassigned(keys).order_by("pk").select_for_update(of=("self",), no_key=True).values_list("pk", flat=True)
    )
    own = [key for key in keys if key in unassigned]
    for turn, person in enumerate(people):
        part = own[turn :: len(people)]
        if part:
            try:
                queue.assign(documents=Document.objects.filter(pk__in=part), user=person)
            except Refused as refused:
                raise Refused(str(refused), field="people") from refused
    return unassigned


def _unassigned(keys: list[int]) -> Any:
    return Document.objects.filter(pk__in=keys, state=DocumentState.NEW, assigned_to=None, holdout=False)


# -- signatures of hold-out texts --------------------------------------------------------------------------------


def signatures_of(project: Project, keys: Sequence[int]) -> tuple[list[int], Signatures]:
    """The keys of documents without deleted ones, and the signatures of their texts, in the same order.

    Those of 20,000 texts take 15 seconds, so they are cached in a file. It is keyed by text hashes and never outdated;
    missing ones are computed and added.
    """
    marks = _text_versions(keys)
    present = [key for key in keys if key in marks]
    path = artifacts.local_path(f"lookalikes/{project.pk}/held-out-1.npz")
    known = _read_signatures(path)
    fresh = [key for key in present if marks[key] not in known]
    for start in range(0, len(fresh), _CHUNK):
        part = fresh[start : start + _CHUNK]
        rows = dict(Document.objects.filter(pk__in=part).values_list("pk", "text"))
        keys_read = [key for key in part if key in rows]
        computed = similarity.signatures([rows[key] for key in keys_read])
        known.update({marks[key]: computed[index] for index, key in enumerate(keys_read)})
    present = [key for key in present if marks[key] in known]
    if fresh:
        _write_signatures(path, {marks[key]: known[marks[key]] for key in present})
    stacked = np.vstack([known[marks[key]] for key in present]) if present else similarity.signatures([])
    return present, stacked


def _text_versions(keys: Sequence[int]) -> dict[int, int]:
    """Document key -> a number that identifies its text."""
    versions: dict[int, int] = {}
    for start in range(0, len(keys), _CHUNK):
        rows = Document.objects.filter(pk__in=keys[start : start + _CHUNK]).values_list("pk", "sha256")
        versions.update((key, int(sha256[:15], 16)) for key, sha256 in rows)
    return versions


def _read_signatures(path: os.PathLike[str]) -> dict[int, NDArray[np.uint32]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            marks, rows = file["marks"], file["signatures"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return {}  # missing or truncated: computed again
    if rows.shape != (len(marks), similarity.signatures([]).shape[1]) or rows.dtype != np.uint32:
        return {}
    return dict(zip(marks.tolist(), rows, strict=True))


def _write_signatures(path: os.PathLike[str], known: dict[int, NDArray[np.uint32]]) -> None:
    """Replaces the file atomically."""
    fresh = f"{os.fspath(path)}.{uuid.uuid4().hex}.tmp"
    with open(fresh, "wb") as file:
        np.savez(file, marks=np.array(list(known), dtype=np.int64), signatures=np.vstack(list(known.values())))
    os.replace(fresh, path)


# -- queued lookalikes ------------------------------------------------------------------------------------------


def queued(run: EvalRun) -> list[AuditEntry]:
    """The audit entries of lookalikes of an evaluation, the newest first."""
    rows = AuditEntry.objects.filter(project=run.project_id, action=QUEUED_ACTION, about=f"evaluation {run.number}")
    return list(rows.select_related("user").order_by("-pk")[:20])


def queued_documents(entry: AuditEntry) -> list[Lookalike]:
    """The documents of an entry in their current state, the most similar first; one query."""
    stored = entry.details.get("documents", [])
    keys = {key for pk, _, like_it in stored for key in (pk, like_it)}
    rows = Document.objects.select_related("assigned_to").only(
        "external_id", "state", "assigned_to", "assigned_to__username"
    )
    documents = rows.in_bulk(list(keys))
    return [
        Lookalike(documents[pk], float(score), documents.get(like_it))
        for pk, score, like_it in stored
        if pk in documents
    ]
