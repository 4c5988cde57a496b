"""Live splits: a fixed share, one question, a verdict by evidence that may be watched."""

from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from django.test import Client
from django.utils import timezone

from labeling.integrations import tokens
from serving.comparisons import services
from serving.comparisons.certificate import content_hash
from serving.comparisons.split import Arms, check, evidence, pair_judgments, verdict
from serving.deployments import services as deployment_services
from serving.models import Deployment, Judgment, TrafficComparison
from serving.rollouts import services as rollout_services
from serving.rollouts import watch
from slmstudio.access import Forbidden
from slmstudio.errors import Refused
from tests.evaluation.factories import World
from tests.serving.factories import answering, approved_report, confirmations
from tests.serving.rollouts.rows import current, requests
from tests.shared_rows import shared_fixture

pytestmark = pytest.mark.slow


@shared_fixture
def split(world: World, deployment: Deployment) -> TrafficComparison:
    """A test of the stable version and another approved one, both answering."""
    return started(world)


def started(world: World, **changes: Any) -> TrafficComparison:
    """A test on failures, unless ``changes`` says otherwise, where a version is deployed."""
    values = {"question": "failures", "share": 0.5, "report": approved_report(world), **changes}
    comparison = services.start_split(project=world.project, user=world.engineer, **values)
    answering(comparison.b)
    return comparison


def checked(split: TrafficComparison) -> TrafficComparison:
    """As the watch leaves it."""
    check(split.pk, timezone.now())
    split.refresh_from_db()
    return split


@pytest.mark.parametrize(("worse", "better"), [("b", "a"), ("a", "b")])
def test_the_version_that_fails_less_is_better(world: World, split: TrafficComparison, worse: str, better: str) -> None:
    deployment, at = current(world), timezone.now()
    for is_b in (False, True):
        requests(deployment, 200, candidate=is_b, failed=30 if (worse == "b") == is_b else 2, at=at)
    shown = checked(split)
    assert (shown.verdict, shown.finished_at) == (better, None)
    assert shown.decided_at is not None
    assert Arms(**shown.result["counts"]).b_requests == 200


def test_latency_is_compared_by_a_limit_that_was_fixed_before(world: World, deployment: Deployment) -> None:
    before = timezone.now() - timedelta(hours=1)
    requests(deployment, 50, candidate=False, at=before, total_ms=100.0)
    split = started(world, question="latency")
    assert split.plan["limit_ms"] == 100.0
    deployment = current(world)
    requests(deployment, 60, candidate=False, at=timezone.now(), total_ms=150.0)
    requests(deployment, 60, candidate=True, at=timezone.now(), total_ms=50.0)
    assert checked(split).verdict == "b"


def test_judged_outputs_are_paired_in_their_order() -> None:
    rows = [(False, True)] * 20 + [(True, False)] * 20
    arms = pair_judgments(rows)
    assert (arms.a_events, arms.b_events, arms.a_alone, arms.b_alone) == (0, 20, 0, 20)
    assert verdict(evidence(arms, 0.5)) == "a"
    # Feedback that is given ten times as often for B says nothing by itself.
    assert verdict(evidence(pair_judgments([(False, True)] * 3 + [(True, False)] * 30), 0.5)) == ""


def test_a_running_test_keeps_its_share(world: World, split: TrafficComparison) -> None:
    deployment = current(world)
    assert (deployment.stage, deployment.share, deployment.candidate) == ("canary", 0.5, split.b)
    assert (split.a, split.verdict) == (deployment.stable, "")
    rollout_services.set_plan(
        deployment=deployment, user=world.engineer, auto_promote=True, margin=2.0, max_failure_rate=0.05, p95_ms=None,
        min_requests=10, max_disagreement=None,
    )  # fmt: skip
    for is_b in (False, True):
        requests(deployment, 400, candidate=is_b, at=timezone.now())
    watch.check(deployment.pk, timezone.now() + timedelta(seconds=10))
    assert (current(world).share, current(world).stage) == (split.plan["share"], "canary")
    split.status = "done"
    split.save()
    watch.check(deployment.pk, timezone.now() + timedelta(seconds=20))
    assert current(world).stage == "full"


@pytest.mark.parametrize("keep_b", [False, True])
def test_it_is_stopped_with_one_of_both(world: World, split: TrafficComparison, keep_b: bool) -> None:
    values: dict[str, Any] = {"project": world.project, "user": world.engineer, "report": approved_report(world)}
    with pytest.raises(Refused) as running:
        services.start_split(question="failures", **values)
    assert running.value.code == "busy"
    services.stop(comparison=split, user=world.manager, keep_b=keep_b)
    deployment = current(world)
    assert (deployment.candidate, deployment.stage) == ((split.b, "full") if keep_b else (None, ""))
    with pytest.raises(Refused):
        services.stop(comparison=split, user=world.manager)


def test_it_ends_where_the_candidate_is_taken_out(world: World, split: TrafficComparison) -> None:
    client = Client(headers={"HX-Request": "true"})
    client.force_login(world.engineer)
    assert client.get("/p/invoices/deploy/").context["split"] == split
    assert client.get("/p/invoices/deploy/rollout/").context["status"].badge == ("running", "live split")
    deployment_services.abort(deployment=current(world), user=None, reason="It fails.")
    assert checked(split).status == "done"
    status = client.get(split.get_absolute_url()).context["status"]
    assert (status.badge, status.may_issue) == (("cancelled", "ended, nothing shown"), False)
    assert client.get("/p/invoices/deploy/").context["split"] is None


