"""One change of many documents: those that were ticked, or all that the list's filters leave.

A change is a run in the background. It works through the documents in batches, each a transaction that holds the rows;
what a change may not touch is left alone, counted and named. What every document was before is kept in a file of each
batch, so that the change can be undone where nobody changed the document since.
"""

import json
import uuid
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.db import transaction
from django.db.models import Exists, OuterRef

from labeling.documents.bulk_edit_rules import COLUMNS, FROZEN, MOVES, RULES
from labeling.documents.failure_tags import tags_of
from labeling.documents.list.filters import read_query
from labeling.documents.list.search import matching
from labeling.models import Annotation, BulkEdit, DatasetItem, Document, Membership, Project
from slmstudio import audit
from slmstudio.errors import Refused
from slmstudio.storage import artifacts

BATCH = 1_000
MOST_IDS = 1_000
MOST_PEOPLE = 10
Action = BulkEdit.Action
_CHANGED_SINCE = "changed since"
_GONE = "removed meanwhile"


# -- asking for one ----------------------------------------------------------------------------------------------------


def start(
    *,
    project: Project,
    user: User,
    action: str,
    params: Mapping[str, Any],
    ids: Sequence[int] | None = None,
    query: str | None = None,
) -> BulkEdit:
    """Queues a change of the documents ``ids``, or of all that the list's filters in ``query`` leave ("" leaves all).

    ``params`` by action: assign ``{"user": name or ""}``, tag and untag ``{"tags": [...]}``, overlap ``{"wanted": n}``.

    Raises:
        Refused: no such action, nothing chosen, filters that are not understood, or a value the action cannot take.
    """
    clean = clean_params(project, action, params)
    if query is not None:
        filters = read_query(query, project.schema_version.compiled)
        if filters.errors:
            # A filter that was left out would change more documents than the person saw.
            raise Refused(f"{filters.errors[0]} Nothing was changed.")
        chosen: dict[str, Any] = {"query": filters.query()}
    else:
        if not ids:
            raise Refused("No document is chosen. Tick some, or choose all that match.")
        if len(ids) > MOST_IDS:
            raise Refused(f"At most {MOST_IDS:,} documents are ticked at once. Use a filter and choose all that match.")
        chosen = {"ids": sorted(set(ids))}
    with transaction.atomic():
        edit = BulkEdit(project=project, action=action, filters=chosen, params=clean, created_by=user)
        edit.full_clean(exclude=["filters", "params"])
        edit.save()
        audit.note(project=project, user=user, action="started", about=str(edit), details={**chosen, **clean})
        edit.enqueue()
    return edit


def undo(*, edit: BulkEdit, user: User) -> BulkEdit:
    """Queues the way back of a change. Documents that somebody changed since are left as they are.

    Raises:
        Refused: it is at work still, was undone before, is itself a way back, or did not keep what was before.
    """
    if not can_undo(edit):
        raise Refused(
            "This change cannot be undone: it is still at work, or was undone, or did not keep what was before."
        )
    with transaction.atomic():
        row = BulkEdit.objects.select_for_update().get(pk=edit.pk)
        if row.params.get("undone_by"):
            raise Refused("This change was undone already.")
        back = BulkEdit(project=edit.project, action=Action.UNDO, params={"undoes": edit.pk}, created_by=user)
        back.save()
        row.params["undone_by"] = back.pk
        row.save(update_fields=["params"])
        audit.note(project=edit.project, user=user, action="started", about=str(back), details={"undoes": edit.pk})
        back.enqueue()
    return back


def can_undo(edit: BulkEdit) -> bool:
    """Whether what was before is known and nobody asked for it yet."""
    return bool(not edit.is_live and edit.params.get("kept") and not edit.params.get("undone_by"))


def change_one(*, document: Document, user: User, action: str, params: Mapping[str, Any]) -> None:
    """The same change of one document, at once.

    Raises:
        Refused: it may not be made of this document, or with this value.
    """
    project = document.project
    clean = clean_params(project, action, params)
    with transaction.atomic():
        Project.objects.select_for_update(no_key=True).get(pk=project.pk)  # first: the audit log locks it
        done = _apply(project, action, clean, [document.pk])
        if done.left:
            raise Refused(f"Nothing was changed: {next(iter(done.left))}.")
        audit.note(
            project=project, user=user, action="changed", about=f"document {document.external_id}", details=clean
        )


