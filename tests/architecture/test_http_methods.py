"""GET of a POST-only URL redirects to a page; programs get a plain 405."""

from typing import Any

import pytest
from django.test import Client
from django.urls import resolve, reverse

from labeling.models import Document, Project
from tests.architecture.test_permissions import all_addresses
from tests.architecture.test_permissions import people as people

BROWSER = {"accept": "text/html,application/xhtml+xml", "sec-fetch-dest": "document"}
BELONGS = {
    "review_reject": "review_document",
    "member_add": "settings",
    "webhook_test": "webhook",
    "label_next": "label",
    "label_save": "label_document",
    "schema_migration_plan": "contract",
    "schema_draft": "contract",
    "import_cancel": "import_run",
    "study_cancel": "study",
    "training_runs_change": "training",
    "token_revoke": "tokens",
    "gate_withdraw": "gate_report",
}


@pytest.fixture
def owner(people: dict[str, Any]) -> Client:
    client = Client()
    client.force_login(people["owner"])
    return client


def only_forms(client: Client) -> list[str]:
    return [address for address in all_addresses() if client.get(address).status_code == 405]


def landing(client: Client, address: str, forms: list[str]) -> tuple[str, str, Any]:
    """The page that an address belongs to, where a browser ends up, and the answer there: a page may lead on."""
    first = ""
    for _ in range(6):
        answer = client.get(address, headers=BROWSER)
        if answer.status_code != 302:
            return first, address, answer
        address = answer["Location"].partition("?")[0]
        first = first or (address if address not in forms else "")
    raise AssertionError(f"no end of redirects at {address}")


@pytest.mark.slow
def test_get_of_post_only_urls_redirects(owner: Client) -> None:
    forms = only_forms(owner)
    assert len(forms) > 60, forms
    seen = {}
    for address in forms:
        first, place, answer = landing(owner, address, forms)
        # The walk knows no document, run or report 1: their page is there and says that they are not.
        about_one = "/1/" in place
        assert answer.status_code in ((200, 404) if about_one else (200,)), (address, place, answer.status_code)
        assert "text/html" in answer["Content-Type"], (address, place)
        seen[resolve(address).url_name] = resolve(first).url_name
    assert {name: seen.get(name) for name in BELONGS} == BELONGS


def test_next_document_url_opens_by_get(owner: Client) -> None:
    project = Project.objects.get(slug="guarded")
    document = Document.objects.create(project=project, external_id="a", text="Invoice A", sha256="0" * 64)
    _, place, answer = landing(owner, reverse("label_next", args=[project.slug]), [])
    assert (place, answer.status_code) == (reverse("label_document", args=[project.slug, document.pk]), 200)


@pytest.mark.parametrize(
    "headers",
    [{}, {"accept": "*/*"}, {**BROWSER, "hx-request": "true"}, {**BROWSER, "sec-fetch-dest": "empty"}],
)
def test_scripts_get_a_plain_405(owner: Client, headers: dict[str, str]) -> None:
    answer = owner.get(reverse("member_add", args=["guarded"]), headers=headers)
    assert (answer.status_code, answer.content, answer["Allow"]) == (405, b"", "POST")
    rest = owner.get(f"/api/v1/projects/{Project.objects.get(slug='guarded').slug}/queue/next", headers=headers)
    assert (rest.status_code, rest["Content-Type"]) == (405, "application/problem+json")


def test_405_is_a_page_in_browsers(owner: Client) -> None:
    answer = owner.post(reverse("workers"), headers=BROWSER)
    assert answer.status_code == 405
    assert "GET" in answer["Allow"]
    assert b"Nothing was changed" in answer.content
