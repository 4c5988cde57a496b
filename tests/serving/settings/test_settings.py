"""The settings of a deployment: the review sample, storage, addresses of alerts."""

from typing import Any

from django.test import Client

from evaluation.models import AuditEntry
from serving.models import AlertRecipients, Deployment, SamplePlan
from tests.evaluation.factories import World
from tests.serving.review.rows import deployed
from tests.shared_rows import shared_fixture

ADDRESS = "/p/invoices/deploy/settings/"
SAMPLE = {
    "share": "2.5", "redact": ["email", "iban"], "retention_days": "7", "retrain_labels": "200",
    "retrain_tag": "ocr_noise", "retrain_below": "90",
}  # fmt: skip


@shared_fixture
def deployment(world: World) -> Deployment:
    return deployed(world)


def client(user: Any) -> Client:
    signed_in = Client()
    signed_in.force_login(user)
    return signed_in


def test_the_sample_is_changed_by_those_who_deploy(world: World, deployment: Deployment) -> None:
    address = f"{ADDRESS}sample/"
    assert client(world.engineer).post(address, {**SAMPLE, "share": "200"}).status_code == 422
    assert not SamplePlan.objects.exists()
    assert client(world.engineer).post(address, SAMPLE).status_code == 302
    plan = SamplePlan.objects.get()
    assert (plan.share, plan.retrain_below, plan.redact) == (0.025, 0.9, ["email", "iban"])
    assert (plan.retrain_labels, plan.retrain_tag) == (200, "ocr_noise")
    revision = deployment.revision
    deployment.refresh_from_db()
    assert (deployment.retention_days, deployment.revision) == (7, revision + 1)
    assert AuditEntry.objects.filter(action="review sample changed").count() == 1
    form = client(world.engineer).get(ADDRESS).context["sample_form"]
    assert (form.initial["share"], form.initial["retention_days"]) == (2.5, 7)


def test_recipients_are_stored(world: World, deployment: Deployment) -> None:
    engineer, address = client(world.engineer), f"{ADDRESS}recipients/"
    answer = engineer.post(address, {"addresses": "a@example.com\nb@example.com, a@example.com"})
    assert answer.status_code == 302
    assert AlertRecipients.objects.get().addresses == ["a@example.com", "b@example.com"]
    answer = engineer.post(address, {"addresses": "no address"})
    assert (answer.status_code, list(answer.context["recipients_form"].errors)) == (422, ["addresses"])