def clean_params(project: Project, action: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of an action as they are kept.

    Raises:
        Refused: no such action, or a value it cannot take.
    """
    if action not in COLUMNS:
        raise Refused("There is no such change.")
    if action == Action.ASSIGN:
        return _assignee(project, params.get("user", ""))
    if action in (Action.TAG, Action.UNTAG):
        return {"tags": _tags(project, action, params.get("tags", []))}
    if action == Action.OVERLAP:
        wanted = params.get("wanted")
        if not isinstance(wanted, int) or isinstance(wanted, bool) or not 1 <= wanted <= MOST_PEOPLE:
            raise Refused(f"Say how many people are to label each document, from 1 to {MOST_PEOPLE}.")
        return {"wanted": wanted}
    return {}


def _assignee(project: Project, name: Any) -> dict[str, Any]:
    if name == "":
        return {"user": "", "user_id": None}
    member = Membership.objects.filter(project=project, user__username=name).select_related("user").first()
    if member is None:
        raise Refused(f"{str(name)[:60]} is no member of this project.")
    return {"user": member.user.get_username(), "user_id": member.user_id}


def _tags(project: Project, action: str, tags: Any) -> list[str]:
    if not isinstance(tags, list | tuple) or not tags or not all(isinstance(tag, str) and tag for tag in tags):
        raise Refused("Choose at least one tag.")
    known = tags_of(project)
    unknown = [tag for tag in tags if tag not in known and (action == Action.TAG or len(tag) > 40)]
    if unknown:
        raise Refused(f"There is no failure tag {unknown[0][:40]!r}.")
    return list(dict.fromkeys(tags))


# -- doing it ----------------------------------------------------------------------------------------------------------


def process(edit: BulkEdit) -> None:
    """Makes the change, batch by batch, and ends the run; stops between two batches where that was asked for.

    Repeated from the start after an interruption it changes only what was not changed yet; what was before the
    interruption can be undone with the rest.
    """
    if edit.action == Action.UNDO:
        _go_back(edit)
        return
    ids = _targets(edit)
    edit.send_heartbeat(progress_total=len(ids), progress_done=0, stage="changing documents")
    tally, going = _Tally(), True
    tally.changed = sum(count for _, count in edit.params.get("kept", []))
    try:
        for batch in _batches(ids, BATCH):
            done = _change(edit, batch)
            tally.add(done, len(batch))
            going = edit.send_heartbeat(**tally.columns())
            if not going:
                break
    finally:
        tally.end(edit)
    if going:
        edit.finish()
    else:
        edit.cancelled()


def _change(edit: BulkEdit, batch: Sequence[int]) -> "_Done":
    """Changes a batch. What was before is stored and noted on the run in the same transaction: both or neither."""
    key, kept = "", edit.params.get("kept", [])
    try:
        with transaction.atomic():
            done = _apply(edit.project, edit.action, edit.params, batch)
            if done.lines:
                name = f"bulk/{edit.pk}/{len(kept):05}-{uuid.uuid4().hex[:8]}.jsonl"
                key = artifacts.store().save(name, ContentFile(b"".join(done.lines)))
                kept = [*kept, [key, len(done.lines)]]
                BulkEdit.objects.filter(pk=edit.pk).update(params={**edit.params, "kept": kept})
    except BaseException:
        if key:
            artifacts.store().delete(key)
        raise
    edit.params = {**edit.params, "kept": kept}
    return done


def _before(edit: BulkEdit) -> Iterator[Any]:
    """What the documents of a change were before, and became, document after document."""
    kept = edit.params["kept"]
    for key, _ in [(kept, 0)] if isinstance(kept, str) else kept:  # one file, as changes kept it once
        with artifacts.store().open(key) as lines:
            yield from map(json.loads, lines)


def _go_back(edit: BulkEdit) -> None:
    origin = BulkEdit.objects.get(pk=edit.params["undoes"], project=edit.project)
    edit.send_heartbeat(progress_total=origin.changed, progress_done=0, stage="putting documents back")
    tally, going = _Tally(), True
    for batch in _batches(_before(origin), BATCH):
        with transaction.atomic():
            done = _put_back(edit.project, origin.action, batch)
        tally.add(done, len(batch))
        going = edit.send_heartbeat(**tally.columns())
        if not going:
            break
    tally.end(edit)
    if going:
        edit.finish()
    else:
        edit.cancelled()


@dataclass
class _Done:
    """What came of a batch. ``lines``: before and after of each changed document; ``left``: reason -> documents."""

    changed: int
    left: Counter[str]
    lines: list[bytes]


class _Tally:
    """What came of all batches so far."""

    def __init__(self) -> None:
        self.done, self.changed, self.left = 0, 0, Counter[str]()

    def add(self, done: _Done, size: int) -> None:
        self.done += size
        self.changed += done.changed
        self.left.update(done.left)

    def columns(self) -> dict[str, int]:
        return {"progress_done": self.done, "changed": self.changed, "left_alone": sum(self.left.values())}

    def end(self, edit: BulkEdit) -> None:
        """Notes the reasons."""
        edit.params = {**edit.params, "left": dict(self.left)}
        edit.save(update_fields=["params"])


def _targets(edit: BulkEdit) -> "array[int]":
    """The ids of all documents to change, in order, as they are now: what the change does to a filter is no matter."""
    rows: Any
    if "ids" in edit.filters:
        rows = Document.objects.filter(project=edit.project, pk__in=edit.filters["ids"])
    else:
        rows = matching(edit.project, read_query(edit.filters["query"], edit.project.schema_version.compiled))
    ids = array("q", rows.order_by().values_list("pk", flat=True).iterator(chunk_size=20_000))
    return array("q", sorted(ids))


def _batches(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch


def _hold(project: Project, action: str, ids: Sequence[int]) -> dict[int, Any]:
    """The documents, held until the transaction ends, by id."""
    if action in MOVES:
        # No freeze meanwhile: it holds the project too.
        Project.objects.select_for_update(no_key=True).get(pk=project.pk)
    rows: Any = Document.objects.filter(project=project, pk__in=ids).order_by("pk").select_for_update(no_key=True)
    held: dict[int, Any] = {row.pk: row for row in rows.only(*COLUMNS[action])}
    # After the wait for the rows, so that it is true of what is held.
    if action in MOVES:
        used = set(DatasetItem.objects.filter(document__in=held).values_list("document_id", flat=True))
        for pk, row in held.items():
            row.frozen = pk in used
    elif action in (Action.REQUEUE, Action.OVERLAP):
        labels = Annotation.objects.filter(document=OuterRef("pk"))
        rows = Document.objects.filter(pk__in=held).annotate(
            labelled=Exists(labels), answered=Exists(labels.filter(submitted=True))
        )
        for pk, labelled, answered in rows.values_list("pk", "labelled", "answered"):
            held[pk].labelled, held[pk].answered = labelled, answered
    return held


def _apply(project: Project, action: str, params: Mapping[str, Any], ids: Sequence[int]) -> _Done:
    held = _hold(project, action, ids)
    rule = RULES[action]
    verdicts = {pk: rule(row, params) for pk, row in held.items()}
    changes = {pk: verdict for pk, verdict in verdicts.items() if isinstance(verdict, dict) and verdict}
    left = Counter(verdict for verdict in verdicts.values() if isinstance(verdict, str))
    left.update({_GONE: len(ids) - len(held)} if len(held) < len(ids) else {})
    taken_back = _take_back(changes) if action == Action.REQUEUE else {}
    lines = []
    for pk, change in changes.items():
        before = {name: getattr(held[pk], name) for name in change}
        line = [pk, before, change, *([taken_back[pk]] if pk in taken_back else [])]
        lines.append(json.dumps(line).encode() + b"\n")
    _write(changes)
    return _Done(len(changes), left, lines)


def _put_back(project: Project, action: str, lines: Sequence[Any]) -> _Done:
    held = _hold(project, action, [line[0] for line in lines])
    changes: dict[int, dict[str, Any]] = {}
    left: Counter[str] = Counter()
    people = set(get_user_model().objects.values_list("pk", flat=True)) if action == Action.ASSIGN else set()
    labels: list[tuple[int, int]] = []
    for pk, before, after, *taken_back in lines:
        row = held.get(pk)
        if row is None:
            left[_GONE] += 1
        elif action in MOVES and row.frozen:
            left[FROZEN] += 1
        elif all(getattr(row, name) == value for name, value in before.items()):
            continue  # put back before an interruption
        elif any(getattr(row, name) != value for name, value in after.items()):
            left[_CHANGED_SINCE] += 1
        elif action == Action.ASSIGN and before["assigned_to_id"] not in {None, *people}:
            changes[pk] = {"assigned_to_id": None}
        else:
            changes[pk] = before
            labels += taken_back[0] if taken_back else []
    _write(changes)
    _give_back(labels)
    return _Done(len(changes), left, [])


def _take_back(documents: Iterable[int]) -> dict[int, list[tuple[int, int]]]:
    """Submitted labels become drafts that their people go on with, as where a reviewer sends them back: where several
    label a document it would otherwise be in nobody's queue. Key and version of each, by document.
    """
    rows = Annotation.objects.filter(document__in=documents, submitted=True)
    found: dict[int, list[tuple[int, int]]] = {}
    for document, pk, version in rows.order_by("pk").values_list("document_id", "pk", "version"):
        found.setdefault(document, []).append((pk, version))
    rows.update(submitted=False)
    return found


def _give_back(labels: Sequence[tuple[int, int]]) -> None:
    """Labels that were taken back are submitted again, but for those whose people have gone on since."""
    wanted = {(pk, version) for pk, version in labels}
    rows = Annotation.objects.filter(pk__in=[pk for pk, _ in wanted]).values_list("pk", "version")
    same = [pk for pk, version in rows if (pk, version) in wanted]
    Annotation.objects.filter(pk__in=same).update(submitted=True)


def _write(changes: Mapping[int, dict[str, Any]]) -> None:
    """One update per kind of change."""
    groups: dict[str, list[int]] = {}
    for pk, change in changes.items():
        groups.setdefault(json.dumps(change, sort_keys=True), []).append(pk)
    for text, pks in groups.items():
        Document.objects.filter(pk__in=pks).update(**json.loads(text))
