"""Keys of the external model that callers keep using: registered, removed, and nothing of others is collected."""

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from evaluation.models import AuditEntry
from serving.captures import services
from serving.gateway.routes import _routes
from serving.models import CaptureKey, Deployment
from slmstudio.errors import Refused
from tests.evaluation.factories import World
from tests.serving.captures.test_services import captured
from tests.serving.captures.test_services import deployed as _deployed
from tests.serving.factories import confirmations

deployed = _deployed
KEY = "sk-proj-0123456789abcdef"


def test_a_key_is_registered_and_removed_on_the_page(world: World, deployed: Deployment) -> None:
    Deployment.objects.update(capture="own_key")
    client = Client()
    client.force_login(world.engineer)
    address = "/p/invoices/deploy/captured/keys/"
    assert client.post(address, {"key": KEY}).status_code == 302
    row = CaptureKey.objects.get()
    assert KEY not in (row.sha256, row.prefix)
    assert _routes()["invoices"].caller_keys == {services.key_sha256(world.project.pk, KEY)}
    assert row.sha256 != services.key_sha256(world.project.pk + 1, KEY)  # no project sees who else has its keys
    page = client.get("/p/invoices/deploy/captured/").content.decode()
    assert row.prefix in page
    assert KEY not in page
    refused = client.post(address, {"key": KEY})
    assert (refused.status_code, CaptureKey.objects.count()) == (422, 1)
    assert KEY not in refused.content.decode()
    [asked] = confirmations(client.get("/p/invoices/deploy/captured/"), f"{address}{row.pk}/remove/")
    assert asked == f"Remove {row.prefix}? Requests with this key will be rejected at once."
    assert client.post(f"{address}{row.pk}/remove/").status_code == 302
    assert _routes()["invoices"].caller_keys == frozenset()
    entries = AuditEntry.objects.filter(about__startswith="client key").order_by("pk")
    assert [entry.action for entry in entries] == ["registered", "removed"]
    assert {entry.user for entry in entries} == {world.engineer}
    # It may come back.
    assert client.post(address, {"key": KEY}).status_code == 302


def test_what_is_no_key(world: World, deployed: Deployment) -> None:
    for key in ("", "short", "slm_" + "a" * 40, "a" * 501, "sk with blanks 01234", "sk-\u00e9" * 9):
        with pytest.raises(Refused) as refused:
            services.register_key(project=world.project, user=world.engineer, key=key)
        assert refused.value.field == "key"


def test_requests_from_before_the_first_key_are_not_collected(world: World, deployed: Deployment) -> None:
    """Anyone with a key of the external model could write them."""
    now = timezone.now()
    captured(deployed, "POISON", token_id=None, created_at=now - timedelta(minutes=2))
    assert services.collect(project=world.project, user=world.engineer) == services.Collected()
    row = services.register_key(project=world.project, user=world.engineer, key=KEY)
    CaptureKey.objects.update(created_at=now - timedelta(minutes=1))
    captured(deployed, "Invoice A-1", token_id=None, created_at=now)
    services.remove_key(row=row, user=world.engineer)
    assert services.collect(project=world.project, user=world.engineer).documents == 1
    assert not world.project.documents.filter(text="POISON").exists()
