"""Gate reports over REST: verdicts for programs, and decisions with the rules of the page."""

from datetime import date, timedelta
from decimal import Decimal
from typing import Any
from xml.etree import ElementTree

from django.utils import timezone

from evaluation.gates.policy.services import current_policy, gates_of, set_policy
from evaluation.gates.services import create_report
from evaluation.models import Approval, EvalRun, GateReport
from labeling.models import Membership, Split
from slmstudio.access import Role
from tests.evaluation.factories import World, as_engineer, broken, evaluated, pretend, right
from tests.labeling.api_client import Api, api_of
from tests.shared_rows import shared_fixture


@shared_fixture
def api(world: World) -> Api:
    return api_of(world.project, world.engineer)


@shared_fixture
def manager(world: World) -> Api:
    return api_of(world.project, world.manager)


def only(world: World, key: str, **changes: Any) -> list[dict[str, Any]]:
    """The policy of the project is this gate."""
    gates = gates_of(current_policy(project=world.project)).to_json()["gates"]
    gates = [{**gate, **changes} for gate in gates if gate["key"] == key]
    set_policy(project=world.project, user=world.manager, gates=gates)
    return gates


def of_evaluation(api: Api, run: EvalRun, query: str = "", **body: Any) -> Any:
    return api.post(f"gate-reports{query}", {"evaluation": run.number, **body})


# -- reports -----------------------------------------------------------------------------------------------------------


def test_a_report_has_each_gate_and_one_verdict(world: World, api: Api) -> None:
    base, run = evaluated(world, pretend(1, spoil=0.4), tuned=False), evaluated(world, right)
    answer = of_evaluation(api, run)
    assert (answer.status, answer.json["verdict"], answer.json["code"]) == (200, "NOT PROVEN", 2)
    assert (answer.headers["SLM-Verdict"], answer.headers["SLM-Exit-Code"]) == ("NOT PROVEN", "2")
    assert (answer.json["report"], answer.json["baseline"], answer.json["state"]) == (1, base.number, "pending")
    gates = {gate["key"]: gate for gate in answer.json["gates"]}
    valid = gates["schema-valid"]
    assert (valid["value"], valid["operator"], valid["threshold"]) == (1, ">=", Decimal("0.99"))
    assert (valid["verdict"], valid["code"], valid["bound"]) == ("NOT PROVEN", 2, valid["low"])
    assert valid["bound"] < valid["threshold"]
    assert (valid["documents"], valid["count"]) == (12, 12)
    assert gates["latency"]["bound"] == gates["latency"]["high"]
    for gate in gates.values():
        if gate["verdict"] == "PASS":
            passes = (
                gate["bound"] >= gate["threshold"] if gate["operator"] == ">=" else gate["bound"] <= gate["threshold"]
            )
            assert passes, gate
    again = of_evaluation(api, run)
    assert (again.json["report"], GateReport.objects.count()) == (1, 1)
    assert api.get("gate-reports/1").json == again.json
    [listed] = api.get("gate-reports").json["items"]
    assert (listed["report"], listed["verdict"], listed["state"]) == (1, "NOT PROVEN", "pending")
    assert api.get("evaluations").json["items"][0]["reports"] == [1]


def test_a_report_as_a_junit_file(world: World, api: Api) -> None:
    run = evaluated(world, broken)
    answer = of_evaluation(api, run, "?format=junit")
    assert answer.headers["Content-Disposition"].startswith("attachment")
    assert (answer.headers["Content-Type"], answer.headers["SLM-Verdict"]) == ("application/xml; charset=utf-8", "FAIL")
    suite = ElementTree.fromstring(answer.raw)[0]
    verdicts = {row["gate"]["key"]: row["status"] for row in GateReport.objects.get().verdicts}
    statuses = {}
    for test in suite.iter("testcase"):
        failure = test.find("failure")
        statuses[test.attrib["classname"].rpartition(".")[2]] = "PASS" if failure is None else failure.attrib["type"]
    assert statuses == verdicts
    assert (suite.attrib["tests"], suite.attrib["failures"]) == (
        str(len(verdicts)), str(sum(verdict != "PASS" for verdict in verdicts.values()))
    )  # fmt: skip
    assert api.get("gate-reports/1?format=junit").raw == answer.raw
    assert api.get("gate-reports/1?format=xml").status == 422


def test_validation_is_checked_without_a_report(world: World, api: Api) -> None:
    base = evaluated(world, pretend(1, spoil=0.4), tuned=False, split=Split.VALIDATION)
    run = evaluated(world, right, split=Split.VALIDATION)
    answer = of_evaluation(api, run)
    assert (answer.status, answer.json["report"], answer.json["state"], answer.json["policy"]) == (200, None, "", 1)
    assert answer.json["baseline"] == base.number
    assert {gate["documents"] for gate in answer.json["gates"] if gate["metric"] == "schema_valid_rate"} == {1}
    assert not GateReport.objects.exists()
    strict = only(world, "schema-valid", threshold=0.01, title="")
    mine = of_evaluation(api, run, gates=strict)
    assert (mine.json["verdict"], mine.json["policy"], len(mine.json["gates"])) == ("PASS", None, 1)
    assert of_evaluation(api, run, "?format=junit").headers["SLM-Exit-Code"] == "0"
    assert of_evaluation(api, evaluated(world, right)).json["holdout_evaluation"] == 1, "checks spend nothing"


