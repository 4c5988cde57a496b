"""What becomes of one document in a change of many, and why it is left alone."""

from collections.abc import Callable, Mapping
from typing import Any

from labeling.annotation import state
from labeling.models import BulkEdit
from labeling.models.documents import QUEUE

#: what of a document each kind of change reads or writes
COLUMNS: dict[str, tuple[str, ...]] = {
    BulkEdit.Action.ASSIGN: ("assigned_to_id", "state"),
    BulkEdit.Action.TAG: ("tags",),
    BulkEdit.Action.UNTAG: ("tags",),
    BulkEdit.Action.HOLDOUT: ("holdout",),
    BulkEdit.Action.TRAIN: ("holdout",),
    BulkEdit.Action.REQUEUE: ("state", "skip_reason", "disputed"),
    BulkEdit.Action.OVERLAP: ("wanted", "state"),
}
MOVES = (BulkEdit.Action.HOLDOUT, BulkEdit.Action.TRAIN)
FROZEN = "a dataset version used it"
_DONE = "it does not wait to be labelled"
#: the columns to change; {} where it is so already; a text: why it is left alone
Verdict = dict[str, Any] | str


def _assign(row: Any, params: Mapping[str, Any]) -> Verdict:
    if row.assigned_to_id == params["user_id"]:
        return {}
    return {"assigned_to_id": params["user_id"]} if row.state in QUEUE else _DONE


def _tag(row: Any, params: Mapping[str, Any]) -> Verdict:
    more = [tag for tag in params["tags"] if tag not in row.tags]
    return {"tags": [*row.tags, *more]} if more else {}


def _untag(row: Any, params: Mapping[str, Any]) -> Verdict:
    rest = [tag for tag in row.tags if tag not in params["tags"]]
    return {"tags": rest} if len(rest) < len(row.tags) else {}


def _move(holdout: bool) -> Callable[[Any, Mapping[str, Any]], Verdict]:
    def move(row: Any, params: Mapping[str, Any]) -> Verdict:
        if row.holdout == holdout:
            return {}
        return FROZEN if row.frozen else {"holdout": holdout}

    return move


def _requeue(row: Any, params: Mapping[str, Any]) -> Verdict:
    return {**state.requeue(has_label=row.labelled)} if row.state in state.REQUEUEABLE else {}


def _overlap(row: Any, params: Mapping[str, Any]) -> Verdict:
    wanted = params["wanted"]
    if row.wanted == wanted:
        return {}
    if row.state not in QUEUE:
        return _DONE
    # Lowered to what is there already it would wait for a label that nobody is asked for.
    return "somebody labelled it already" if wanted < row.wanted and row.answered else {"wanted": wanted}


RULES: dict[str, Callable[[Any, Mapping[str, Any]], Verdict]] = {
    BulkEdit.Action.ASSIGN: _assign,
    BulkEdit.Action.TAG: _tag,
    BulkEdit.Action.UNTAG: _untag,
    BulkEdit.Action.HOLDOUT: _move(True),
    BulkEdit.Action.TRAIN: _move(False),
    BulkEdit.Action.REQUEUE: _requeue,
    BulkEdit.Action.OVERLAP: _overlap,
}
