"""A project's settings: members, how work is done, webhooks; and everybody's own tokens."""

import re
from typing import Any

import pytest
from django.test import Client

from evaluation.models import AuditEntry
from labeling.integrations import deliveries, tokens, webhooks
from labeling.models import ApiToken, Document, Membership, Webhook, WebhookDelivery
from labeling.projects import members
from slmstudio.access import Role
from slmstudio.errors import Refused
from tests.labeling.desk import Desk, bring_in, browser, invoice, person


@pytest.fixture(autouse=True)
def _local_webhooks(settings: Any) -> None:
    settings.OUTBOUND_ALLOW = ["127.0.0.1"]


def follow(client: Client, address: str, **data: Any) -> str:
    """What the page says after a form was sent and its redirect followed."""
    answer = client.post(address, data, follow=True)
    assert answer.redirect_chain, (answer.status_code, answer.content.decode()[-3000:])
    assert answer.status_code == 200
    return answer.content.decode()


def member(desk: Desk, role: str) -> Membership:
    return Membership.objects.get(project=desk.project, user=desk.people[role])


# -- members -----------------------------------------------------------------------------------------------------------


def test_owner_adds_changes_and_removes_members(desk: Desk) -> None:
    client, newcomer = desk.as_("owner"), person("newcomer")
    page = follow(client, desk.url("settings/members/add/"), username="newcomer", role="reviewer")
    assert "newcomer was added as reviewer." in page
    row = Membership.objects.get(project=desk.project, user=newcomer)
    assert "newcomer now has the role engineer." in follow(
        client, desk.url(f"settings/members/{row.pk}/"), role="engineer"
    )
    row.refresh_from_db()
    assert row.role == Role.ENGINEER
    assert "was removed from the project" in follow(client, desk.url(f"settings/members/{row.pk}/remove/"))
    assert not Membership.objects.filter(pk=row.pk).exists()
    answer = browser(newcomer).get(desk.url())
    assert (answer.status_code, answer.context["sections"]) == (404, [])


def test_removed_member_loses_tokens_and_locks(desk: Desk) -> None:
    bring_in(desk.project, [invoice(1, gold=False)])
    annotator = desk.people["annotator"]
    Document.objects.update(locked_by=annotator, assigned_to=annotator)
    token, text = tokens.create(project=desk.project, user=annotator, name="x", scopes=["read"], days=None)
    members.remove(membership=member(desk, "annotator"), by=desk.people["owner"])
    token.refresh_from_db()
    assert token.revoked_at is not None
    assert tokens.authenticate(text) is None
    document = Document.objects.get()
    assert (document.locked_by, document.assigned_to) == (None, None)


def test_invalid_member_is_refused(desk: Desk) -> None:
    person("outside")
    client, before = desk.as_("owner"), Membership.objects.count()
    for name, role, message in (
        ("nobody-here", "annotator", "No user has this name"),
        ("desk-manager", "annotator", "already a member of this project"),
        ("outside", "emperor", "not one of the available choices"),
        ("a\x00b", "annotator", "Null characters"),
    ):
        answer = client.post(desk.url("settings/members/add/"), {"username": name, "role": role})
        assert answer.status_code == 422
        assert message in answer.content.decode()
    assert Membership.objects.count() == before


def test_last_owner_cannot_leave(desk: Desk) -> None:
    client, owner = desk.as_("owner"), member(desk, "owner")
    for address, sent in [("", {"role": "manager"}), ("remove/", {})]:
        answer = client.post(desk.url(f"settings/members/{owner.pk}/{address}"), sent)
        assert answer.status_code == 422
        assert "is the only owner" in answer.content.decode()
    assert member(desk, "owner").role == Role.OWNER
    members.change_role(membership=member(desk, "manager"), by=desk.people["owner"], role=Role.OWNER)
    assert "You left Desk." in follow(client, desk.url(f"settings/members/{owner.pk}/remove/"))
    assert client.get(desk.url("settings/")).status_code == 404


def test_ended_membership_is_refused(desk: Desk) -> None:
    row = member(desk, "annotator")
    Membership.objects.filter(pk=row.pk).delete()
    with pytest.raises(Refused, check=lambda refusal: refusal.code == "ended"):
        members.remove(membership=row, by=desk.people["owner"])


# -- how work is done --------------------------------------------------------------------------------------------------

