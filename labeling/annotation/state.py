"""The state of a document: every transition, in one place. Pure: functions take facts and return the columns to write.

    event       from                                  to
    import      -                                     submitted with a gold label, else new
    draft       new, skipped                          in progress; every other state stays
    submit      any                                   submitted or approved; see ``Submission``
    skip        new, in progress, rejected, skipped   skipped
    approve     submitted                             approved; of a disputed document this is an adjudication
    undo        approved                              submitted
    reject      submitted                             rejected
    challenge   submitted, approved                   submitted and disputed; a document in the queue stays there
    requeue     submitted, approved, skipped          in progress with a label, else new
    new schema  submitted, approved                   in progress, until it is labeled again or fits again

The callers hold the document's row lock, or update only rows in the states of the middle column. Undoing a bulk edit is
no transition: it restores the columns that it stored.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypedDict

from labeling.models.documents import LABELED_STATES, QUEUE, DocumentState

#: states that a document can be skipped from
SKIPPABLE: Final = (*QUEUE, DocumentState.SKIPPED)
#: states that a reviewer can put back into the queue
REQUEUEABLE: Final = (*LABELED_STATES, DocumentState.SKIPPED)
#: the state that a reviewer's decision needs
DECIDABLE: Final = DocumentState.SUBMITTED


class StateChange(TypedDict, total=False):
    """Columns of a document, for ``update(**change)``."""

    state: str
    disputed: bool
    skip_reason: str
    returned: dict[str, Any] | None
    assigned_to: None
    locked_by: None
    locked_until: None


UNLOCKED: Final[StateChange] = {"locked_by": None, "locked_until": None}


def imported(*, has_gold: bool) -> DocumentState:
    """The state of a new document."""
    return DocumentState.SUBMITTED if has_gold else DocumentState.NEW


def draft(state: str) -> DocumentState:
    """The state after a draft is saved."""
    before = DocumentState(state)
    return DocumentState.IN_PROGRESS if before in (DocumentState.NEW, DocumentState.SKIPPED) else before


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What decides the outcome of a submit.

    ``has_label``: a label under the schema version was submitted, imported or decided before; ``is_own``: by the same
    user. ``is_involved``: the label is challenged, and with four eyes this user cannot decide about it. ``is_reviewed``
    and ``was_rejected``: what the newest review decided. ``is_blind``: several annotators label independently, of whom
    ``missing_labels`` have not submitted yet, and ``labels_agree``.
    """

    has_label: bool = False
    is_own: bool = False
    is_involved: bool = False
    may_review: bool = False
    is_reviewed: bool = False
    was_rejected: bool = False
    is_blind: bool = False
    missing_labels: int = 0
    labels_agree: bool = True
    review_required: bool = False
    four_eyes: bool = False

    @property
    def is_approval(self) -> bool:
        """Whether a reviewer submits over a label, which approves at once.

        Over their own label only where it was reviewed and the project needs neither a review nor four eyes.
        """
        if not self.has_label or self.is_involved or self.is_blind or not self.may_review:
            return False
        return not self.is_own or (self.is_reviewed and not self.review_required and not self.four_eyes)


@dataclass(frozen=True, slots=True)
class SubmitOutcome:
    """What a submit makes of a document. ``is_gold``: the label counts immediately."""

    state: DocumentState
    disputed: bool = False
    unassign: bool = False
    is_approval: bool = False
    is_gold: bool = False

    @property
    def change(self) -> StateChange:
        """The columns that differ from what ``before_submit`` writes; the state in any case."""
        change: StateChange = {"state": self.state}
        if self.disputed:
            change["disputed"] = True
        if self.unassign:
            change["assigned_to"] = None
        return change


def before_submit(*, may_review: bool) -> StateChange:
    """What most submits make of a document. The update that takes the lock writes it, so most need no second one."""
    state = DocumentState.APPROVED if may_review else DocumentState.SUBMITTED
    return {"state": state, "disputed": False, "skip_reason": "", "returned": None, **UNLOCKED}


def submit(facts: Submission) -> SubmitOutcome:
    """The outcome of a submit."""
    if facts.has_label and facts.is_involved:
        return SubmitOutcome(DocumentState.SUBMITTED, disputed=True)
    if facts.is_approval:
        return SubmitOutcome(DocumentState.APPROVED, is_approval=True, is_gold=True)
    if facts.is_blind and facts.missing_labels > 0:
        # The next annotator comes from the queue. What was rejected stays so for the others.
        state = DocumentState.REJECTED if facts.was_rejected else DocumentState.IN_PROGRESS
        return SubmitOutcome(state, unassign=True)
    if facts.is_blind and not facts.labels_agree:
        return SubmitOutcome(DocumentState.SUBMITTED, disputed=True)
    # After a review only a review counts.
    return SubmitOutcome(DocumentState.SUBMITTED, is_gold=not (facts.review_required or facts.is_reviewed))


def skip(reason: str) -> StateChange:
    """The document cannot be labeled."""
    return {"state": DocumentState.SKIPPED, "skip_reason": reason, **UNLOCKED}


def approve() -> StateChange:
    """A reviewer approved or adjudicated a label."""
    return {"state": DocumentState.APPROVED, "disputed": False, "skip_reason": "", **UNLOCKED}


def undo_approval() -> StateChange:
    """A reviewer undid an approval."""
    return {"state": DocumentState.SUBMITTED}


def reject() -> StateChange:
    """A reviewer sent a label back."""
    return {"state": DocumentState.REJECTED, "disputed": False, **UNLOCKED}


def challenge(state: str) -> StateChange:
    """Its gold label is challenged. Empty in the queue: the label that is being written is the decision."""
    return {"state": DocumentState.SUBMITTED, "disputed": True, **UNLOCKED} if state in LABELED_STATES else {}


def requeue(*, has_label: bool) -> StateChange:
    """A reviewer put it back into the queue."""
    state = DocumentState.IN_PROGRESS if has_label else DocumentState.NEW
    return {"state": state.value, "skip_reason": "", "disputed": False}


def requeue_for_schema(*, state: str, disputed: bool, number: int, reason: str) -> StateChange:
    """Its label does not fit schema version ``number``. ``returned`` stores what ``restore`` needs."""
    returned = {"state": str(state), "disputed": disputed, "number": number, "reason": reason[:300]}
    return {"state": DocumentState.IN_PROGRESS.value, "disputed": False, "returned": returned}


def is_requeued_for_schema(state: str, returned: Mapping[str, Any] | None) -> bool:
    """Whether it is in the queue because of a schema version, and was neither submitted nor rejected since."""
    return bool(returned) and state in (DocumentState.NEW, DocumentState.IN_PROGRESS)


def restore(returned: Mapping[str, Any]) -> StateChange:
    """Its label fits the schema again: the state from before ``requeue_for_schema``."""
    return {"state": returned["state"], "disputed": returned["disputed"], "returned": None}