def test_what_does_not_start(world: World, deployment: Deployment) -> None:
    values: dict[str, Any] = {"project": world.project, "user": world.engineer, "report": approved_report(world)}
    with pytest.raises(Refused):
        services.start_split(question="beauty", **values)
    with pytest.raises(Forbidden):
        services.start_split(question="failures", **{**values, "user": world.annotator})
    deployment_services.set_options(deployment=current(world), user=world.engineer, capture="", sticky=True)
    with pytest.raises(Refused) as sticky:
        services.start_split(question="failures", **values)
    assert sticky.value.field == "stage"


def test_the_pages_and_the_certificate(world: World, deployment: Deployment) -> None:
    report = approved_report(world)
    client = Client()
    client.force_login(world.engineer)
    address = "/p/invoices/deploy/comparisons/"
    assert client.get(address).context["comparisons"] == []
    values = {"report": report.number, "question": "failures", "share": "20"}
    assert client.post(f"{address}new/split/", values)["Location"] == f"{address}1/"
    assert confirmations(client.get(f"{address}1/"), f"{address}1/stop/") == [
        f"Stop the comparison and send all requests to {side}? Neither version is shown to be better yet."
        for side in "AB"
    ]
    [status] = client.get(address).context["comparisons"]
    assert (status.split.share, status.badge[0]) == (0.2, "running")
    answering(current(world).candidate)  # type: ignore[arg-type]
    requests(current(world), 200, candidate=False, failed=0, at=timezone.now())
    requests(current(world), 50, candidate=True, failed=20, at=timezone.now())
    assert client.post(f"{address}1/issue/").status_code == 422, "it has no verdict yet"
    assert client.post(f"{address}1/stop/", {"keep": "a"}).status_code == 302
    assert client.post(f"{address}1/stop/", {"keep": "a"}).status_code == 422
    assert client.get(f"{address}1/certificate.json").status_code == 404
    assert client.post(f"{address}1/issue/").status_code == 302
    issued = client.get(f"{address}1/certificate.json").json()
    assert (issued["outcome"], issued["candidate"]["events"]) == ("a", 20)
    assert content_hash({name: value for name, value in issued.items() if name != "sha256"}) == issued["sha256"]
    assert issued["sha256"] in client.get(f"{address}1/certificate.md").content.decode()
    assert client.get(f"{address}1/").context["status"].may_issue is False


def test_the_rest_resource(world: World, deployment: Deployment) -> None:
    report = approved_report(world)
    _, token = tokens.create(project=world.project, user=world.engineer, name="deploy", scopes=["deploy"], days=None)
    client = Client(headers={"Authorization": f"Bearer {token}"})
    address = "/api/v1/projects/invoices/deployment/comparisons"

    def post(path: str, body: dict[str, Any]) -> Any:
        return client.post(f"{address}/{path}", body, content_type="application/json")

    body = {"report": report.number, "question": "failures", "share": 0.25}
    made = post("split", body)
    assert (made.status_code, made.json()["plan"]["share"], made.json()["verdict"]) == (200, 0.25, "")
    assert post("split", body).status_code == 409
    assert post("split", {**body, "report": 99}).status_code == 422
    assert post("replay", {}).status_code == 409, "the candidate is not in shadow"
    assert post("1/certificate", {}).status_code == 409
    assert post("1/stop", {"keep": "b"}).json()["finished_at"] is not None
    assert post("2/stop", {}).status_code == 404
    assert [row["number"] for row in client.get(address).json()] == [client.get(f"{address}/1").json()["number"]] == [1]
    assert current(world).stage == "full"
    shadow = post("shadow", {"margin": 0.05, "documents": 10})
    assert (shadow.status_code, shadow.json()["plan"]["documents"]) == (200, 10)


def test_accuracy_is_that_of_judgments_of_the_split(world: World, deployment: Deployment) -> None:
    split = started(world, question="accuracy")
    deployment, at = current(world), timezone.now()
    for is_b in (False, True):
        for number, row in enumerate(requests(deployment, 30, candidate=is_b, at=at)):
            Judgment.objects.create(
                project=world.project, request_id=row.id, day=row.day, requested_at=at, release=row.release,
                source="caller", right=not is_b, created_at=at + timedelta(seconds=number),
            )  # fmt: skip
    first = Judgment.objects.filter(release=split.b).first()
    assert first is not None
    # A reviewer knows better than a caller.
    Judgment.objects.create(
        project=world.project, request_id=first.request_id, day=first.day, requested_at=at, release=first.release,
        source="reviewer", right=True,
    )  # fmt: skip
    # One that names its version is no part of the split.
    [named] = requests(deployment, 1, candidate=True, at=at, stage="")
    Judgment.objects.create(
        project=world.project, request_id=named.id, day=named.day, requested_at=at, release=split.b,
        source="caller", right=False,
    )  # fmt: skip
    shown = checked(split)
    assert tuple(shown.result["counts"][name] for name in ("a_events", "b_events", "b_requests")) == (0, 29, 30)
    assert shown.verdict == "a"


def test_alike_versions_rarely_get_a_verdict_however_often_it_is_read() -> None:
    rng, share, rounds, wrong = np.random.default_rng(14), 0.3, 300, 0
    for _ in range(rounds):
        b = np.cumsum(rng.random(400) < share)
        counts = ((int(of_b), number - int(of_b)) for number, of_b in enumerate(b, start=1))
        wrong += any(verdict(evidence(Arms(b_events=of_b, a_events=of_a), share)) for of_b, of_a in counts)
    # At most 5%, and what 300 rounds can stray from that.
    assert wrong / rounds <= 0.05 + 3 * (0.05 * 0.95 / rounds) ** 0.5
