"""Thresholds do not move with the contract once a model was judged by them, and contract changes have a name."""

from typing import Any

from django.contrib.auth.models import User

from evaluation.gates.policy import proposals
from evaluation.gates.policy.services import current_policy, gates_of, set_policy
from evaluation.gates.services import create_report
from evaluation.models import AuditEntry, GatePolicy, GateReport, PolicyProposal
from labeling.models import Contract
from labeling.projects.services import save_contract
from slmstudio.contract.json_text import dumps, loads
from tests.evaluation.factories import World, evaluated, pretend
from tests.shared_rows import shared_fixture


def latency(policy: Any) -> float:
    return next(gate.threshold for gate in gates_of(policy) if gate.key == "latency")


def change(world: World, milliseconds: int, user: User | None = None, **more: Any) -> None:
    contract = Contract.objects.get(project=world.project)
    save_contract(
        project=world.project,
        user=user or world.engineer,
        instruction=more.get("instruction", contract.instruction),
        schema_text=more.get("schema_text", world.project.schema_version.schema_text),
        constraints={**contract.constraints, "latency_p95_ms": milliseconds},
    )


@shared_fixture
def report(world: World) -> GateReport:
    change(world, 1000)
    return create_report(eval_run=evaluated(world, pretend(2, spoil=0.05)), baseline=None, user=world.engineer)


def test_before_the_first_use_the_policy_follows_the_contract(world: World) -> None:
    change(world, 1000)
    assert latency(current_policy(project=world.project)) == 1000
    change(world, 900)
    assert latency(current_policy(project=world.project)) == 900
    assert not PolicyProposal.objects.exists()
    entry = AuditEntry.objects.filter(about="gate policy").latest("pk")
    assert (entry.user, entry.details["after"]) == (None, current_policy(project=world.project).gates)


def test_a_policy_used_before_authors_were_stored_is_frozen(world: World, report: GateReport) -> None:
    GatePolicy.objects.update(created_by=None)
    change(world, 60_000)
    assert latency(current_policy(project=world.project)) == 1000


def test_a_change_of_the_contract_keeps_what_its_author_proposed(world: World, report: GateReport) -> None:
    gates = gates_of(report.policy).to_json()
    for gate in gates["gates"]:
        if gate["key"] == "schema-valid":
            gate.update(threshold=0.9, title="")
    proposals.propose(project=world.project, user=world.engineer, gates=gates, reason="Poor scans.")
    change(world, 60_000)
    [proposal] = proposals.open_proposals(project=world.project, policy=current_policy(project=world.project))
    thresholds = {gate.key: gate.threshold for gate in proposal.wanted}
    assert (thresholds["schema-valid"], thresholds["latency"]) == (0.9, 60_000)


def test_the_first_use_fixes_the_policy_and_names_an_author(world: World, report: GateReport) -> None:
    policy = GatePolicy.objects.get(pk=report.policy_id)
    assert policy.created_by == world.engineer
    entry = AuditEntry.objects.get(action="fixed", about="gate policy")
    assert (entry.user, entry.details["sha256"]) == (world.engineer, policy.sha256)
    change(world, 60_000)
    assert proposals.open_proposals(project=world.project, policy=policy)
    change(world, 1000)
    assert not proposals.open_proposals(project=world.project, policy=policy), "the change was reverted"


def test_a_change_of_the_contract_then_is_a_proposal(world: World, report: GateReport) -> None:
    change(world, 60_000)
    policy = current_policy(project=world.project)
    assert (policy.pk, latency(policy)) == (report.policy_id, 1000)
    [opened] = proposals.open_proposals(project=world.project, policy=policy)
    assert opened.proposal.created_by == world.engineer
    assert next(gate.threshold for gate in opened.wanted if gate.key == "latency") == 60_000
    change(world, 50_000)
    change(world, 40_000, instruction="Read it well.")
    [opened] = proposals.open_proposals(project=world.project, policy=policy)
    assert next(gate.threshold for gate in opened.wanted if gate.key == "latency") == 40_000
    taken = proposals.accept(proposal=opened.proposal, user=world.manager)
    assert (latency(taken), taken.created_by) == (40_000, world.manager)


def test_a_policy_set_by_a_manager_gets_a_proposal(world: World) -> None:
    change(world, 1000)
    gates = gates_of(current_policy(project=world.project)).to_json()
    gates["only_look"] = True
    mine = set_policy(project=world.project, user=world.manager, gates=gates)
    change(world, 60_000)
    assert current_policy(project=world.project).pk == mine.pk
    assert PolicyProposal.objects.get().created_by == world.engineer


def test_every_change_of_a_contract_is_in_the_audit_log(world: World) -> None:
    before = Contract.objects.get(project=world.project)
    schema = loads(world.project.schema_version.schema_text)
    schema["title"] = "Another one"
    change(world, 123, instruction="Read it well.", schema_text=dumps(schema))
    entry = AuditEntry.objects.get(about="contract")
    assert entry.user == world.engineer
    assert entry.details["instruction"] == {"before": before.instruction, "after": "Read it well."}
    assert entry.details["constraints"]["after"]["latency_p95_ms"] == 123
    assert entry.details["schema_number"] == {"before": 1, "after": 2}
    change(world, 123, instruction="Read it well.", schema_text=dumps(schema))
    assert AuditEntry.objects.filter(about="contract").count() == 1
