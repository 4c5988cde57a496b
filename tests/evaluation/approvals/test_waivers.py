"""Waivers of gates that do not pass: whose they are, why, and until when."""

from datetime import date, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from evaluation.approvals.decisions import decide, void_reasons
from evaluation.approvals.forms import DecisionForm
from evaluation.approvals.waivers import Waiver, open_gates, waivers_of
from evaluation.models import Approval, GateReport
from slmstudio.errors import Refused
from tests.evaluation.factories import World, confirmed


def tomorrow(days: int = 1) -> date:
    return timezone.localdate() + timedelta(days=days)


def approve(report: GateReport, user: User, waiver: Any) -> Approval:
    return decide(report=report, user=user, decision="approved", reason="Good enough for a trial.", waiver=waiver)


def test_each_gate_may_have_a_waiver_of_its_own(world: World, report: GateReport) -> None:
    keys = [gate["key"] for gate in open_gates(report)]
    given = {key: Waiver(f"why {key}", tomorrow(place + 1), "erik") for place, key in enumerate(keys)}
    approval = approve(report, world.manager, given)
    assert [(waiver.gate, waiver.reason, waiver.owner, waiver.days_left) for waiver in waivers_of(approval)] == [
        (key, f"why {key}", "erik", place + 1) for place, key in enumerate(keys)
    ]


def test_a_missing_past_or_strangers_waiver_is_refused(world: World, report: GateReport) -> None:
    first, *others = open_gates(report)
    with pytest.raises(Refused, match="Enter a reason for the waiver") as refusal:
        approve(report, world.manager, {first["key"]: Waiver("why", tomorrow())})
    assert others[0]["title"] in refusal.value.message
    given = {gate["key"]: Waiver("why", tomorrow()) for gate in others}
    with pytest.raises(Refused) as refusal:
        approve(report, world.manager, {**given, first["key"]: Waiver("why", tomorrow(-1))})
    assert refusal.value.field == f"expires:{first['key']}"
    with pytest.raises(Refused, match="paul is not a member") as refusal:
        approve(report, world.manager, Waiver("why", tomorrow(), "paul"))
    assert refusal.value.field == "waiver_owner"


def test_a_waiver_that_ends_voids_the_approval(
    world: World, report: GateReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    approval = confirmed(approve(report, world.manager, Waiver("why", tomorrow())))
    today, last = timezone.localdate(), tomorrow()
    assert all(waiver.expires_soon for waiver in waivers_of(approval))
    monkeypatch.setattr("evaluation.approvals.waivers.timezone.localdate", lambda: today + timedelta(days=1))
    assert void_reasons(approval) == [], "the last day still counts"
    monkeypatch.setattr("evaluation.approvals.waivers.timezone.localdate", lambda: today + timedelta(days=2))
    [reason] = void_reasons(approval)
    assert reason.startswith("The waivers of “")
    assert reason.endswith(f" expired on {last.isoformat()}.")


def test_a_waiver_of_an_earlier_version_still_counts(world: World, report: GateReport) -> None:
    approval = approve(report, world.manager, Waiver("why", tomorrow()))
    key = open_gates(report)[0]["key"]
    approval.waiver = {"gates": [key], "reason": "why", "owner": "mona", "expires": "2020-01-01"}
    [waiver] = waivers_of(approval)
    assert (waiver.title, waiver.owner, waiver.has_expired) == (open_gates(report)[0]["title"], "mona", True)


# -- as it is sent ----------------------------------------------------------------------------------------------------


def sent(world: World, report: GateReport, **changes: str) -> DecisionForm:
    data = {
        "decision": "approved",
        "reason": "Enough for a trial.",
        "waiver_reason": "Shadow it first.",
        "waiver_owner": "erik",
        "waiver_expires": tomorrow(9).isoformat(),
        **changes,
    }
    return DecisionForm(data, report=report, user=world.manager)


def test_a_gate_of_its_own_takes_from_all_what_it_leaves_empty(world: World, report: GateReport) -> None:
    form = sent(world, report, reason_0="The scans are bad.", expires_0=tomorrow(2).isoformat())
    assert form.is_valid(), form.errors
    first, second, *_ = (gate["key"] for gate in open_gates(report))
    assert form.waivers()[first] == Waiver("The scans are bad.", tomorrow(2), "erik")
    assert form.waivers()[second] == Waiver("Shadow it first.", tomorrow(9), "erik")
    assert [own["filled"] for own in form.own_waivers()][:2] == [True, False]


def test_a_service_error_is_shown_at_its_field(world: World, report: GateReport) -> None:
    key = open_gates(report)[0]["key"]
    form = sent(world, report, expires_0=tomorrow(-1).isoformat())
    assert form.is_valid()
    form.add_service_error(f"expires:{key}", "It must end on a day to come.")
    assert "expires_0" in form.errors
    form = sent(world, report)
    assert form.is_valid()
    form.add_service_error(f"expires:{key}", "It must end on a day to come.")
    assert "waiver_expires" in form.errors
    form.add_service_error("decision", "Decided already.")
    form.add_service_error("nonsense", "Something else.")
    assert form.non_field_errors() == ["Something else."]


def test_a_stranger_owns_no_waiver(world: World, report: GateReport) -> None:
    for field, name in (("waiver_owner", "paul"), ("owner_0", "nobody")):
        form = sent(world, report, **{field: name})
        assert not form.is_valid()
        assert form.errors[field] == ["Select a member of this project."]
