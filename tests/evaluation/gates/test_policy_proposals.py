"""Proposals of a gate policy: what they change, who makes and who answers them, and what the pages say."""

from typing import Any

from django.test import Client
from pytest_django.asserts import assertContains, assertNotContains

from evaluation.gates.metrics.metric import COMPARED_WITH_BASE
from evaluation.gates.policy.changes import REPEATED_EVALUATION, SINGLE_EVALUATION, changes, rebased
from evaluation.gates.policy.definition import Gate, GateSet
from evaluation.gates.policy.services import current_policy, gates_of, set_policy
from evaluation.models import AuditEntry, GatePolicy, PolicyProposal
from tests.evaluation.factories import World

GATES, POLICY = "/p/invoices/gates/", "/p/invoices/gates/policy/"
HTMX = {"HX-Request": "true"}
VALID = Gate("valid", "schema_valid_rate", ">=", 0.99)
WRONG = Gate("wrong", "field_error_rate", "<=", 0.1)


# -- what differs -----------------------------------------------------------------------------------------------------


def test_equal_policies_differ_in_nothing_and_a_title_is_no_difference() -> None:
    titled = Gate("valid", "schema_valid_rate", ">=", 0.99, title="Nearly all are valid")
    assert changes(GateSet((VALID, WRONG)), GateSet((WRONG, titled))) == []


def test_changes_are_removed_changed_and_added_gates() -> None:
    stricter = Gate("valid", "schema_valid_rate", ">=", 0.995, confidence=0.99, slice="metadata.supplier=ACME")
    worse = Gate("worse", "no_regression", ">=", 0.02, compared_with=COMPARED_WITH_BASE)
    differences = changes(GateSet((VALID, WRONG)), GateSet((stricter, worse), single_evaluation=True))
    assert [(change.kind, change.before, change.after) for change in differences] == [
        ("removed", "At most 10% of fields are wrong", ""),
        (
            "changed",
            "At least 99% of outputs are schema-valid, at 95% confidence",
            "At least 99.5% of outputs are schema-valid, for supplier: ACME, at 99% confidence",
        ),
        ("added", "", "At most 2 points worse than the baseline, compared with the base model"),
        ("changed", REPEATED_EVALUATION, SINGLE_EVALUATION),
    ]


def test_concurrent_changes_are_kept() -> None:
    base, ours = (
        GateSet((VALID, WRONG)),
        GateSet((WRONG, Gate("fast", "p95_latency_ms", "<=", 900)), single_evaluation=True),
    )
    stricter = Gate("wrong", "field_error_rate", "<=", 0.05)
    small = Gate("small", "peak_memory_gb", "<=", 2)
    merged = rebased(GateSet((VALID, stricter, small)), base, ours)
    assert [gate.key for gate in merged] == ["wrong", "small", "fast"]
    assert (merged[0].threshold, merged.single_evaluation) == (0.05, True)
    assert rebased(base, base, ours) == ours


# -- the pages --------------------------------------------------------------------------------------------------------


def sent_by(client: Client, **changed: str) -> Any:
    """The policy's form as it is, with some of it changed."""
    form = {row["gate"].key: row["field"].value() for row in client.get(POLICY).context["form"].rows()}
    kept = {key: value for key, value in form.items() if value is not None}
    return client.post(POLICY, kept | changed, headers=HTMX)


def proposed(world: World, client: Client, valid: str = "97") -> PolicyProposal:
    client.force_login(world.engineer)
    reason = "Poor scans are\nnever valid."
    answer = sent_by(client, **{"schema-valid": valid, "proposal-reason": reason})
    assert (answer.status_code, answer["HX-Redirect"]) == (204, GATES)
    return PolicyProposal.objects.latest("number")


def test_an_engineer_proposes_and_a_manager_takes_it(world: World, client: Client) -> None:
    client.force_login(world.engineer)
    assertContains(client.get(GATES), f'href="{POLICY}"')
    assertContains(client.get(POLICY), 'name="proposal-reason"')
    made = proposed(world, client)
    assert GatePolicy.objects.count() == 1, "nothing changes before it is taken"
    page = client.get(GATES)
    assertContains(page, 'value="withdraw"')
    assertNotContains(page, 'value="take"')

    client.force_login(world.manager)
    page = client.get(GATES)
    assertContains(page, "erik proposes a change")
    assertContains(page, "<ins>At least 97% of outputs are schema-valid</ins>")
    assertContains(page, "<del>At least 99% of outputs are schema-valid</del>")
    assertContains(page, "Poor scans are<br>never valid.")
    assertContains(client.get("/p/invoices/"), f"{GATES}#proposal-1")

    answer = client.post(f"{POLICY}proposals/1/", {"do": "take", "answer": ""}, headers=HTMX)
    assert answer["HX-Redirect"] == GATES
    newest = current_policy(project=world.project)
    assert (newest.number, newest.created_by) == (2, world.manager)
    assert {gate.key: gate.threshold for gate in gates_of(newest)}["schema-valid"] == 0.97
    made.refresh_from_db()
    assert (made.state, made.answered_by) == ("taken", world.manager)
    page = client.get(GATES)
    assertNotContains(page, "proposes a change")
    assertContains(page, 'class="policy-versions"')
    assertContains(page, "<del>At least 99% of outputs are schema-valid</del>")
    told = AuditEntry.objects.filter(about="policy proposal 1").order_by("pk").values_list("action", "user__username")
    assert list(told) == [("proposed", "erik"), ("took", "mona")]


