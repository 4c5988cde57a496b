"""The transitions of a document's state, as tables."""

from typing import Any

import pytest

from labeling.annotation import state
from labeling.annotation.state import Submission, SubmitOutcome
from labeling.models import DocumentState

NEW, IN_PROGRESS, SUBMITTED, APPROVED, REJECTED, SKIPPED = DocumentState
LABEL = {"has_label": True}
BLIND = {"is_blind": True}
REVIEWER = {**LABEL, "may_review": True}


@pytest.mark.parametrize(
    ("facts", "outcome"),
    [
        # a first label
        ({}, SubmitOutcome(SUBMITTED, is_gold=True)),
        ({"review_required": True}, SubmitOutcome(SUBMITTED)),
        ({"may_review": True}, SubmitOutcome(SUBMITTED, is_gold=True)),
        ({"may_review": True, "review_required": True}, SubmitOutcome(SUBMITTED)),
        # over a label, by an annotator: after a review only a review counts
        (LABEL, SubmitOutcome(SUBMITTED, is_gold=True)),
        ({**LABEL, "review_required": True}, SubmitOutcome(SUBMITTED)),
        ({**LABEL, "is_reviewed": True}, SubmitOutcome(SUBMITTED)),
        ({**LABEL, "was_rejected": True}, SubmitOutcome(SUBMITTED, is_gold=True)),
        # over a label, by a reviewer
        (REVIEWER, SubmitOutcome(APPROVED, is_approval=True, is_gold=True)),
        ({**REVIEWER, "review_required": True}, SubmitOutcome(APPROVED, is_approval=True, is_gold=True)),
        ({**REVIEWER, "four_eyes": True}, SubmitOutcome(APPROVED, is_approval=True, is_gold=True)),
        ({**REVIEWER, "is_own": True}, SubmitOutcome(SUBMITTED, is_gold=True)),
        ({**REVIEWER, "is_own": True, "review_required": True}, SubmitOutcome(SUBMITTED)),
        (
            {**REVIEWER, "is_own": True, "is_reviewed": True},
            SubmitOutcome(APPROVED, is_approval=True, is_gold=True),
        ),
        ({**REVIEWER, "is_own": True, "is_reviewed": True, "review_required": True}, SubmitOutcome(SUBMITTED)),
        ({**REVIEWER, "is_own": True, "is_reviewed": True, "four_eyes": True}, SubmitOutcome(SUBMITTED)),
        # a challenged label of this user, or challenged by them
        ({**LABEL, "is_involved": True}, SubmitOutcome(SUBMITTED, disputed=True)),
        ({**REVIEWER, "is_involved": True, "four_eyes": True}, SubmitOutcome(SUBMITTED, disputed=True)),
        ({**LABEL, **BLIND, "is_involved": True, "missing_labels": 1}, SubmitOutcome(SUBMITTED, disputed=True)),
        # several annotators, independently
        ({**BLIND, "missing_labels": 1}, SubmitOutcome(IN_PROGRESS, unassign=True)),
        ({**BLIND, "missing_labels": 2, "labels_agree": False}, SubmitOutcome(IN_PROGRESS, unassign=True)),
        ({**BLIND, "missing_labels": 1, "was_rejected": True}, SubmitOutcome(REJECTED, unassign=True)),
        ({**REVIEWER, **BLIND, "missing_labels": 1}, SubmitOutcome(IN_PROGRESS, unassign=True)),
        (BLIND, SubmitOutcome(SUBMITTED, is_gold=True)),
        ({**BLIND, "review_required": True}, SubmitOutcome(SUBMITTED)),
        ({**BLIND, "labels_agree": False}, SubmitOutcome(SUBMITTED, disputed=True)),
        ({**REVIEWER, **BLIND, "labels_agree": False}, SubmitOutcome(SUBMITTED, disputed=True)),
    ],
)
def test_a_submit(facts: dict[str, Any], outcome: SubmitOutcome) -> None:
    assert state.submit(Submission(**facts)) == outcome


def test_a_submit_writes_only_what_differs_from_the_expected_state() -> None:
    assert SubmitOutcome(SUBMITTED, is_gold=True).change == {"state": SUBMITTED}
    assert SubmitOutcome(SUBMITTED, disputed=True).change == {"state": SUBMITTED, "disputed": True}
    assert SubmitOutcome(IN_PROGRESS, unassign=True).change == {"state": IN_PROGRESS, "assigned_to": None}
    assert state.before_submit(may_review=False)["state"] == SUBMITTED
    assert state.before_submit(may_review=True)["state"] == APPROVED


@pytest.mark.parametrize(
    ("before", "drafted", "can_skip", "can_requeue", "challenged"),
    [
        (NEW, IN_PROGRESS, True, False, None),
        (IN_PROGRESS, IN_PROGRESS, True, False, None),
        (SUBMITTED, SUBMITTED, False, True, SUBMITTED),
        (APPROVED, APPROVED, False, True, SUBMITTED),
        (REJECTED, REJECTED, True, False, None),
        (SKIPPED, IN_PROGRESS, True, True, None),
    ],
)
def test_each_state(
    before: str, drafted: str, can_skip: bool, can_requeue: bool, challenged: DocumentState | None
) -> None:
    assert state.draft(before) == drafted
    assert (before in state.SKIPPABLE) == can_skip
    assert (before in state.REQUEUEABLE) == can_requeue
    change = state.challenge(before)
    assert (change.get("state"), change.get("disputed")) == (challenged, True if challenged else None)


@pytest.mark.parametrize(
    ("change", "after"),
    [
        (state.skip("blank page"), {"state": SKIPPED, "skip_reason": "blank page"}),
        (state.approve(), {"state": APPROVED, "disputed": False, "skip_reason": ""}),
        (state.reject(), {"state": REJECTED, "disputed": False}),
        (state.challenge(SUBMITTED), {"state": SUBMITTED, "disputed": True}),
    ],
)
def test_a_decision_releases_the_lock(change: state.StateChange, after: dict[str, Any]) -> None:
    assert change == {**after, "locked_by": None, "locked_until": None}


def test_new_and_requeued_documents() -> None:
    assert (state.imported(has_gold=False), state.imported(has_gold=True)) == (NEW, SUBMITTED)
    assert state.requeue(has_label=False) == {"state": NEW, "skip_reason": "", "disputed": False}
    assert state.requeue(has_label=True)["state"] == IN_PROGRESS


@pytest.mark.parametrize(("before", "disputed"), [(SUBMITTED, True), (SUBMITTED, False), (APPROVED, False)])
def test_a_schema_version_requeues_and_restores(before: str, disputed: bool) -> None:
    change = state.requeue_for_schema(state=before, disputed=disputed, number=3, reason="r" * 400)
    assert (change["state"], change["disputed"]) == (IN_PROGRESS, False)
    returned = change["returned"]
    assert returned is not None
    assert (returned["number"], len(returned["reason"])) == (3, 300)
    waits = [state.is_requeued_for_schema(now, returned) for now in DocumentState]
    assert waits == [True, True, False, False, False, False]
    assert not state.is_requeued_for_schema(NEW, None)
    assert state.restore(returned) == {"state": before, "disputed": disputed, "returned": None}
