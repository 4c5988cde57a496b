"""The settings of a deployment: the review sample, storage, addresses of alerts."""

import re
from typing import Any

from django.test import Client
from django.utils import timezone

from evaluation.models import AuditEntry, Endpoint
from serving.models import AlertRecipients, AnswerPolicy, Deployment, SamplePlan
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
    refused = client(world.engineer).post(address, {**SAMPLE, "share": "200"})
    assert refused.status_code == 422
    # The page opens where the error is.
    [focused] = re.findall(r"<input[^>]*\bautofocus\b[^>]*>", refused.content.decode())
    assert 'name="share"' in focused
    assert not SamplePlan.objects.exists()
    saved = client(world.engineer).post(address, SAMPLE, follow=True)
    assert [str(message) for message in saved.context["messages"]] == ["Review sample and storage were saved."]
    plan = SamplePlan.objects.get()
    assert (plan.share, plan.retrain_below, plan.redact) == (0.025, 0.9, ["email", "iban"])
    assert (plan.retrain_labels, plan.retrain_tag) == (200, "ocr_noise")
    revision = deployment.revision
    deployment.refresh_from_db()
    assert (deployment.retention_days, deployment.revision) == (7, revision + 1)
    assert AuditEntry.objects.filter(action="review sample changed").count() == 1
    form = client(world.engineer).get(ADDRESS).context["sample_form"]
    assert (form.initial["share"], form.initial["retention_days"]) == (2.5, 7)


def test_the_form_of_the_answer_policy_agrees_with_what_is_in_effect(world: World, deployment: Deployment) -> None:
    def fields() -> list[str]:
        return list(client(world.engineer).get(ADDRESS).context["policy_form"].fields)

    values = {"min_confidence": "60", "budget_wrong": "", "budget_of": "200"}
    assert fields()[:3] == ["min_confidence", "endpoint", "rest"]
    Endpoint.objects.update(retired_at=timezone.now())
    # Without a larger model nothing is asked about it, and its settings stay for a later one.
    assert fields() == list(values)
    saved = client(world.engineer).post(f"{ADDRESS}policy/", values, follow=True)
    assert [str(message) for message in saved.context["messages"]] == ["The answer policy was saved."]
    policy = AnswerPolicy.objects.get()
    assert (policy.min_confidence, policy.destination, policy.on_invalid) == (0.6, "human review", True)
    refused = client(world.engineer).post(f"{ADDRESS}policy/", {**values, "min_confidence": "101"})
    assert (refused.status_code, list(refused.context["policy_form"].errors)) == (422, ["min_confidence"])


def test_recipients_are_stored(world: World, deployment: Deployment) -> None:
    engineer, address = client(world.engineer), f"{ADDRESS}recipients/"
    answer = engineer.post(address, {"addresses": "a@example.com\nb@example.com, a@example.com"})
    assert answer.status_code == 302
    assert AlertRecipients.objects.get().addresses == ["a@example.com", "b@example.com"]
    answer = engineer.post(address, {"addresses": "no address"})
    assert (answer.status_code, list(answer.context["recipients_form"].errors)) == (422, ["addresses"])