WORK = {
    "review_required": "on",
    "overlap_share": "12.5",
    "overlap_people": "3",
    "withheld_share": "10",
    "confidence_floor": "92.5",
    "extra_tags": "Two columns, stamp, stamp, ocr_noise",
}


def test_workflow_settings_are_saved(desk: Desk) -> None:
    page = follow(desk.as_("owner"), desk.url("settings/"), **WORK)
    project = desk.project
    project.refresh_from_db()
    assert (project.review_required, project.four_eyes) == (True, False)
    assert (project.overlap_share, project.overlap_people) == (0.125, 3)
    assert (project.withheld_share, project.confidence_floor) == (0.1, 0.925)
    assert project.extra_tags == ["two_columns", "stamp"]  # the vocabulary has the other one already
    for shown in ('value="12.5"', 'value="92.5"', 'value="two_columns, stamp"'):
        assert shown in page


def test_invalid_setting_changes_nothing(desk: Desk) -> None:
    client = desk.as_("owner")
    for name, value, message in (
        ("overlap_share", "101", "less than or equal to 100"),
        ("confidence_floor", "NaN", "Enter a number"),
        ("overlap_people", "400", "less than or equal to 10"),
        ("extra_tags", "x" * 41, "up to 40 printable characters"),
        ("extra_tags", ",".join(f"t{n}" for n in range(51)), "at most 50"),
        ("extra_tags", "a\u202eb", "printable"),
    ):
        answer = client.post(desk.url("settings/"), {**WORK, name: value})
        assert answer.status_code == 422
        assert message in answer.content.decode()
    desk.project.refresh_from_db()
    assert desk.project.review_required is False


# -- tokens ------------------------------------------------------------------------------------------------------------


def made_token(client: Client, desk: Desk, **more: Any) -> str:
    answer = client.post(desk.url("tokens/"), {"name": "nightly import", "scopes": ["read"], "days": "30", **more})
    assert answer.status_code == 200, answer.content.decode()
    shown = re.search(r'value="(slm_[^"]+)"', answer.content.decode())
    assert shown
    assert "no-store" in answer["Cache-Control"]
    return shown[1]


def test_token_is_shown_once_and_stored_as_hash(desk: Desk) -> None:
    client = desk.as_("annotator")
    text = made_token(client, desk)
    page = client.get(desk.url("tokens/")).content.decode()
    assert text not in page
    assert text[:12] in page
    assert not any(text in str(value) for value in ApiToken.objects.values().get().values())
    token = tokens.authenticate(text)
    assert token is not None
    assert token.user == desk.people["annotator"]


