"""The rules of bulk edits: the change of one document, or why it is skipped."""

from collections.abc import Callable, Mapping
from typing import Any

from labeling.annotation import state
from labeling.models import BulkEdit
from labeling.models.documents import QUEUE, Selection

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
