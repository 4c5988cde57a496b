"""The policy's page: one more gate about some documents, one field or one class."""

from typing import Any

from django.test import Client
from pytest_django.asserts import assertContains

from evaluation.models import GatePolicy
from tests.evaluation.factories import World

POLICY = "/p/invoices/gates/policy/"
HTMX = {"HX-Request": "true"}


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


def test_an_invalid_gate_has_an_error_at_its_field(world: World, manager: Client) -> None:
    recall = {"metric": "recall", "threshold": "99"}
    for added, field in (
        ({"threshold": "99"}, "metric"),
        ({"metric": "recall"}, "threshold"),
        ({"metric": "recall", "threshold": "101"}, "threshold"),
        ({**recall, "value": "EUR"}, "value"),
        ({**recall, "slice": "metadata.supplier"}, "slice"),
        ({"metric": "schema_valid_rate", "threshold": "98"}, "metric"),
        ({**recall, "field": "nothing"}, "field"),
    ):
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
