"""Who has which document open: what is on screen counts, not what a browser loaded ahead."""

import json
from typing import Any

from django.contrib.auth.models import User
from django.urls import reverse
from django.utils import timezone

from labeling.annotation import presence
from labeling.annotation import services as annotation_services
from labeling.models import Document, Membership, Presence
from labeling.projects import members
from tests.labeling.desk import browser
from tests.labeling.label_desk import Desk


def post(user: User, name: str, document: Document | None = None, body: Any = None) -> Any:
    address = reverse(name, args=["desk"] if document is None else ["desk", document.pk])
    return browser(user).post(address, json.dumps(body or {}), content_type="application/json")


def shows(user: User, document: Document, tab: str = "tab") -> str:
    """A tab of a person reports the document on its screen; the strip it gets."""
    return str(post(user, "label_presence", document, {"tab": tab}).text)


def test_users_on_one_document_see_each_other_until_a_tab_is_closed_or_silent(desk: Desk) -> None:
    document, overlapping = desk.document(), desk.document(overlap=2)
    assert "data-open-by" not in shows(desk.ana, document)
    assert f'data-open-by="{desk.ana.username}"' in shows(desk.ben, document)
    assert f'data-open-by="{desk.ben.username}"' in shows(desk.ana, document)
    assert post(desk.ana, "label_presence", document, {"tab": "tab", "leaving": True}).status_code == 204
    assert "data-open-by" not in shows(desk.ben, document)
    shows(desk.ana, document)
    Presence.objects.filter(user=desk.ana).update(seen_at=timezone.now() - presence.PRESENCE_DURATION)
    assert "data-open-by" not in shows(desk.ben, document)
    shows(desk.ana, overlapping)
    assert "data-open-by" not in shows(desk.ben, overlapping), "several people label it on purpose"


def test_prefetched_document_is_not_open(desk: Desk) -> None:
    first, second = desk.document("one"), desk.document("two")
    shows(desk.ana, first)
    assert post(desk.ana, "label_next", None, {"after": first.pk}).json()["id"] == second.pk
    strip = shows(desk.ben, second)
    assert "data-open-by" not in strip
    assert f"{desk.ana.username} has {first.external_id} open" in strip
    state = browser(desk.ben).get(reverse("label_state", args=["desk", second.pk])).json()
    assert state["held_by"] == ""
    shows(desk.ana, second)
    assert f'data-open-by="{desk.ana.username}"' in shows(desk.ben, second)


def test_tab_has_one_document(desk: Desk) -> None:
    first, second = desk.document("one"), desk.document("two")
    shows(desk.ana, first)
    shows(desk.ana, second)
    assert "data-open-by" not in shows(desk.ben, first)
    shows(desk.ana, first, tab="another")
    assert "data-open-by" in shows(desk.ben, first)


def test_api_user_is_present_by_lock(desk: Desk) -> None:
    document = desk.document()
    annotation_services.acquire_lock(document=document, user=desk.ana)
    state = browser(desk.ben).get(reverse("label_state", args=["desk", document.pk])).json()
    assert state["held_by"] == desk.ana.username


def test_malformed_report_and_removed_member(desk: Desk) -> None:
    document = desk.document()
    address = reverse("label_presence", args=["desk", document.pk])
    assert browser(desk.ana).post(address, "[", content_type="application/json").status_code == 400
    assert shows(desk.ana, document, tab="x" * 500)
    members.remove(membership=Membership.objects.get(project=desk.project, user=desk.ana), by=desk.owner)
    assert not Presence.objects.exists()
