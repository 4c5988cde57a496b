"""Bulk edits: one change of the selected documents, or of all documents that match the list's filters.

A bulk edit is a background run. It changes documents in batches, one transaction each. Documents that it must not
change are skipped and counted by reason. Each batch stores the previous values in a file, so the edit can be undone for
documents that were not changed since.
"""

import json
import uuid
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.db import transaction
from django.db.models import Exists, OuterRef

from labeling.annotation import state
from labeling.documents.list.filters import read_query
from labeling.documents.list.search import matching_documents
from labeling.failure_tags import tags_of
from labeling.models import Annotation, BulkEdit, DatasetItem, Document, Membership, Project, SilverItem
from labeling.models.documents import QUEUE, Selection
from slmstudio import access
from slmstudio.errors import Refused
from slmstudio.hooks import note_audit
from slmstudio.storage import artifacts

# -- the rules: the change of one document, or why it is skipped -------------------------------------------------------

#: columns of a document that each action reads or writes
COLUMNS: dict[str, tuple[str, ...]] = {
    BulkEdit.Action.ASSIGN: ("assigned_to_id", "state"),
    BulkEdit.Action.TAG: ("tags",),
    BulkEdit.Action.UNTAG: ("tags",),
    BulkEdit.Action.HOLDOUT: ("holdout", "selection"),
    BulkEdit.Action.TRAIN: ("holdout",),
    BulkEdit.Action.REQUEUE: ("state", "skip_reason", "disputed"),
    BulkEdit.Action.OVERLAP: ("overlap", "state"),
}
MOVES = (BulkEdit.Action.HOLDOUT, BulkEdit.Action.TRAIN)
FROZEN = "a dataset version used it"
TARGETED = "it is a request that was chosen for review"
ERASED = "it was erased"
_NOT_IN_QUEUE = "it is not in the queue"
#: the columns to change, {} if nothing changes, or the reason why the document is skipped
Change = dict[str, Any] | str


def _assign(row: Any, params: Mapping[str, Any]) -> Change:
    if row.assigned_to_id == params["user_id"]:
        return {}
    return {"assigned_to_id": params["user_id"]} if row.state in QUEUE else _NOT_IN_QUEUE


def _tag(row: Any, params: Mapping[str, Any]) -> Change:
    added = [tag for tag in params["tags"] if tag not in row.tags]
    return {"tags": [*row.tags, *added]} if added else {}


def _untag(row: Any, params: Mapping[str, Any]) -> Change:
    kept = [tag for tag in row.tags if tag not in params["tags"]]
    return {"tags": kept} if len(kept) < len(row.tags) else {}


def _move(holdout: bool) -> Callable[[Any, Mapping[str, Any]], Change]:
    def move(row: Any, params: Mapping[str, Any]) -> Change:
        if row.holdout == holdout:
            return {}
        if holdout and row.selection == Selection.TARGETED:
            return TARGETED
        return FROZEN if row.frozen else {"holdout": holdout}

    return move


def _requeue(row: Any, params: Mapping[str, Any]) -> Change:
    if row.erased:
        return ERASED
    return {**state.requeue(has_label=row.labelled)} if row.state in state.REQUEUEABLE else {}


def _overlap(row: Any, params: Mapping[str, Any]) -> Change:
    overlap = params["overlap"]
    if row.overlap == overlap:
        return {}
    if row.state not in QUEUE:
        return _NOT_IN_QUEUE
    # With a lower overlap than its submitted labels it would wait for a label that no one is asked for.
    return "it has a label" if overlap < row.overlap and row.answered else {"overlap": overlap}


RULES: dict[str, Callable[[Any, Mapping[str, Any]], Change]] = {
    BulkEdit.Action.ASSIGN: _assign,
    BulkEdit.Action.TAG: _tag,
    BulkEdit.Action.UNTAG: _untag,
    BulkEdit.Action.HOLDOUT: _move(True),
    BulkEdit.Action.TRAIN: _move(False),
    BulkEdit.Action.REQUEUE: _requeue,
    BulkEdit.Action.OVERLAP: _overlap,
}


BATCH = 1_000
MAX_IDS = 1_000
MAX_OVERLAP = 10
Action = BulkEdit.Action
CHANGED_SINCE_EDIT = "changed since"
DELETED = "deleted since"


# -- starting ----------------------------------------------------------------------------------------------------------


