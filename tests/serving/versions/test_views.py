"""The page of the versions over time."""

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from evaluation.models import Endpoint, GateReport
from labeling.models import Contract
from serving.deployments import services
from serving.models import Deployment, SamplePlan
from serving.review.sampling import draw
from serving.versions.queries import versions
from tests.evaluation.factories import World
from tests.serving.review.rows import logged
from tests.serving.rollouts import rows
from tests.shared_rows import shared_fixture

ADDRESS = "/p/invoices/deploy/versions/"


@shared_fixture
def deployed(world: World) -> Deployment:
    """An external model that a small one replaced."""
    endpoint = Endpoint.objects.create(
        project=world.project, name="Big", url="http://127.0.0.1:9/v1", model="big", price_in=2.0, price_out=10.0
    )
    deployment = services.deploy_endpoint(project=world.project, user=world.owner, endpoint=endpoint)
    for _ in range(3):
        logged(deployment, days=1 / 24, prompt_tokens=1_000, output_tokens=100)
    return rows.deployed(world)


def page(user: Any) -> Any:
    client = Client()
    client.force_login(user)
    return client.get(ADDRESS, headers={"HX-Request": "true"})


def test_every_version_has_its_period_figures_and_links(world: World, deployed: Deployment) -> None:
    Contract.objects.filter(project=world.project).update(constraints={"hardware_price_per_hour": 3.6})
    for _ in range(9):
        logged(deployed, days=1 / 24, model_ms=1_000.0)
    SamplePlan.objects.create(deployment=deployed, share=1.0)
    draw(deployed.pk, timezone.now())
    shown = page(world.annotator)
    small, big = shown.context["versions"]
    assert (small["role"], small["until"], big["role"]) == ("stable", None, "")
    assert big["until"] is not None
    assert big["since"] < small["since"] <= big["until"]
    assert (small["requests"], big["requests"]) == (9, 3)
    assert (small["share"], big["share"]) == (0.75, 0.25)
    assert small["cost"] == pytest.approx(1.0)
    assert big["cost"] == pytest.approx(3.0)
    assert small["holdout"]["rate"] == 1.0
    assert big["holdout"] is None
    assert small["training_run"] == world.training_run
    assert small["live"].requests == 9
    text = shown.content.decode()
    for address in (
        small["release"].report.get_absolute_url(), small["evaluation"].get_absolute_url(),
        world.training_run.get_absolute_url(), world.dataset.get_absolute_url(),
    ):  # fmt: skip
        assert f'"{address}"' in text
    endpoint = reverse("endpoint", args=[world.project.slug, big["release"].endpoint_id])
    assert f'"{endpoint}"' not in text  # an annotator may not open it
    assert f'"{endpoint}"' in page(world.engineer).content.decode()


def test_an_aborted_candidate_was_served_until_then(world: World, report: GateReport, deployed: Deployment) -> None:
    def number() -> int:
        with CaptureQueriesContext(connection) as made:
            versions(world.project, timezone.now())
        return len(made)

    few = number()
    services.deploy(project=world.project, user=world.engineer, stage="shadow", report=report)
    assert number() == few, "versions take a fixed number of queries"
    first = versions(world.project, timezone.now())[0]
    assert (first["role"], first["until"]) == ("shadow", None)
    services.abort(deployment=deployed, user=world.engineer, reason="Slow.")
    first = versions(world.project, timezone.now())[0]
    assert first["role"] == ""
    assert first["until"] is not None
