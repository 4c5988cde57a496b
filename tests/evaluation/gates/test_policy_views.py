"""The policy's page: one more gate about some documents, one field or one class."""

from typing import Any

import pytest
from django.test import Client
from pytest_django.asserts import assertContains

from evaluation.gates.policy.services import set_policy
from evaluation.models import GatePolicy
from tests.evaluation.factories import World, broken, evaluated, right

POLICY = "/p/invoices/gates/policy/"
VALID = {"key": "valid", "metric": "schema_valid_rate", "operator": ">=", "threshold": 0.9}
HTMX = {"HX-Request": "true"}


@pytest.fixture
def manager(world: World, client: Client) -> Client:
    client.force_login(world.manager)
    return client


def send(client: Client, **added: str) -> Any:
    """The policy as it is, with one more gate."""
    form = {row["gate"].key: row["field"].value() for row in client.get(POLICY).context["form"].rows()}
    kept = {key: value for key, value in form.items() if value is not None}
    return client.post(POLICY, kept | {f"add-{name}": value for name, value in added.items()}, headers=HTMX)


def newest() -> list[dict[str, Any]]:
    gates: list[dict[str, Any]] = GatePolicy.objects.latest("number").gates["gates"]
    return gates


def test_a_gate_about_one_class_is_added(world: World, manager: Client) -> None:
    answer = send(manager, metric="recall", threshold="99", field="purchase_order", value="PO-1", slice="poor_scan")
    assert answer.status_code == 204
    added = newest()[-1]
    assert added["key"] == "recall-purchase-order-po-1-poor-scan"
    assert (added["threshold"], added["field"], added["value"], added["slice"]) == (
        0.99,
        "purchase_order",
        "PO-1",
        "poor_scan",
    )
    page = manager.get("/p/invoices/gates/")
    assertContains(page, "(purchase_order = PO-1)")
    assertContains(page, '<span class="tag">poor scan</span>')


def test_an_added_gate_is_edited_and_removed(world: World, manager: Client) -> None:
    send(manager, metric="field_error_rate", threshold="2", field="total_amount")
    assert [gate["key"] for gate in newest()].count("field-error-rate-total-amount") == 1
    form = {row["gate"].key: row["field"].value() for row in manager.get(POLICY).context["form"].rows()}
    assert form["field-error-rate-total-amount"] == "2"
    sent = {key: value for key, value in form.items() if value is not None}
    manager.post(POLICY, {**sent, "field-error-rate-total-amount": "3"}, headers=HTMX)
    assert newest()[-1]["threshold"] == 0.03
    manager.post(POLICY, {**sent, "field-error-rate-total-amount": ""}, headers=HTMX)
    assert "field-error-rate-total-amount" not in {gate["key"] for gate in newest()}


@pytest.mark.parametrize(
    ("added", "field"),
    [
        ({"threshold": "99"}, "metric"),
        ({"metric": "recall"}, "threshold"),
        ({"metric": "recall", "threshold": "101"}, "threshold"),
        ({"metric": "recall", "threshold": "99", "value": "EUR"}, "value"),
        ({"metric": "recall", "threshold": "99", "slice": "metadata.supplier"}, "slice"),
        ({"metric": "routing_decision_rate", "threshold": "99"}, "field"),
        ({"metric": "peak_memory_gb", "threshold": "9", "field": "date"}, "field"),
        ({"metric": "schema_valid_rate", "threshold": "98"}, "metric"),
        ({"metric": "recall", "threshold": "99", "field": "nothing"}, "field"),
    ],
)
def test_an_invalid_gate_has_an_error_at_its_field(
    world: World, manager: Client, added: dict[str, str], field: str
) -> None:
    answer = send(manager, **added)
    assert (answer.status_code, list(answer.context["form"].errors)) == (422, [f"add-{field}"])
    assert GatePolicy.objects.count() == 1


def test_a_policy_can_allow_a_single_evaluation(world: World, manager: Client) -> None:
    send(manager)
    form = {row["gate"].key: row["field"].value() for row in manager.get(POLICY).context["form"].rows()}
    sent = {key: value for key, value in form.items() if value is not None}
    manager.post(POLICY, {**sent, "only-look": "on"}, headers=HTMX)
    assert GatePolicy.objects.latest("number").gates["only_look"] is True
    assertContains(manager.get("/p/invoices/gates/"), "one hold-out evaluation")
    assertContains(manager.get(POLICY), 'id="id_only-look" checked>')
    manager.post(POLICY, sent, headers=HTMX)
    assert GatePolicy.objects.latest("number").gates["only_look"] is False


def test_the_page_takes_few_queries(world: World, manager: Client, django_assert_max_num_queries: Any) -> None:
    manager.get(POLICY)
    with django_assert_max_num_queries(13):
        manager.get(POLICY)


def test_the_form_shows_the_number_of_the_evaluation(world: World, manager: Client) -> None:
    evaluated(world, broken, tuned=False)
    evaluated(world, right)
    evaluated(world, right)
    page = manager.get("/p/invoices/gates/new/?eval_run=3")
    assertContains(page, "hold-out evaluation <strong>2</strong>, tested at 98.75%")
    assert manager.get("/p/invoices/gates/new/").context["holdout_number"] == 2
    assert "holdout_number" not in manager.get("/p/invoices/gates/new/?eval_run=x").context
    set_policy(project=world.project, user=world.manager, gates={"gates": [VALID], "only_look": True})
    assertContains(manager.get("/p/invoices/gates/new/?eval_run=2"), "tested at 95% confidence")
    assertContains(manager.get("/p/invoices/gates/new/?eval_run=3"), "so it cannot pass")
