"""Retraining by rule."""

from datetime import timedelta
from typing import Any

from django.test import Client
from django.utils import timezone

from labeling.datasets.freeze import freeze
from labeling.imports.services import insert_rows
from labeling.integrations import webhooks
from labeling.models import WebhookDelivery
from serving.models import Deployment, RetrainingProposal, SamplePlan
from serving.panels import retraining_step
from serving.review import retraining
from serving.review.retraining import open_proposals
from tests.evaluation.factories import World, make_version
from tests.serving.review.rows import gold_of
from tests.serving.review.test_page import judge

Rule, State = RetrainingProposal.Rule, RetrainingProposal.State


def plan(deployment: Deployment, **rules: Any) -> SamplePlan:
    return SamplePlan.objects.create(deployment=deployment, **rules)


def label(world: World, number: int, *, tag: str = "") -> None:
    """So many new gold labels."""
    rows = [
        {"id": f"new-{at}{tag}", "text": f"New {at} {tag}", "gold": gold_of(39), "tags": [tag] if tag else []}
        for at in range(number)
    ]
    assert insert_rows(project=world.project, user=world.engineer, rows=rows).imported == number


def test_new_labels_propose_a_run_once(world: World, deployment: Deployment) -> None:
    webhooks.create(
        project=world.project, user=world.owner, url="https://93.184.216.34/hook", events=["retraining.proposed"]
    )
    plan(deployment, retrain_labels=5)
    label(world, 4)
    assert retraining.propose_all() == 0
    label(world, 1, tag="ambiguous")
    assert retraining.propose_all() == 1
    assert retraining.propose_all() == 0
    proposal = RetrainingProposal.objects.get()
    facts = proposal.facts
    assert (proposal.rule, facts["labels"], facts["dataset"]) == (Rule.LABELS, 5, world.dataset.number)
    [sent] = WebhookDelivery.objects.filter(event="retraining.proposed")
    assert sent.webhook.project == world.project


def test_low_live_accuracy_proposes_once_its_upper_bound_is_below(world: World, deployment: Deployment) -> None:
    row = plan(deployment, retrain_below=0.85)
    judge(deployment, 30, 24)  # 80%, but it may be more
    assert retraining.propose_all() == 0
    judge(deployment, 60, 40)
    assert retraining.propose_all() == 1
    assert retraining.propose_all() == 0
    proposal = RetrainingProposal.objects.get()
    assert (proposal.rule, proposal.facts["version"]) == (Rule.ACCURACY, deployment.stable.number)  # type: ignore[union-attr]
    assert proposal.facts["high"] < row.retrain_below


def test_the_next_step_is_a_version_and_then_the_filled_form(world: World, deployment: Deployment) -> None:
    plan(deployment, retrain_labels=1)
    label(world, 1)
    retraining.propose_all()
    [shown] = open_proposals(world.project)
    assert shown["url"].endswith("/datasets/")
    world.project.can = {"run"}
    step = retraining_step(world.project, world.engineer)
    assert step is not None
    assert step.url == shown["url"]
    world.project.can = set()
    assert retraining_step(world.project, world.annotator) is None
    frozen = freeze(project=world.project, user=world.engineer)
    [shown] = open_proposals(world.project)
    assert shown["url"].endswith(f"/training/new/?dataset={frozen.number}")
    assert Client().get(shown["url"]).status_code == 302


def test_a_run_closes_its_proposals(world: World, deployment: Deployment) -> None:
    plan(deployment, retrain_labels=1)
    label(world, 1)
    retraining.propose_all()
    frozen = freeze(project=world.project, user=world.engineer)
    RetrainingProposal.objects.update(created_at=timezone.now() - timedelta(minutes=1))
    make_version(world.project, world.engineer, frozen, world.base_model)
    retraining.propose_all()
    proposal = RetrainingProposal.objects.get(facts__dataset=world.dataset.number)
    assert (proposal.state, proposal.decided_by) == (State.STARTED, world.engineer)


def test_it_is_dismissed_by_those_who_may_train(world: World, deployment: Deployment) -> None:
    plan(deployment, retrain_labels=1)
    label(world, 1)
    retraining.propose_all()
    pk = RetrainingProposal.objects.get().pk
    address = "/p/invoices/deploy/retraining/dismiss/"
    for user, status, state in ((world.annotator, 403, State.OPEN), (world.engineer, 302, State.DISMISSED)):
        client = Client()
        client.force_login(user)
        assert client.post(address, {"proposal": pk}).status_code == status
        assert RetrainingProposal.objects.get().state == state
    assert retraining.propose_all() == 0
    assert open_proposals(world.project) == []
