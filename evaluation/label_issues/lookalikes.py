"""Fix the data and retrain: documents that wait to be labelled and look like those an evaluation fails on.

They go to the front of the queues of people one chooses, because what is assigned comes before what is not. A document
that is held out, or nearly the same as one, is never among them: labelling it would teach the test.
"""

import random
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from django.contrib.auth.models import User
from django.db import connection, transaction
from django.db.models import Q
from django.db.models.fields.json import KeyTextTransform

from evaluation.audit import services as audit_services
from evaluation.label_issues import holdout_signatures
from evaluation.label_issues import similarity as likeness
from evaluation.models import AuditEntry, EvalOutput, EvalRun
from labeling.annotation import assignment
from labeling.datasets.near_duplicates import THRESHOLD
from labeling.documents.list.field_filters import like
from labeling.documents.list.search import TooSlow, within
from labeling.models import DatasetItem, Document, DocumentSearch, DocumentState, Project, Split
from slmstudio.contract.scoring.scorer import ERROR_LABELS
from slmstudio.errors import Refused

#: at most so many are queued at a time
MOST, USUAL = 500, 20
#: failing documents that are looked at, drawn where there are more
_MOST_FAILING = 60
#: with fewer documents waiting all of them are compared; of more, so many that the index finds
_COMPARED = 1_200
_SAMPLE = 400
_PER_WORD = 400
_INDEX_MS = 400.0
#: for all words together; the most telling are looked for first
_INDEX_SECONDS = 5.0
_CHUNK = 500
QUEUED = "queued look-alikes"

__all__ = ["MOST", "USUAL", "Part", "failing", "find_and_queue", "queued", "queued_documents"]


@dataclass(frozen=True)
class Part:
    """Part of an evaluation, as its page filters it: ``where`` is of the documents' metadata, ``gold`` and ``said`` are
    a cell of the confusion matrix of ``field``.
    """

    field: str = ""
    error: str = ""
    tag: str = ""
    where: str = ""
    gold: str = ""
    said: str = ""

    @property
    def words(self) -> str:
        """The part in words."""
        confused = f"{self.gold or 'any'} taken for {self.said or 'any'}" if self.gold or self.said else ""
        parts = [
            f"{self.field} wrong" if self.field else "",
            confused if self.field else "",
            ERROR_LABELS.get(self.error, self.error),
            f"tag {self.tag.replace('_', ' ')}" if self.tag else "",
            self.where.replace("=", " ", 1),
        ]
        return ", ".join(filter(None, parts)) or "not wholly right"


@dataclass(frozen=True)
class Row:
    """A document that was queued, how like it is (0 to 1), and the failing document that it is like."""

    document: Document
    likeness: float
    like: Document | None


@dataclass
class _Sought:
    """What was looked through: ``waiting`` documents in all, ``compared`` of them; keys and texts of the candidates."""

    waiting: int
    keys: list[int] = field(default_factory=list)

    @property
    def compared(self) -> int:
        """How many were compared text by text."""
        return len(self.keys)


def failing(run: EvalRun, part: Part) -> Any:
    """The outputs of a part that are not wholly right."""
    rows = EvalOutput.objects.filter(eval_run=run, exact=False)
    rows = rows.wrong_in(part.field).with_error(part.error).tagged(part.tag).where(part.where)
    return rows.confused_as(part.field, part.gold, part.said)


def find_and_queue(*, run: EvalRun, part: Part, count: int, people: Sequence[Any], user: User) -> AuditEntry:
    """Queues up to ``count`` documents that look like the failing ones of a part of an evaluation, dealt out to
    ``people`` in turn. What was queued is an entry of the audit log, which ``queued`` finds again.

    Raises:
        Refused: ``field`` is count, people or form; nothing is queued then.
    """
    if not 1 <= count <= MOST:
        raise Refused(f"From 1 to {MOST} documents are queued at a time.", field="count")
    if not people:
        raise Refused("Choose who labels them.", field="people")
    with _alone(run.project):
        return _find_and_queue(run, part, count, people, user)