def start(
    *,
    project: Project,
    user: User,
    action: str,
    params: Mapping[str, Any],
    ids: Sequence[int] | None = None,
    query: str | None = None,
) -> BulkEdit:
    """Queues a change of the documents ``ids``, or of all that match the filters in ``query`` ("": all documents).

    ``params``: ``{"user": name or ""}`` to assign, ``{"tags": [...]}`` to tag and untag, ``{"overlap": number}``.

    Raises:
        Refused: the action, the filters or the value is invalid, or no document is selected.
    """
    access.require(project, user, access.Action.CURATE)
    clean = clean_params(project, action, params)
    if query is not None:
        filters = read_query(query, project.schema_version.compiled)
        if filters.errors:
            # An ignored filter would change more documents than the user saw.
            raise Refused(f"{filters.errors[0]} Nothing was changed.", code="filter")
        chosen: dict[str, Any] = {"query": filters.query()}
    else:
        if not ids:
            raise Refused("No documents are selected. Select documents, or all that match.", code="selection")
        if len(ids) > MAX_IDS:
            raise Refused(
                f"At most {MAX_IDS:,} documents can be selected. Use a filter and select all that match.", code="limit"
            )
        chosen = {"ids": sorted(set(ids))}
    with transaction.atomic():
        edit = BulkEdit(project=project, action=action, filters=chosen, params=clean, created_by=user)
        edit.full_clean(exclude=["filters", "params"])
        edit.save()
        note_audit(project=project, user=user, action="started", about=str(edit), details={**chosen, **clean})
        edit.enqueue()
    return edit


def undo(*, edit: BulkEdit, user: User) -> BulkEdit:
    """Queues the undo of an edit. Documents that were changed since are skipped.

    Raises:
        Refused: the edit is running, was undone, is an undo, or did not store the previous values.
    """
    access.require(edit.project, user, access.Action.CURATE)
    if not can_undo(edit):
        raise Refused("This change cannot be undone: it is running, was undone, or changed nothing.")
    with transaction.atomic():
        row = BulkEdit.objects.select_for_update().get(pk=edit.pk)
        if row.params.get("undone_by"):
            raise Refused("This change has already been undone.")
        back = BulkEdit(project=edit.project, action=Action.UNDO, params={"undoes": edit.pk}, created_by=user)
        back.save()
        row.params["undone_by"] = back.pk
        row.save(update_fields=["params"])
        note_audit(project=edit.project, user=user, action="started", about=str(back), details={"undoes": edit.pk})
        back.enqueue()
    return back


def can_undo(edit: BulkEdit) -> bool:
    """Whether the previous values are stored and the edit was not undone."""
    return bool(not edit.is_live and edit.params.get("kept") and not edit.params.get("undone_by"))


def undone_edit(edit: BulkEdit) -> BulkEdit | None:
    """The edit that an undo reverts."""
    return BulkEdit.objects.filter(project=edit.project_id, pk=edit.params.get("undoes")).first()


def change_one(*, document: Document, user: User, action: str, params: Mapping[str, Any]) -> None:
    """Makes the same change to one document, immediately.

    Raises:
        Refused: the document or the value does not allow it.
    """
    access.require(document.project, user, access.Action.CURATE)
    project = document.project
    clean = clean_params(project, action, params)
    with transaction.atomic():
        Project.objects.select_for_update(no_key=True).get(pk=project.pk)  # first: the audit log locks it
        result = _apply(project, action, clean, [document.pk])
        if result.skipped:
            raise Refused(f"Nothing was changed: {next(iter(result.skipped))}.")
        note_audit(
            project=project, user=user, action="changed", about=f"document {document.external_id}", details=clean
        )


