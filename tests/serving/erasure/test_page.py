"""The page of erasures, and the REST interface."""

import time
from typing import Any

import pytest
from django.test import Client

from labeling.models import Document, Erasure
from slmstudio.accounts import step_up
from tests.evaluation.factories import World
from tests.labeling.api_client import api_of
from tests.serving.erasure.test_services import NAME


def document(world: World) -> Document:
    row: Document = Document.objects.create(project=world.project, external_id="one", text=NAME, sha256="b" * 64)
    return row


def test_an_owner_sees_the_places_and_erases(world: World, client: Client) -> None:
    document(world)
    client.force_login(world.owner)
    address = f"/p/{world.project.slug}/settings/erasure/"
    found = client.post(address, {"text": NAME}).context["found"]
    assert (found.counts, found.names) == ({"documents": 1}, ["one"])
    assert Document.objects.filter(external_id="one").exists()
    assert client.post(address, {"text": NAME, "erase": "1"}).status_code == 302
    assert not Document.objects.filter(external_id="one").exists()
    page = client.get(address)
    assert [report.created_by for report in page.context["reports"]] == [world.owner]
    answer = client.post(address, {"text": NAME, "erase": "1"})
    assert (answer.status_code, list(answer.context["form"].errors)) == (422, ["text"])


def test_erasing_needs_a_recent_sign_in(world: World, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    document(world)
    client.force_login(world.owner)
    monkeypatch.setattr(step_up, "time", type("Later", (), {"time": staticmethod(lambda: time.time() + 301)}))
    client.post(f"/p/{world.project.slug}/settings/erasure/", {"text": NAME, "erase": "1"})
    assert not Erasure.objects.exists()


def test_a_dataset_page_says_what_was_erased(world: World, client: Client) -> None:
    item = world.dataset.items.latest("pk")
    Document.objects.filter(pk=item.document_id).update(erased_at="2026-01-01T00:00Z")
    client.force_login(world.owner)
    page = client.get(f"/p/{world.project.slug}/datasets/{world.dataset.number}/")
    assert page.context["erased"] == 1


def test_rest_shows_and_erases(world: World) -> None:
    document(world)
    api: Any = api_of(world.project, world.owner, "erase")
    found = api("POST", "erasures", {"text": NAME, "dry_run": True})
    assert (found.json["id"], found.json["counts"]) == (None, {"documents": 1})
    erased = api("POST", "erasures", {"text": NAME})
    assert (erased.status, erased.json["created_by"]) == (200, world.owner.username)
    assert api.get("erasures").json["items"] == [erased.json]
    assert api("POST", "erasures", {"text": NAME}).json["code"] == "nothing"