def test_invalid_token_is_refused(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    client = desk.as_("annotator")

    def refused(**sent: Any) -> str:
        answer = client.post(desk.url("tokens/"), {"name": "a", "scopes": ["read"], "days": "", **sent})
        assert answer.status_code == 422
        return answer.content.decode()

    assert "required" in refused(name="")
    assert "at least one scope" in refused(scopes=[])
    assert "not one of the available" in refused(scopes=["webhooks"])
    assert "less than or equal to" in refused(days="99999999")
    assert not ApiToken.objects.exists()
    monkeypatch.setattr(tokens, "MAX_TOKENS", 1)
    tokens.create(project=desk.project, user=desk.people["annotator"], name="first", scopes=["read"], days=None)
    assert "Revoke one first" in refused()


def test_members_revoke_own_tokens_owners_all(desk: Desk) -> None:
    first, _ = tokens.create(project=desk.project, user=desk.people["annotator"], name="a", scopes=["read"], days=None)
    second, _ = tokens.create(project=desk.project, user=desk.people["annotator"], name="b", scopes=["read"], days=None)
    assert desk.as_("reviewer").post(desk.url(f"tokens/{first.pk}/revoke/")).status_code == 404
    for page in (desk.as_("annotator").get(desk.url("tokens/")), desk.as_("owner").get(desk.url("settings/"))):
        assert 'hx-confirm="Revoke a? Programs that use it will be rejected at once.' in page.content.decode()
    assert "was revoked" in follow(desk.as_("annotator"), desk.url(f"tokens/{first.pk}/revoke/"))
    answer = desk.as_("owner").post(desk.url(f"tokens/{second.pk}/revoke/"), {"back": "settings"})
    assert answer["Location"] == desk.url("settings/")
    assert not tokens.active_tokens(desk.project).exists()


# -- webhooks ----------------------------------------------------------------------------------------------------------

HOOK: dict[str, Any] = {"url": "http://127.0.0.1:9/hook", "events": ["document.submitted"], "active": "on"}


def hook_of(desk: Desk) -> Webhook:
    return webhooks.create(
        project=desk.project, user=desk.people["owner"], url=HOOK["url"], events=["document.submitted"]
    )


def test_a_webhook_is_added_changed_and_removed(desk: Desk, queues: None) -> None:
    client = desk.as_("owner")
    page = follow(client, desk.url("settings/webhooks/add/"), **HOOK)
    hook = Webhook.objects.get()
    assert deliveries.secret_of(hook) in page
    assert "Saved." in follow(
        client, desk.url(f"settings/webhooks/{hook.pk}/"), url=HOOK["url"], events=["dataset.frozen"]
    )
    hook.refresh_from_db()
    assert (hook.events, hook.active) == (["dataset.frozen"], False)
    before = deliveries.secret_of(hook)
    page = follow(client, desk.url(f"settings/webhooks/{hook.pk}/secret/"))
    assert before not in page
    assert deliveries.secret_of(Webhook.objects.get()) in page
    follow(client, desk.url(f"settings/webhooks/{hook.pk}/remove/"))
    assert not Webhook.objects.exists()


def test_invalid_webhook_is_refused(desk: Desk) -> None:
    client = desk.as_("owner")
    cases: list[tuple[dict[str, Any], str]] = [
        ({"url": "http://10.0.0.1/"}, "internal address"),
        ({"events": []}, "at least one event"),
        ({"events": ["document.eaten"]}, "not one of the available"),
    ]
    for sent, message in cases:
        answer = client.post(desk.url("settings/webhooks/add/"), {**HOOK, **sent})
        assert answer.status_code == 422
        assert message in answer.content.decode()
    assert not Webhook.objects.exists()


def test_log_shows_and_redelivers(desk: Desk, queues: None) -> None:
    client, hook = desk.as_("owner"), hook_of(desk)
    address = desk.url(f"settings/webhooks/{hook.pk}/")
    assert "No deliveries yet" in client.get(address).content.decode()
    page = follow(client, f"{address}test/")
    assert "Queued" in page
    assert 'hx-trigger="every 2s"' in page  # while something waits
    delivery = WebhookDelivery.objects.get()
    assert "still in progress" in follow(client, f"{address}log/{delivery.pk}/again/")
    WebhookDelivery.objects.update(status="given_up", attempts=7, error="It answered 500 where a 2xx is needed.")
    page = client.get(address).content.decode()
    assert "failed" in page
    assert "It answered 500" in page
    assert "every 2s" not in page
    follow(client, f"{address}log/{delivery.pk}/again/")
    delivery.refresh_from_db()
    assert (delivery.status, delivery.attempts) == ("waiting", 0)


# -- tokens and accounts ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["password", "switched off"])
def test_password_change_and_deactivation_revoke_tokens(desk: Desk, how: str) -> None:
    person = desk.people["engineer"]
    _, text = tokens.create(project=desk.project, user=person, name="a", scopes=["read"], days=None)
    _, other = tokens.create(project=desk.project, user=desk.people["owner"], name="b", scopes=["read"], days=None)
    assert tokens.authenticate(text) is not None
    if how == "password":
        person.set_password("another one 17")
    else:
        person.is_active = False
    person.save()
    person.is_active = True  # to switch an account on again brings no token back
    person.save()
    assert tokens.authenticate(text) is None
    assert tokens.authenticate(other) is not None
    assert AuditEntry.objects.filter(action="revoked", user=None).count() == 1


def test_password_rehash_keeps_tokens(desk: Desk, settings: Any) -> None:
    person = desk.people["engineer"]
    person.set_password("swordfish 17")
    person.save()
    _, text = tokens.create(project=desk.project, user=person, name="a", scopes=["read"], days=None)
    settings.PASSWORD_HASHERS = [
        "django.contrib.auth.hashers.PBKDF2PasswordHasher",
        "django.contrib.auth.hashers.MD5PasswordHasher",
    ]
    before = person.password
    assert person.check_password("swordfish 17")
    assert person.password != before
    assert tokens.authenticate(text) is not None
