"""The regression suite: documents that no model may break again."""

from typing import Any

import pytest
from django.test import Client
from pytest_django.asserts import assertContains, assertNotContains

from evaluation.models import AuditEntry, Pin
from evaluation.regression_suite import services as regression_suite_services
from labeling.models import Document
from labeling.projects.services import create_project
from slmstudio.errors import Refused
from tests.evaluation.factories import World, broken, evaluated, pretend, right
from tests.shared_rows import shared_fixture

SUITE = "/p/invoices/evaluation/suite/"


@pytest.fixture(autouse=True)
def is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outputs on the hold-out are open; tests/evaluation/gates/test_disclosure.py has those that are not."""
    monkeypatch.setattr(regression_suite_services, "_is_open", lambda document: True)


@shared_fixture
def held_out(world: World) -> list[Document]:
    return list(Document.objects.filter(project=world.project, holdout=True).order_by("pk"))


@shared_fixture
def trained_on(world: World) -> Document:
    document: Document = Document.objects.filter(project=world.project, holdout=False).earliest("pk")
    return document


def pinned(world: World, *documents: Document, reason: str = "") -> None:
    for document in documents:
        regression_suite_services.pin(project=world.project, document=document, user=world.engineer, reason=reason)


# -- pinning -----------------------------------------------------------------------------------------------------------


def test_a_document_is_pinned_once_and_it_is_in_the_audit_log(world: World, held_out: list[Document]) -> None:
    first = regression_suite_services.pin(
        project=world.project, document=held_out[0], user=world.engineer, reason=" paid twice "
    )
    again = regression_suite_services.pin(project=world.project, document=held_out[0], user=world.manager)
    assert (first.pk, first.reason, again.created_by) == (again.pk, "paid twice", world.engineer)
    assert regression_suite_services.pinned_documents(world.project) == {held_out[0].pk}
    [entry] = AuditEntry.objects.filter(action="pinned")
    assert (entry.user, entry.about) == (world.engineer, f"document {held_out[0].external_id}")


def test_an_unpinned_document_stays_listed_and_can_be_pinned_again(world: World, held_out: list[Document]) -> None:
    pinned(world, held_out[0])
    assert regression_suite_services.unpin(
        project=world.project, document=held_out[0], user=world.manager, reason="gold was wrong"
    )
    assert not regression_suite_services.unpin(project=world.project, document=held_out[0], user=world.manager)
    assert regression_suite_services.pinned_documents(world.project) == set()
    pinned(world, held_out[0])
    assert Pin.objects.count() == 2
    assert [row.removed_by for row in regression_suite_services.unpinned(world.project)] == [world.manager]
    assert AuditEntry.objects.get(action="unpinned").details["reason"] == "gold was wrong"


def test_another_projects_document_and_a_novel_are_refused(world: World, held_out: list[Document]) -> None:
    other = create_project(owner=world.owner, name="Other", slug="other", template="invoice")
    with pytest.raises(Refused, match="another project"):
        regression_suite_services.pin(project=other, document=held_out[0], user=world.owner)
    with pytest.raises(Refused, match="at most 300"):
        regression_suite_services.pin(project=world.project, document=held_out[0], user=world.owner, reason="x" * 301)
    assert not Pin.objects.exists()


# -- how they did ------------------------------------------------------------------------------------------------------


def test_an_evaluation_has_them_right_breaks_them_or_does_not_check_them(
    world: World, held_out: list[Document], trained_on: Document
) -> None:
    def first_wrong(row: dict[str, Any]) -> dict[str, Any]:
        return broken(row) if row["id"] == held_out[0].external_id else right(row)

    run = evaluated(world, first_wrong)
    assert regression_suite_services.suite_result(run).words == ""
    pinned(world, held_out[0], held_out[1], trained_on)
    suite = regression_suite_services.suite_result(run)
    assert (suite.broken, suite.right, suite.unchecked) == ((held_out[0].pk,), (held_out[1].pk,), 1)
    assert suite.words == "1 of 2 pinned documents correct, 1 wrong; 1 more is not in this evaluation."


# -- its page ----------------------------------------------------------------------------------------------------------


def test_the_page_takes_the_same_queries_however_long_it_is(
    world: World, client: Client, held_out: list[Document], django_assert_max_num_queries: Any
) -> None:
    client.force_login(world.manager)
    for _ in range(3):
        evaluated(world, right)
    pinned(world, *held_out)
    with django_assert_max_num_queries(7):
        client.get(SUITE)


# -- the button --------------------------------------------------------------------------------------------------------


# -- the suite grows by what was fixed ---------------------------------------------------------------------------------

FIXED = f"{SUITE}pin-fixed/?runs=1,2"


def test_all_that_was_fixed_is_pinned_at_once(world: World, client: Client) -> None:
    evaluated(world, pretend(1, spoil=0.2), tuned=False)
    b = evaluated(world, right)
    client.force_login(world.engineer)
    address = "/p/invoices/evaluation/compare/?runs=1,2"
    fixed = client.get(address).context["result"]["fixed"]
    assert 1 < len(fixed) < 12, "the seed is chosen so"
    assertNotContains(client.get(address), "improved in B")
    assertContains(client.get(f"{address}&state=fixed"), f"Pin all {len(fixed)} improved in B")
    assertNotContains(client.get(f"{address}&state=fixed&field=vendor"), "improved in B")
    answer = client.post(FIXED, follow=True)
    assertContains(answer, f"{len(fixed)} documents pinned.")
    names = set(Pin.objects.values_list("document__external_id", "reason"))
    assert names == {(name, f"fixed in evaluation {b.number}") for name in fixed}
    assertContains(client.post(FIXED, follow=True), "0 documents pinned.")
    other = Document.objects.filter(project=world.project, holdout=True).exclude(external_id__in=fixed).earliest("pk")
    client.post(f"{SUITE}{other.pk}/pin/")
    assert regression_suite_services.pinned_documents(world.project) >= {other.pk}


def test_a_suite_of_everything_is_refused(world: World, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regression_suite_services, "MAX_PINS", 3)
    evaluated(world, broken, tuned=False)
    evaluated(world, right)
    client.force_login(world.manager)
    assertContains(client.post(FIXED), "Select 1 to 3 documents", status_code=422)
    assertContains(client.post(f"{SUITE}pin-fixed/?runs=2,1"), "0 are selected", status_code=422)
    assertContains(client.post(f"{SUITE}pin-fixed/"), "Select two evaluations", status_code=422)
    assert not Pin.objects.exists()