def clean_params(project: Project, action: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """The validated parameters of an action.

    Raises:
        Refused: the action or a value is invalid.
    """
    if action not in COLUMNS:
        raise Refused("This change does not exist.")
    if action == Action.ASSIGN:
        return _assignee(project, params.get("user", ""))
    if action in (Action.TAG, Action.UNTAG):
        return {"tags": _tags(project, action, params.get("tags", []))}
    if action == Action.OVERLAP:
        overlap = params.get("overlap")
        if not isinstance(overlap, int) or isinstance(overlap, bool) or not 1 <= overlap <= MAX_OVERLAP:
            raise Refused(f"The overlap must be a number from 1 to {MAX_OVERLAP}.")
        return {"overlap": overlap}
    return {}


def _assignee(project: Project, name: Any) -> dict[str, Any]:
    if name == "":
        return {"user": "", "user_id": None}
    member = Membership.objects.filter(project=project, user__username=name).select_related("user").first()
    if member is None:
        raise Refused(f"{str(name)[:60]} is not a member of this project.")
    return {"user": member.user.get_username(), "user_id": member.user_id}


def _tags(project: Project, action: str, tags: Any) -> list[str]:
    if not isinstance(tags, list | tuple) or not tags or not all(isinstance(tag, str) and tag for tag in tags):
        raise Refused("Select at least one tag.")
    known = tags_of(project)
    unknown = [tag for tag in tags if tag not in known and (action == Action.TAG or len(tag) > 40)]
    if unknown:
        raise Refused(f"Unknown tag {unknown[0][:40]!r}.")
    return list(dict.fromkeys(tags))


# -- running -----------------------------------------------------------------------------------------------------------


def process(edit: BulkEdit) -> None:
    """Makes the change in batches and ends the run; a cancelled run stops between two batches.

    Idempotent: after an interruption it changes the remaining documents, and an undo covers all of them.
    """
    if edit.action == Action.UNDO:
        origin = BulkEdit.objects.get(pk=edit.params["undoes"], project=edit.project)
        restore = partial(_restore, edit.project, origin.action)
        _run(edit, _before(origin), origin.changed, restore, stage="restoring documents")
    else:
        ids = _targets(edit)
        _run(edit, ids, len(ids), partial(_change, edit), stage="changing documents")


def _run(
    edit: BulkEdit, items: Iterable[Any], total: int, change: Callable[[list[Any]], "BatchResult"], *, stage: str
) -> None:
    edit.send_heartbeat(progress_total=total, progress_done=0, stage=stage)
    done, changed = 0, sum(count for _, count in edit.params.get("kept", []))
    skipped: Counter[str] = Counter()
    is_live = True
    try:
        for batch in _batches(items, BATCH):
            result = change(batch)
            done, changed = done + len(batch), changed + result.changed
            skipped.update(result.skipped)
            is_live = edit.send_heartbeat(progress_done=done, changed=changed, left_alone=skipped.total())
            if not is_live:
                break
    finally:
        edit.params = {**edit.params, "left": dict(skipped)}
        edit.save(update_fields=["params"])
    if is_live:
        edit.finish()
    else:
        edit.cancelled()


def _change(edit: BulkEdit, batch: Sequence[int]) -> "BatchResult":
    """Changes a batch, and stores its previous values in the same transaction."""
    key, kept = "", edit.params.get("kept", [])
    try:
        with transaction.atomic():
            result = _apply(edit.project, edit.action, edit.params, batch)
            if result.lines:
                name = f"bulk/{edit.pk}/{len(kept):05}-{uuid.uuid4().hex[:8]}.jsonl"
                key = artifacts.store().save(name, ContentFile(b"".join(result.lines)))
                kept = [*kept, [key, len(result.lines)]]
                BulkEdit.objects.filter(pk=edit.pk).update(params={**edit.params, "kept": kept})
    except BaseException:
        if key:
            artifacts.store().delete(key)
        raise
    edit.params = {**edit.params, "kept": kept}
    return result


def _before(edit: BulkEdit) -> Iterator[Any]:
    """The values of the changed documents before and after, one document at a time."""
    for key, _ in edit.params["kept"]:
        with artifacts.store().open(key) as lines:
            yield from map(json.loads, lines)


@dataclass
class BatchResult:
    """The result of a batch. ``lines``: values before and after by document; ``skipped``: documents by reason."""

    changed: int
    skipped: Counter[str]
    lines: list[bytes]


def _targets(edit: BulkEdit) -> "array[int]":
    """The ids of all documents to change, fixed at the start: the change itself can alter the matches of a filter."""
    rows: Any
    if "ids" in edit.filters:
        rows = Document.objects.filter(project=edit.project, pk__in=edit.filters["ids"])
    else:
        rows = matching_documents(edit.project, read_query(edit.filters["query"], edit.project.schema_version.compiled))
    ids = array("q", rows.order_by().values_list("pk", flat=True).iterator(chunk_size=20_000))
    return array("q", sorted(ids))


def _batches(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch


def _lock_documents(project: Project, action: str, ids: Sequence[int]) -> dict[int, Any]:
    """Locks the documents until the transaction ends; by id."""
    if action in MOVES:
        # A freeze locks the project too.
        Project.objects.select_for_update(no_key=True).get(pk=project.pk)
    rows: Any = Document.objects.filter(project=project, pk__in=ids).order_by("pk").select_for_update(no_key=True)
    locked: dict[int, Any] = {row.pk: row for row in rows.only(*COLUMNS[action])}
    # Read after the lock, so it is current.
    if action in MOVES:
        used = {
            *DatasetItem.objects.filter(document__in=locked).values_list("document_id", flat=True),
            *SilverItem.objects.filter(document__in=locked).values_list("document_id", flat=True),
        }
        for pk, row in locked.items():
            row.frozen = pk in used
    elif action in (Action.REQUEUE, Action.OVERLAP):
        labels = Annotation.objects.filter(document=OuterRef("pk"))
        rows = Document.objects.filter(pk__in=locked).annotate(
            labelled=Exists(labels), answered=Exists(labels.filter(submitted=True))
        )
        for pk, labelled, answered, erased_at in rows.values_list("pk", "labelled", "answered", "erased_at"):
            locked[pk].labelled, locked[pk].answered, locked[pk].erased = labelled, answered, erased_at is not None
    return locked


def _apply(project: Project, action: str, params: Mapping[str, Any], ids: Sequence[int]) -> BatchResult:
    locked = _lock_documents(project, action, ids)
    rule = RULES[action]
    verdicts = {pk: rule(row, params) for pk, row in locked.items()}
    changes = {pk: verdict for pk, verdict in verdicts.items() if isinstance(verdict, dict) and verdict}
    skipped = Counter(verdict for verdict in verdicts.values() if isinstance(verdict, str))
    skipped.update({DELETED: len(ids) - len(locked)} if len(locked) < len(ids) else {})
    reopened = _reopen_labels(changes) if action == Action.REQUEUE else {}
    lines = []
    for pk, change in changes.items():
        before = {name: getattr(locked[pk], name) for name in change}
        line = [pk, before, change, *([reopened[pk]] if pk in reopened else [])]
        lines.append(json.dumps(line).encode() + b"\n")
    _write(changes)
    return BatchResult(len(changes), skipped, lines)


@transaction.atomic
def _restore(project: Project, action: str, lines: Sequence[Any]) -> BatchResult:
    locked = _lock_documents(project, action, [line[0] for line in lines])
    changes: dict[int, dict[str, Any]] = {}
    skipped: Counter[str] = Counter()
    people = set(get_user_model().objects.values_list("pk", flat=True)) if action == Action.ASSIGN else set()
    labels: list[tuple[int, int]] = []
    for pk, before, after, *reopened in lines:
        row = locked.get(pk)
        if row is None:
            skipped[DELETED] += 1
        elif action in MOVES and row.frozen:
            skipped[FROZEN] += 1
        elif all(getattr(row, name) == value for name, value in before.items()):
            continue  # restored before an interruption
        elif any(getattr(row, name) != value for name, value in after.items()):
            skipped[CHANGED_SINCE_EDIT] += 1
        elif action == Action.ASSIGN and before["assigned_to_id"] not in {None, *people}:
            changes[pk] = {"assigned_to_id": None}
        else:
            changes[pk] = before
            labels += reopened[0] if reopened else []
    _write(changes)
    _resubmit_labels(labels)
    return BatchResult(len(changes), skipped, [])


def _reopen_labels(documents: Iterable[int]) -> dict[int, list[tuple[int, int]]]:
    """Submitted labels become drafts of their annotators; with overlap the document would be in no queue otherwise.

    Returns the id and version of each label by document.
    """
    rows = Annotation.objects.filter(document__in=documents, submitted=True)
    labels: dict[int, list[tuple[int, int]]] = {}
    for document, pk, version in rows.order_by("pk").values_list("document_id", "pk", "version"):
        labels.setdefault(document, []).append((pk, version))
    rows.update(submitted=False)
    return labels


def _resubmit_labels(labels: Sequence[tuple[int, int]]) -> None:
    """Submits reopened labels again, except those that were changed since."""
    versions = {(pk, version) for pk, version in labels}
    rows = Annotation.objects.filter(pk__in=[pk for pk, _ in versions]).values_list("pk", "version")
    same = [pk for pk, version in rows if (pk, version) in versions]
    Annotation.objects.filter(pk__in=same).update(submitted=True)


def _write(changes: Mapping[int, dict[str, Any]]) -> None:
    """Writes the changes, one UPDATE per distinct change."""
    groups: dict[str, list[int]] = {}
    for pk, change in changes.items():
        groups.setdefault(json.dumps(change, sort_keys=True), []).append(pk)
    for text, pks in groups.items():
        Document.objects.filter(pk__in=pks).update(**json.loads(text))