@contextmanager
def _alone(project: Project) -> Iterator[None]:
    """Looking takes seconds of a processor, so that pressed twice it is done once.

    Raises:
        Refused: somebody looks in this project at the moment.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(hashtext('evaluation.lookalikes'), %s)", [project.pk % 2**31])
        if not cursor.fetchone()[0]:
            raise Refused(
                "Look-alikes are being looked for in this project at the moment. Wait a little.", field="form"
            )
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(hashtext('evaluation.lookalikes'), %s)", [project.pk % 2**31])


def _find_and_queue(run: EvalRun, part: Part, count: int, people: Sequence[Any], user: User) -> AuditEntry:
    began = time.monotonic()
    keys = sorted(failing(run, part).values_list("document_id", flat=True))
    if not keys:
        raise Refused("No document of this part is wrong, so there is nothing to look for.", field="form")
    drawn = keys if len(keys) <= _MOST_FAILING else random.Random(run.pk).sample(keys, _MOST_FAILING)
    texts = _texts(drawn)
    held_out = _held_out(run.project)
    sought = _candidates(run, [texts[key] for key in drawn], held_out)
    if not sought.keys:
        raise Refused(_nobody(sought), field="form")
    ours = _texts(sought.keys)
    held, signatures = holdout_signatures.held_out(run.project, sorted(held_out))
    found = likeness.nearest(
        [ours[key] for key in sought.keys],
        [texts[key] for key in drawn],
        held,
        most=count,
        threshold=_threshold(run.project),
        known=signatures,
    )
    rows = [(sought.keys[place], score, drawn[like_it]) for place, score, like_it in found.rows]
    if not rows:
        raise Refused(
            "Whatever looks like these documents is nearly the same as one that is held out. Import more.", field="form"
        )
    with transaction.atomic():
        Project.objects.select_for_update(no_key=True).get(pk=run.project_id)  # first: the audit log locks it
        kept = _assign([key for key, _, _ in rows], people)
        if not kept:
            raise Refused("Somebody took these documents meanwhile. Try again.", field="form")
        return audit_services.record(
            project=run.project,
            user=user,
            action=QUEUED,
            about=f"evaluation {run.number}",
            details={
                "evaluation": run.number,
                "part": asdict(part),
                "words": part.words,
                "failing": len(keys),
                "looked_at": len(drawn),
                "waiting": sought.waiting,
                "compared": sought.compared,
                "near_held_out": found.near_held_out,
                "twins": found.twins,
                "asked_for": count,
                "people": [person.get_username() for person in people],
                "seconds": round(time.monotonic() - began, 2),
                "documents": [list(row) for row in rows if row[0] in kept],
            },
        )


def _nobody(sought: _Sought) -> str:
    if not sought.waiting:
        return "No document waits to be labelled without being assigned to somebody. Import more."
    return f"None of the {sought.waiting:,} documents that wait shares a telling word with these. Import more."


def _threshold(project: Project) -> float:
    """From which likeness on the newest version counts two texts as the same."""
    rules = project.datasets.order_by("-number").values_list("rules", flat=True).first() or {}
    return min(THRESHOLD, float(rules.get("similarity", THRESHOLD)))


def _waiting(project: Project) -> Any:
    """What nobody has begun to label or is to label: only that is given to somebody."""
    rows = Document.objects.unlabeled(project).filter(assigned_to=None, holdout=False)
    return rows.filter(Q(locked_until=None) | Q(locked_by=None))


def _held_out(project: Project) -> set[int]:
    """Keys of what is held out now, or was in any version."""
    marked = Document.objects.filter(project=project, holdout=True).values_list("pk", flat=True)
    used = DatasetItem.objects.filter(dataset__project=project, split=Split.HOLDOUT)
    return {*marked, *used.values_list("document_id", flat=True).distinct()}


def _texts(keys: Sequence[int]) -> dict[int, str]:
    """Texts by key, in the order of the keys."""
    found: dict[int, str] = {}
    for start in range(0, len(keys), _CHUNK):
        rows = Document.objects.filter(pk__in=keys[start : start + _CHUNK])
        found.update(rows.values_list("pk", "text"))
    return {key: found[key] for key in keys if key in found}


def _candidates(run: EvalRun, texts: list[str], held: set[int]) -> _Sought:
    """Documents to compare: all that wait where they are few, otherwise those that share telling words."""
    project = run.project
    waiting = [key for key in _waiting(project).order_by("pk").values_list("pk", flat=True) if key not in held]
    waiting = _unrelated(project, waiting, held)
    if len(waiting) <= _COMPARED:
        return _Sought(len(waiting), waiting)
    sample = _texts(random.Random(run.pk).sample(waiting, _SAMPLE)).values()
    telling = likeness.telling([likeness.words(text) for text in texts], [likeness.words(text) for text in sample])
    known = set(waiting)
    score: dict[int, float] = defaultdict(float)
    last_call = time.monotonic() + _INDEX_SECONDS
    for word, weight in telling:
        if time.monotonic() > last_call:
            break
        for key in _holding(project, word):
            if key in known:
                score[key] += weight
    # What an import has just brought stands behind the index.
    indexed = DocumentSearch.objects.filter(project=project).order_by("-document_id")
    last = indexed.values_list("document_id", flat=True).first() or 0
    fresh = [key for key in waiting if key > last][: _COMPARED // 4]
    best = sorted(score, key=lambda key: (-score[key], key))[: _COMPARED - len(fresh)]
    return _Sought(len(waiting), list(dict.fromkeys([*best, *fresh])))


def _unrelated(project: Project, keys: list[int], held: set[int]) -> list[int]:
    """Without those that the rule of the newest version groups with a held-out document: no version would train on
    them.
    """
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


def _holding(project: Project, word: str) -> list[int]:
    """Some documents whose text has a word, by the index; none where even that takes long."""
    try:
        with within(_INDEX_MS, by_index=True) as cursor:
            # A sum is no column: the index of projects, which would compare every text of the project, is out.
            cursor.execute(
                "SELECT s.document_id FROM labeling_documentsearch s "
                "WHERE s.project_id + 0 = %s AND s.content LIKE %s LIMIT %s",
                [project.pk, f"%{like(word)}%", _PER_WORD],
            )
            return [key for (key,) in cursor.fetchall()]
    except TooSlow:
        return []


def _assign(keys: list[int], people: Sequence[Any]) -> set[int]:
    """Deals documents out, the most alike first; returns those that still waited."""
    # In the order in which all lock them.
    free = set(
        _waiting_of(keys).order_by("pk").select_for_update(of=("self",), no_key=True).values_list("pk", flat=True)
    )
    mine = [key for key in keys if key in free]
    for turn, person in enumerate(people):
        part = mine[turn :: len(people)]
        if part:
            try:
                assignment.assign(documents=Document.objects.filter(pk__in=part), user=person)
            except Refused as refused:
                raise Refused(str(refused), field="people") from refused
    return free


def _waiting_of(keys: list[int]) -> Any:
    return Document.objects.filter(pk__in=keys, state=DocumentState.NEW, assigned_to=None, holdout=False)


# -- what was queued ---------------------------------------------------------------------------------------------------


def queued(run: EvalRun) -> list[AuditEntry]:
    """What was queued from an evaluation, the newest first."""
    rows = AuditEntry.objects.filter(project=run.project_id, action=QUEUED, about=f"evaluation {run.number}")
    return list(rows.select_related("user").order_by("-pk")[:20])


def queued_documents(entry: AuditEntry) -> list[Row]:
    """The documents of one queueing as they are now, the most alike first: one query."""
    told = entry.details.get("documents", [])
    keys = {key for pk, _, like_it in told for key in (pk, like_it)}
    rows = Document.objects.select_related("assigned_to").only(
        "external_id", "state", "assigned_to", "assigned_to__username"
    )
    found = rows.in_bulk(list(keys))
    return [Row(found[pk], float(score), found.get(like_it)) for pk, score, like_it in told if pk in found]