def test_a_baseline_is_chosen(world: World, api: Api) -> None:
    base, run = evaluated(world, right, tuned=False), evaluated(world, right)
    assert of_evaluation(api, run, baseline=base.number).json["baseline"] == base.number
    assert of_evaluation(api, run, baseline=None).json["baseline"] is None
    other = evaluated(world, right, split=Split.VALIDATION)
    for number, code in ((other.number, "not_finished"), (run.number, "same_evaluation")):
        refused = of_evaluation(api, run, baseline=number)
        assert refused.json["code"] == code
        assert [error["field"] for error in refused.json["errors"]] == ["baseline"]
    assert of_evaluation(api, run, baseline=9).status == 422


def test_what_cannot_be_tested_is_refused_with_a_code(world: World, api: Api) -> None:
    queued = api.post("evaluations", {"model": "run-1"}).json["number"]
    answer = api.post("gate-reports", {"evaluation": queued})
    assert (answer.status, answer.json["code"]) == (409, "not_finished")
    train = evaluated(world, right, split=Split.TRAIN)
    other = of_evaluation(api, train)
    assert (other.status, other.json["code"], other.json["errors"][0]["field"]) == (422, "not_holdout", "evaluation")
    run = evaluated(world, right)
    other = of_evaluation(api, run, gates=[])
    assert (other.status, other.json["code"], other.json["errors"][0]["field"]) == (422, "other_policy", "gates")
    assert of_evaluation(api, run, gates=[{"key": "x"}]).status == 422
    assert api.post("gate-reports", {"evaluation": 99}).status == 422
    assert not GateReport.objects.exists()


# -- decisions ---------------------------------------------------------------------------------------------------------


def tomorrow(days: int = 1) -> date:
    return timezone.localdate() + timedelta(days=days)


@shared_fixture
def report(world: World) -> GateReport:
    """A report of which not every gate passes."""
    return create_report(eval_run=evaluated(world, pretend(2, spoil=0.05)), baseline=None, user=world.engineer)


def waiver(**changes: Any) -> dict[str, Any]:
    return {"reason": "Two weeks of shadowing first.", "expires": tomorrow(7).isoformat(), **changes}


def decided(api: Api, **body: Any) -> Any:
    return api.post("gate-reports/1/decision", {"decision": "approved", "reason": "For a trial.", **body})


def test_an_approval_covers_each_gate_with_a_waiver(world: World, report: GateReport, manager: Api) -> None:
    open_gates = [row["gate"]["key"] for row in report.verdicts if row["status"] != "PASS"]
    own = waiver(gate=open_gates[0], owner="erik", reason="Erik labels more.")
    answer = decided(manager, waivers=[own, waiver()])
    assert (answer.status, answer.json["state"]) == (200, "unconfirmed")
    refused = manager.post("gate-reports/1/confirmation", {})
    assert (refused.status, refused.json["code"]) == (403, "own_involvement")
    Membership.objects.filter(user=world.annotator).update(role=Role.MANAGER)
    other = api_of(world.project, world.annotator)
    answer = other.post("gate-reports/1/confirmation", {})
    assert (answer.status, answer.json["state"]) == (200, "approved")
    again = other.post("gate-reports/1/confirmation", {})
    assert (again.status, again.json["code"]) == (409, "not_waived")
    decision = answer.json["decision"]
    assert (decision["decision"], decision["by"], decision["void"]) == ("approved", "mona", [])
    assert [row["gate"] for row in decision["waivers"]] == open_gates
    assert [row["owner"] for row in decision["waivers"]] == ["erik"] + ["mona"] * (len(open_gates) - 1)
    assert Approval.objects.get().manifest_sha256 == decision["manifest_sha256"]
    again = decided(manager, waivers=[waiver()])
    assert (again.status, again.json["code"]) == (409, "decided")


def test_a_wrong_decision_is_refused(world: World, report: GateReport, manager: Api) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({}, "waiver_reason"),
        ({"waivers": [waiver(expires=date(2020, 1, 1).isoformat())]}, "expires:"),
        ({"waivers": [waiver(owner="paul")]}, "owner:"),
        ({"waivers": [waiver(gate="no-such-gate")]}, "waivers"),
        ({"waivers": [waiver(expires="soon")]}, "waivers[0].expires"),
        ({"decision": "maybe"}, "decision"),
        ({"decision": "rejected", "reason": " "}, "reason"),
    ]
    for body, field in cases:
        answer = decided(manager, **body)
        assert answer.status == 422, answer.json
        assert answer.json["errors"][0]["field"].startswith(field), answer.json
    only(world, "schema-valid", threshold=0.5, title="")
    changed = decided(manager, waivers=[waiver()])
    assert (changed.status, changed.json["code"]) == (409, "changed")
    assert not Approval.objects.exists()
    rejected = decided(manager, decision="rejected")
    assert (rejected.status, rejected.json["state"]) == (200, "rejected")


def test_four_eyes(world: World, manager: Api) -> None:
    with as_engineer(world, world.manager) as author:
        run = evaluated(world, right, user=author)
    create_report(eval_run=run, baseline=None, user=world.engineer)
    answer = decided(manager, waivers=[waiver()])
    assert (answer.status, answer.json["code"]) == (403, "own_involvement")
    assert not Approval.objects.exists()


def test_an_approval_is_withdrawn_and_void(world: World, report: GateReport, manager: Api) -> None:
    refused = manager.post("gate-reports/1/withdrawal", {"reason": "A supplier fails."})
    assert (refused.status, refused.json["code"]) == (409, "not_approved")
    decided(manager, waivers=[waiver()])
    answer = manager.post("gate-reports/1/withdrawal", {"reason": "A supplier fails."})
    assert (answer.status, answer.json["state"]) == (200, "void")
    assert "A supplier fails." in answer.json["decision"]["void"][0]
    again = manager.post("gate-reports/1/withdrawal", {"reason": "Again."})
    assert (again.status, again.json["code"]) == (409, "withdrawn")
