"""With four-eyes review, lowering a gate and waiving one need a second person."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from evaluation.approvals.decisions import (
    UNCONFIRMED,
    confirm_waivers,
    decide,
    decision_obstacle,
    decision_status,
    void_reasons,
)
from evaluation.approvals.waivers import Waiver
from evaluation.gates.policy import proposals
from evaluation.gates.policy.changes import lowered
from evaluation.gates.policy.definition import Gate, GateSet
from evaluation.gates.policy.services import current_policy, gates_of, set_policy
from evaluation.gates.services import create_report
from evaluation.models import Approval, GateReport
from labeling.models import Membership
from slmstudio.access import Forbidden, Role
from slmstudio.errors import Refused
from tests.evaluation.factories import World, evaluated, right
from tests.evaluation.factories import pretend as outputs

ERRORS = Gate("errors", "field_error_rate", "<=", 0.1)
VALID = Gate("valid", "schema_valid_rate", ">=", 0.9)
LOSS = Gate("loss", "no_regression", ">=", 0.02, compared_with="base")


@pytest.mark.parametrize(
    ("before", "after", "keys"),
    [
        ([VALID], [VALID], []),
        ([VALID], [Gate("valid", "schema_valid_rate", ">=", 0.95)], []),
        ([VALID], [Gate("valid", "schema_valid_rate", ">=", 0.8)], ["valid"]),
        ([VALID], [Gate("valid", "schema_valid_rate", ">=", 0.9, confidence=0.9)], ["valid"]),
        ([VALID], [Gate("valid", "schema_valid_rate", ">=", 0.9, slice="scan")], ["valid"]),
        ([ERRORS], [Gate("errors", "field_error_rate", "<=", 0.05)], []),
        ([ERRORS], [Gate("errors", "field_error_rate", "<=", 0.2)], ["errors"]),
        ([LOSS], [Gate("loss", "no_regression", ">=", 0.05, compared_with="base")], ["loss"]),
        ([LOSS], [Gate("loss", "no_regression", ">=", 0.01, compared_with="base")], []),
        ([VALID, ERRORS], [ERRORS], ["valid"]),
        ([ERRORS], [VALID, ERRORS], []),
    ],
)
def test_a_change_is_lower_where_more_models_pass(before: list[Gate], after: list[Gate], keys: list[str]) -> None:
    assert list(lowered(GateSet(tuple(before)), GateSet(tuple(after)))) == keys


def test_another_number_of_evaluations_is_lower() -> None:
    assert list(lowered(GateSet((VALID,)), GateSet((VALID,), single_evaluation=True))) == [""]


def second_manager(world: World) -> User:
    Membership.objects.filter(project=world.project, user=world.annotator).update(role=Role.MANAGER)
    return world.annotator


def with_threshold(world: World, threshold: float) -> dict[str, Any]:
    gates = gates_of(current_policy(project=world.project)).to_json()
    next(gate for gate in gates["gates"] if gate["metric"] == "field_error_rate").update(threshold=threshold, title="")
    return gates


def passing_report(world: World) -> GateReport:
    return create_report(eval_run=evaluated(world, right), baseline=None, user=world.engineer)


def active_policy(world: World) -> None:
    """The policy is in use: a report was created with it."""
    passing_report(world)


def test_who_lowers_a_gate_alone_cannot_approve_until_another_manager_has(world: World) -> None:
    other = second_manager(world)
    active_policy(world)
    set_policy(project=world.project, user=world.manager, gates=with_threshold(world, 0.3))
    report = passing_report(world)
    assert "lowering “At most 10% of fields are wrong” in gate policy 2" in decision_obstacle(report, world.manager)
    with pytest.raises(Refused) as refusal:
        decide(report=report, user=world.manager, decision="rejected", reason="No.")
    assert refusal.value.code == "own_involvement"
    assert decision_obstacle(report, other) == ""
    waiver = Waiver("A trial.", timezone.localdate() + timedelta(days=1))
    decide(report=report, user=other, decision="approved", reason="Yes.", waiver=waiver)
    assert decision_obstacle(passing_report(world), world.manager) == ""


def test_a_gate_that_is_raised_again_is_no_obstacle(world: World) -> None:
    active_policy(world)
    set_policy(project=world.project, user=world.manager, gates=with_threshold(world, 0.3))
    set_policy(project=world.project, user=world.manager, gates=with_threshold(world, 0.05))
    assert decision_obstacle(passing_report(world), world.manager) == ""


def test_the_first_gates_of_a_project_are_not_lowered(world: World) -> None:
    set_policy(project=world.project, user=world.manager, gates=with_threshold(world, 0.3))
    assert decision_obstacle(passing_report(world), world.manager) == ""


@pytest.mark.parametrize("is_shared", [True, False])
def test_the_proposal_of_another_member_is_the_second_person(world: World, is_shared: bool) -> None:
    active_policy(world)
    author = world.engineer if is_shared else world.manager
    proposal = proposals.propose(
        project=world.project, user=author, gates=with_threshold(world, 0.3), reason="Scans are hard."
    )
    proposals.accept(proposal=proposal, user=world.manager)
    assert (decision_obstacle(passing_report(world), world.manager) == "") is is_shared


def waived(world: World) -> Approval:
    report = create_report(eval_run=evaluated(world, outputs(2, spoil=0.05)), baseline=None, user=world.engineer)
    waiver = Waiver("Two weeks of shadowing first.", timezone.localdate() + timedelta(days=3))
    return decide(report=report, user=world.manager, decision="approved", reason="For a trial.", waiver=waiver)


def fresh(approval: Approval) -> GateReport:
    return GateReport.objects.get(pk=approval.report_id)


def test_an_approval_with_a_waiver_counts_when_another_person_confirmed_it(world: World) -> None:
    approval = waived(world)
    assert void_reasons(approval) == [UNCONFIRMED]
    assert decision_status(fresh(approval)) == ("queued", "waiver not confirmed")
    for user in (world.annotator, world.engineer):
        with pytest.raises(Forbidden):
            confirm_waivers(report=fresh(approval), user=user)
    with pytest.raises(Refused) as refusal:
        confirm_waivers(report=fresh(approval), user=world.manager)
    assert refusal.value.code == "own_involvement"
    confirm_waivers(report=fresh(approval), user=world.owner)
    assert void_reasons(approval) == []
    with pytest.raises(Refused) as refusal:
        confirm_waivers(report=fresh(approval), user=world.owner)
    assert refusal.value.code == "not_waived"


def test_without_four_eyes_a_waiver_needs_no_second_person(world: World) -> None:
    type(world.project).objects.update(four_eyes=False)
    world.project.refresh_from_db()
    assert void_reasons(waived(world)) == []


def test_the_page_offers_the_confirmation_to_the_second_person(world: World, client: Client) -> None:
    approval = waived(world)
    address = approval.report.get_absolute_url()
    for user, is_offered in ((world.manager, False), (world.engineer, False), (world.owner, True)):
        client.force_login(user)
        page = client.get(address)
        assert page.context["may_confirm"] is is_offered
        assert "The approval is void." not in page.content.decode()
    assert client.post(f"{address}confirm/").headers["Location"] == address
    assert client.get(address).context["confirmed"].user == world.owner
    assert decision_status(fresh(approval)) == ("approved", "approved with a waiver")
    assert client.post(f"{address}confirm/").status_code == 422