def test_to_decline_takes_a_reason_that_the_author_sees_and_leaves_the_policy(world: World, client: Client) -> None:
    made = proposed(world, client)
    client.force_login(world.manager)
    address = f"{POLICY}proposals/{made.number}/"
    answer = client.post(address, {"do": "decline", "answer": " "}, headers=HTMX)
    assertContains(answer, "Enter a reason", status_code=422)
    answer = client.post(address, {"do": "decline", "answer": "Mend the scanner."})
    assert answer["Location"] == GATES
    made.refresh_from_db()
    assert (made.state, made.answer) == ("declined", "Mend the scanner.")
    assert GatePolicy.objects.count() == 1
    assertContains(client.post(address, {"do": "take"}), "Proposal 1 was declined by", status_code=422)
    client.force_login(world.engineer)
    assertContains(client.get(GATES), ": Mend the scanner.")
    client.force_login(world.owner)
    assertNotContains(client.get(GATES), "Mend the scanner.")


def test_a_second_proposal_starts_from_the_open_one(world: World, client: Client) -> None:
    proposed(world, client, valid="97")
    page = client.get(POLICY)
    assertContains(page, "your open proposal 1")
    assertContains(page, "Poor scans are\nnever valid.</textarea>")
    answer = sent_by(client, **{"field-errors": "20", "proposal-reason": "Both."})
    assert answer["HX-Redirect"] == GATES
    newest = PolicyProposal.objects.latest("number")
    told = {gate["key"]: gate["threshold"] for gate in newest.gates["gates"]}
    assert (newest.number, told["schema-valid"], told["field-errors"]) == (2, 0.97, 0.2)
    log = AuditEntry.objects.filter(about="policy proposal 1").order_by("pk").values_list("action", flat=True)
    assert list(log) == ["proposed", "withdrew"]


def test_a_form_that_was_opened_before_another_policy_was_set_saves_nothing(world: World, client: Client) -> None:
    client.force_login(world.manager)
    form = {row["gate"].key: row["field"].value() for row in client.get(POLICY).context["form"].rows()}
    sent = {key: value for key, value in form.items() if value is not None} | {"seen": "1", "field-errors": "20"}
    set_policy(project=world.project, user=world.owner, gates=[VALID.to_json()])
    answer = client.post(POLICY, sent, headers=HTMX)
    assertContains(answer, "Policy 2 was set since you opened this page", status_code=422)
    assertContains(answer, 'name="seen" value="2"', status_code=422)
    assert GatePolicy.objects.count() == 2


def test_a_policy_that_was_set_meanwhile_is_kept(world: World, client: Client) -> None:
    proposed(world, client)
    client.force_login(world.manager)
    seen = client.get(GATES).context["policy"].number
    gates = gates_of(current_policy(project=world.project)).to_json()
    gates["gates"].append(Gate("small", "peak_memory_gb", "<=", 2).to_json())
    set_policy(project=world.project, user=world.owner, gates=gates)
    for number, status in ((seen, 422), (seen + 1, 204)):
        answer = client.post(f"{POLICY}proposals/1/", {"do": "take", "seen": number}, headers=HTMX)
        assert answer.status_code == status
    thresholds = {gate.key: gate.threshold for gate in gates_of(current_policy(project=world.project))}
    assert (thresholds["small"], thresholds["schema-valid"]) == (2, 0.97)


def test_only_the_author_withdraws_a_proposal_and_does_not_answer_it(world: World, client: Client) -> None:
    made = proposed(world, client)
    address = f"{POLICY}proposals/{made.number}/"
    client.force_login(world.manager)
    assertContains(client.post(address, {"do": "withdraw"}, headers=HTMX), "Only erik", status_code=422)
    assertContains(client.post(address, {"do": "burn"}), "is not one of the available choices", status_code=422)
    client.force_login(world.engineer)
    for answer in ("take", "decline"):
        assert client.post(address, {"do": answer, "answer": "so"}).status_code == 403
    assert client.post(address, {"do": "withdraw"}, headers=HTMX).status_code == 204
    made.refresh_from_db()
    assert made.state == "withdrawn"
