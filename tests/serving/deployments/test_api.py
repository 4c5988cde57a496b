"""The deployment over REST."""

from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User

from evaluation.models import GateReport
from serving.deployments import services
from serving.models import Deployment, DeploymentEvent
from tests.evaluation.factories import World
from tests.labeling.api_client import Api, api_of
from tests.serving.factories import answering, approved_report, built


def api(world: World, who: str = "engineer", *scopes: str) -> Api:
    user: User = getattr(world, who)
    return api_of(world.project, user, *(scopes or ("deploy",)))


def settled(deployment: Deployment) -> None:
    """The candidate's package is built and its replica answers."""
    candidate = deployment.candidate
    assert candidate is not None
    assert candidate.package is not None
    built(candidate.package)
    answering(candidate)
    services.finish_promotion(deployment)


def test_a_version_is_deployed_promoted_and_rolled_back(world: World) -> None:
    client = api(world)
    first = approved_report(world)
    found = client.post("deployment", {"report": first.number})
    assert found.status == 200
    assert (found.json["stage"], found.json["candidate"]["version"], found.json["stable"]) == ("full", 1, None)
    assert (found.json["candidate"]["state"], found.json["candidate"]["report"]) == ("running", first.number)
    settled(Deployment.objects.get())
    found = client.get("deployment")
    assert (found.json["candidate"], found.json["stable"]["state"]) == (None, "done")
    assert found.json["stable"]["replicas_ready"] == found.json["stable"]["replicas_wanted"] == 1

    second = approved_report(world)
    found = client.post("deployment", {"report": second.number, "stage": "canary", "share": 0.1})
    assert (found.status, float(found.json["share"]), found.json["candidate"]["version"]) == (200, 0.1, 2)
    assert client.post("deployment/promote", {"share": 0.5, "reason": "Faster."}).json["share"] == Decimal("0.5")
    assert client.post("deployment/promote").json["stage"] == "full"
    settled(Deployment.objects.get())
    found = client.get("deployment")
    assert (found.json["stable"]["version"], found.json["previous"]) == (2, 1)
    found = client.post("deployment/roll-back", {"reason": "Wrong totals."})
    assert (found.json["candidate"]["version"], found.json["stage"]) == (1, "full")
    assert client.post("deployment/abort", {"reason": "After all."}).json["candidate"] is None
    kinds = [event["kind"] for event in client.get("deployment").json["events"]]
    assert kinds[:4] == ["aborted", "rolled_back", "promoted", "promoted"]
    assert DeploymentEvent.objects.filter(user=world.engineer, reason="Wrong totals.").count() == 1


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({}, 422, "report"),
        ({"report": 99}, 422, "report"),
        ({"report": "1"}, 422, "report"),
        ({"report": 1, "stage": "now"}, 422, "stage"),
        ({"report": 1, "stage": "canary"}, 409, None),
        ({"report": 1, "share": 1.5}, 422, "share"),
        ({"report": 1, "engine": "llama_cpp"}, 422, "engine"),
        ({"report": 1, "engnie": ""}, 422, "engnie"),
    ],
    ids=range(8),
)
def test_errors_name_their_field(world: World, body: dict[str, Any], status: int, field: str | None) -> None:
    assert approved_report(world).number == 1
    found = api(world).post("deployment", body)
    assert found.status == status
    assert [one["field"] for one in found.json.get("errors", [])] == ([field] if field else [])
    assert not Deployment.objects.filter(candidate__isnull=False).exists()


@pytest.mark.parametrize(("who", "scope"), [("engineer", "read"), ("engineer", "extract"), ("engineer", "label")])
def test_other_scopes_deploy_nothing(world: World, report: GateReport, who: str, scope: str) -> None:
    client = api(world, who, scope)
    assert client.get("deployment").status == 403
    assert client.post("deployment", {"report": report.number}).status == 403
    assert not Deployment.objects.exists()
