"""Captured requests become documents with pre-labels or notes, never gold."""

import hashlib
import json
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from evaluation.models import Endpoint
from labeling.models import Comment, Document, Gold, Prediction
from serving.captures import queries, services
from serving.deployments import services as deployment_services
from serving.models import Deployment, RequestLog
from serving.retention.services import erase_expired
from tests.evaluation.factories import World
from tests.shared_rows import shared_fixture

VALID = '{"invoice_id": "A-1", "date": "2026-01-14", "vendor": "ACME", "total_amount": 12.50}'


@shared_fixture
def deployed(world: World) -> Deployment:
    """The external model that answers today, with capture."""
    endpoint = Endpoint.objects.create(project=world.project, name="Big", url="https://example.com/v1", model="big")
    return deployment_services.deploy_endpoint(
        project=world.project, user=world.owner, endpoint=endpoint, capture="token"
    )


def captured(deployment: Deployment, text: str, output: str = VALID, **changes: Any) -> RequestLog:
    """A forwarded request as the gateway logs it."""
    at = changes.pop("created_at", timezone.now())
    valid = deployment.project.schema_version.compiled.check(output)[1] == []
    exchange = {"system": "You read invoices.", "model": "big-2026-08", "request": {}, "message": {}}
    values: dict[str, Any] = {
        "id": uuid.uuid4(), "day": at.date(), "created_at": at, "project_id": deployment.project_id,
        "release": deployment.stable, "token_id": 7, "source": "stable", "protocol": "capture", "status": 200,
        "valid": valid,
        "key_sha256": hashlib.sha256(text.encode()).hexdigest(), "total_ms": 900.0, "model_ms": 800.0, "text": text,
        "output": output, "exchange": json.dumps(exchange), **changes,
    }  # fmt: skip
    return RequestLog.objects.create(**values)


def test_an_answer_that_matches_becomes_a_prelabel(world: World, deployed: Deployment) -> None:
    captured(deployed, "Invoice A-1", caller="customer-17")
    collected = services.collect(project=world.project, user=world.engineer)
    assert collected == services.Collected(documents=1, prelabels=1)
    document = Document.objects.get(text="Invoice A-1")
    prelabel = Prediction.objects.get(document=document)
    assert (prelabel.model, prelabel.valid, prelabel.value["invoice_id"]) == ("big-2026-08", True, "A-1")
    assert not Gold.objects.filter(document=document).exists()
    assert (document.state, document.holdout, document.source) == ("new", False, services.SOURCE)
    # Who asked stays in the log, where it can be erased.
    assert "customer-17" not in json.dumps(document.metadata, default=str)


def test_other_answers_become_notes(world: World, deployed: Deployment) -> None:
    outputs = ("I am sorry.", '{"other": 1}', "[1]")
    for number, output in enumerate(outputs):
        captured(deployed, f"Invoice A-{number}", output)
    collected = services.collect(project=world.project, user=world.engineer)
    assert (collected.prelabels, collected.notes) == (0, 3)
    for number, output in enumerate(outputs):
        note = Comment.objects.get(document__text=f"Invoice A-{number}")
        assert output in note.text
        assert note.user is None


def test_documents_are_stored_once(world: World, deployed: Deployment) -> None:
    now = timezone.now()
    captured(deployed, "Invoice A-1", created_at=now - timedelta(minutes=5))
    captured(deployed, "Invoice A-1", VALID.replace("A-1", "A-2"), created_at=now)
    assert services.collect(project=world.project, user=world.engineer).documents == 1
    assert Prediction.objects.get(document__text="Invoice A-1").value["invoice_id"] == "A-2"
    assert services.collect(project=world.project, user=world.engineer) == services.Collected()


def test_a_share_is_a_sample_and_a_larger_one_contains_it(world: World, deployed: Deployment) -> None:
    for number in range(60):
        captured(deployed, f"Invoice {number}")
    few = services.collect(project=world.project, user=world.engineer, share=0.3)
    before = set(Document.objects.filter(source=services.SOURCE).values_list("text", flat=True))
    more = services.collect(project=world.project, user=world.engineer, share=0.6, limit=3)
    assert 5 < few.documents < 35
    assert (more.documents, more.left > 0) == (3, True)
    assert before < set(Document.objects.filter(source=services.SOURCE).values_list("text", flat=True))


def test_conversations_tools_and_erased_texts_are_left_out(world: World, deployed: Deployment) -> None:
    captured(deployed, "?", valid=None)  # a conversation, or a call of a tool
    captured(deployed, "Invoice A-1", status=500)
    captured(deployed, "Invoice A-2", created_at=timezone.now() - timedelta(days=31))
    erase_expired()
    assert RequestLog.objects.get(created_at__lt=timezone.now() - timedelta(days=30)).exchange == ""
    assert services.collect(project=world.project, user=world.engineer) == services.Collected()


def test_holdout_documents_get_no_prelabel(world: World, deployed: Deployment) -> None:
    text = Document.objects.filter(project=world.project, holdout=True).first()
    assert text is not None
    captured(deployed, text.text)
    services.collect(project=world.project, user=world.engineer)
    assert not Prediction.objects.filter(document=text).exists()


def test_the_most_frequent_system_prompt_is_proposed_as_instruction(world: World, deployed: Deployment) -> None:
    for number in range(3):
        captured(deployed, f"Invoice {number}")
    captured(deployed, "Invoice 9", exchange=json.dumps({"system": "Other."}))
    first, second = queries.instructions(world.project)
    assert (first, second[1]) == (("You read invoices.", 3), 1)
    schema = world.project.schema_version
    services.use_instruction(project=world.project, user=world.engineer, instruction=first[0])
    world.project.contract.refresh_from_db()
    assert world.project.contract.instruction == "You read invoices."
    assert world.project.schema_version == schema
    assert [text for text, _ in queries.instructions(world.project)] == ["Other."]


def test_the_page_collects_and_shows_the_address(world: World, deployed: Deployment, settings: Any) -> None:
    settings.GATEWAY_URL = "http://gateway.test"
    captured(deployed, "Invoice A-1")
    client = Client()
    client.force_login(world.engineer)
    page = client.get("/p/invoices/deploy/captured/")
    assert page.context["url"] == "http://gateway.test/capture/invoices/v1"
    assert page.context["traffic"] == {"requests": 1, "documents": 1, "matching": 1, "failed": 0, "stored": 1}
    done = client.post("/p/invoices/deploy/captured/collect/", {"share": "100", "limit": "10"})
    assert (done.status_code, done.context["collected"].prelabels) == (200, 1)
    assert client.post("/p/invoices/deploy/captured/collect/", {"share": "0", "limit": "10"}).status_code == 422


def test_the_options_are_changed_on_the_page(world: World, deployed: Deployment) -> None:
    client = Client()
    client.force_login(world.engineer)
    answer = client.post("/p/invoices/deploy/captured/options/", {"capture": "own_key", "sticky": "on"})
    assert answer.status_code == 302
    changed = Deployment.objects.get()
    assert (changed.capture, changed.sticky, changed.revision) == ("own_key", True, deployed.revision + 1)


def test_the_command_starts_with_the_model_of_today(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    Endpoint.objects.create(project=world.project, name="Big", url="https://example.com/v1", model="big")
    call_command("deploy", project="invoices", endpoint="Big", user=world.owner.username)
    assert "/capture/invoices/v1" in capsys.readouterr().out
