"""The deployment over REST."""

from decimal import Decimal
from typing import Any

from evaluation.models import GateReport
from serving.deployments import services
from serving.models import Deployment, DeploymentEvent
from tests.evaluation.factories import World
from tests.labeling.api_client import Api, api_of
from tests.serving.factories import answering, approved_report, built


def api(world: World) -> Api:
    return api_of(world.project, world.engineer, "deploy")


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
    answer = client.post("deployment", {"report": first.number})
    assert answer.status == 200
    assert (answer.json["stage"], answer.json["candidate"]["version"], answer.json["stable"]) == ("full", 1, None)
    assert (answer.json["candidate"]["state"], answer.json["candidate"]["report"]) == ("running", first.number)
    settled(Deployment.objects.get())
    answer = client.get("deployment")
    assert (answer.json["candidate"], answer.json["stable"]["state"]) == (None, "done")
    assert answer.json["stable"]["replicas_ready"] == answer.json["stable"]["replicas_wanted"] == 1

    second = approved_report(world)
    answer = client.post("deployment", {"report": second.number, "stage": "canary", "share": 0.1})
    assert (answer.status, float(answer.json["share"]), answer.json["candidate"]["version"]) == (200, 0.1, 2)
    assert client.post("deployment/promote", {"share": 0.5, "reason": "Faster."}).json["share"] == Decimal("0.5")
    assert client.post("deployment/promote").json["stage"] == "full"
    settled(Deployment.objects.get())
    answer = client.get("deployment")
    assert (answer.json["stable"]["version"], answer.json["previous"]) == (2, 1)
    answer = client.post("deployment/roll-back", {"reason": "Wrong totals."})
    assert (answer.json["candidate"]["version"], answer.json["stage"]) == (1, "full")
    assert client.post("deployment/abort", {"reason": "After all."}).json["candidate"] is None
    kinds = [event["kind"] for event in client.get("deployment").json["events"]]
    assert kinds[:4] == ["aborted", "rolled_back", "promoted", "promoted"]
    assert DeploymentEvent.objects.filter(user=world.engineer, reason="Wrong totals.").count() == 1


def test_errors_name_their_field(world: World, report: GateReport) -> None:
    assert report.number == 1
    engineer = api(world)
    bodies: list[tuple[dict[str, Any], int, list[str]]] = [
        ({}, 422, ["report"]),
        ({"report": 99}, 422, ["report"]),
        ({"report": "1"}, 422, ["report"]),
        ({"report": 1, "stage": "now"}, 422, ["stage"]),
        ({"report": 1, "stage": "canary"}, 409, ["stage"]),
        ({"report": 1, "share": 1.5}, 422, ["share"]),
        ({"report": 1, "engine": "llama_cpp"}, 422, ["engine"]),
        ({"report": 1, "engnie": ""}, 422, ["engnie"]),
    ]
    for body, status, fields in bodies:
        answer = engineer.post("deployment", body)
        assert answer.status == status, body
        assert [error["field"] for error in answer.json.get("errors", [])] == fields
    assert not Deployment.objects.filter(candidate__isnull=False).exists()
