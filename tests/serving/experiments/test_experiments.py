"""A/B tests: a fixed share, one question, a verdict by evidence that may be watched."""

from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from labeling.integrations import tokens
from serving.deployments import services as deployment_services
from serving.experiments import services
from serving.experiments.counts import judged
from serving.experiments.verdicts import Arms, evidence, verdict
from serving.models import Deployment, Experiment, Judgment
from serving.rollouts import services as rollout_services
from serving.rollouts import watch
from slmstudio.access import Forbidden
from slmstudio.errors import Refused
from tests.evaluation.factories import World
from tests.serving.factories import answering, approved_report
from tests.serving.rollouts.rows import current, deployed, requests

pytestmark = pytest.mark.slow


def started(world: World, **changes: Any) -> Experiment:
    """A test of the stable version and another approved one, both answering."""
    deployed(world)
    values = {"question": "failures", "share": 0.5, "report": approved_report(world), **changes}
    experiment = services.start(project=world.project, user=world.engineer, **values)
    answering(experiment.b)
    return experiment


def checked(experiment: Experiment) -> Experiment:
    """As the watch leaves it."""
    services.check(experiment.pk, timezone.now())
    experiment.refresh_from_db()
    return experiment


def test_it_gives_both_versions_their_share(world: World) -> None:
    experiment = started(world, share=0.3)
    deployment = current(world)
    assert (deployment.stage, deployment.share, deployment.candidate) == ("canary", 0.3, experiment.b)
    assert (experiment.a, experiment.verdict) == (deployment.stable, "")


@pytest.mark.parametrize(("worse", "better"), [("b", "a"), ("a", "b")])
def test_the_version_that_fails_less_is_better(world: World, worse: str, better: str) -> None:
    experiment = started(world)
    deployment, at = current(world), timezone.now()
    for is_b in (False, True):
        requests(deployment, 200, candidate=is_b, failed=30 if (worse == "b") == is_b else 2, at=at)
    found = checked(experiment)
    assert (found.verdict, found.ended_at) == (better, None)
    assert found.decided_at is not None
    assert Arms(**found.counts).b_requests == 200


def test_alike_versions_have_no_verdict(world: World) -> None:
    experiment = started(world)
    deployment, at = current(world), timezone.now()
    for is_b in (False, True):
        requests(deployment, 200, candidate=is_b, failed=10, at=at)
    assert checked(experiment).verdict == ""


def test_latency_is_compared_by_a_limit_that_was_fixed_before(world: World) -> None:
    deployment, before = deployed(world), timezone.now() - timedelta(hours=1)
    requests(deployment, 50, candidate=False, at=before, total_ms=100.0)
    experiment = services.start(
        project=world.project, user=world.engineer, question="latency", share=0.5, report=approved_report(world)
    )
    assert experiment.limit_ms == 100.0
    answering(experiment.b)
    deployment = current(world)
    requests(deployment, 60, candidate=False, at=timezone.now(), total_ms=150.0)
    requests(deployment, 60, candidate=True, at=timezone.now(), total_ms=50.0)
    assert checked(experiment).verdict == "b"


def test_without_a_latency_of_a_there_is_no_limit(world: World) -> None:
    with pytest.raises(Refused) as refused:
        started(world, question="latency")
    assert refused.value.code == "latency"
    assert Deployment.objects.get().candidate is None


def test_judged_outputs_are_paired_in_their_order() -> None:
    rows = [(False, True)] * 20 + [(True, False)] * 20
    arms = judged(rows)
    assert (arms.a_events, arms.b_events, arms.a_alone, arms.b_alone) == (0, 20, 0, 20)
    assert verdict(evidence(arms, 0.5)) == "a"
    # Feedback that is given ten times as often for B says nothing by itself.
    assert verdict(evidence(judged([(False, True)] * 3 + [(True, False)] * 30), 0.5)) == ""


def test_a_running_test_keeps_its_share(world: World) -> None:
    experiment = started(world)
    deployment = current(world)
    rollout_services.set_plan(
        deployment=deployment, user=world.engineer, auto_promote=True, margin=2.0, max_failure_rate=0.05, p95_ms=None,
        min_requests=10, max_disagreement=None,
    )  # fmt: skip
    for is_b in (False, True):
        requests(deployment, 400, candidate=is_b, at=timezone.now())
    watch.check(deployment.pk, timezone.now() + timedelta(seconds=10))
    assert (current(world).share, current(world).stage) == (experiment.share, "canary")
    experiment.ended_at = timezone.now()
    experiment.save()
    watch.check(deployment.pk, timezone.now() + timedelta(seconds=20))
    assert current(world).stage == "full"


def test_it_ends_where_the_candidate_is_taken_out(world: World) -> None:
    experiment = started(world)
    deployment_services.abort(deployment=current(world), user=None, reason="It fails.")
    assert checked(experiment).ended_at is not None


@pytest.mark.parametrize("keep_b", [False, True])
def test_it_is_stopped_with_one_of_both(world: World, keep_b: bool) -> None:
    experiment = started(world)
    services.stop(experiment=experiment, user=world.manager, keep_b=keep_b)
    found = current(world)
    assert (found.candidate, found.stage) == ((experiment.b, "full") if keep_b else (None, ""))
    with pytest.raises(Refused):
        services.stop(experiment=experiment, user=world.manager)


def test_what_does_not_start(world: World) -> None:
    experiment = started(world)
    values: dict[str, Any] = {"project": world.project, "user": world.engineer, "report": approved_report(world)}
    with pytest.raises(Refused) as running:
        services.start(question="failures", **values)
    assert running.value.code == "busy"
    services.stop(experiment=experiment, user=world.engineer)
    with pytest.raises(Refused):
        services.start(question="beauty", **values)
    with pytest.raises(Forbidden):
        services.start(question="failures", **{**values, "user": world.annotator})
    deployment_services.set_options(deployment=current(world), user=world.engineer, capture="", sticky=True)
    with pytest.raises(Refused) as sticky:
        services.start(question="failures", **values)
    assert sticky.value.field == "stage"


def test_the_page_the_command_and_the_api(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    deployed(world)
    report = approved_report(world)
    client = Client()
    client.force_login(world.engineer)
    assert client.get("/p/invoices/deploy/ab-tests/").context["experiments"] == []
    answer = client.post(
        "/p/invoices/deploy/ab-tests/new/", {"report": report.number, "question": "failures", "share": "20"}
    )
    assert answer.status_code == 302
    [status] = client.get("/p/invoices/deploy/ab-tests/").context["experiments"]
    assert (status.experiment.share, status.badge[0]) == (0.2, "running")
    assert client.post("/p/invoices/deploy/ab-tests/stop/", {"keep": "a"}).status_code == 302
    assert client.post("/p/invoices/deploy/ab-tests/stop/", {"keep": "a"}).status_code == 422

    call_command("ab_test", project="invoices", report=report.number, question="failures", share=0.4)
    assert "(40%)" in capsys.readouterr().out
    call_command("ab_test", project="invoices", stop="a")
    assert Experiment.objects.running().count() == 0

    _, token = tokens.create(project=world.project, user=world.engineer, name="deploy", scopes=["deploy"], days=None)
    headers = {"Authorization": f"Bearer {token}"}
    address = "/api/v1/projects/invoices/deployment/ab-tests"
    body = {"report": report.number, "question": "failures", "share": 0.25}
    made = Client().post(address, body, content_type="application/json", headers=headers)
    assert (made.status_code, made.json()["share"], made.json()["verdict"]) == (200, 0.25, "")
    again = Client().post(address, body, content_type="application/json", headers=headers)
    assert again.status_code == 409
    done = Client().post(f"{address}/stop", {"keep": "b"}, content_type="application/json", headers=headers)
    assert done.json()["ended_at"] is not None
    assert len(Client().get(address, headers=headers).json()) == 3
    assert current(world).stage == "full"


def test_accuracy_is_that_of_judgments_of_the_split(world: World) -> None:
    experiment = started(world, question="accuracy")
    deployment, at = current(world), timezone.now()
    for is_b in (False, True):
        for number, row in enumerate(requests(deployment, 30, candidate=is_b, at=at)):
            Judgment.objects.create(
                project=world.project, request_id=row.id, day=row.day, requested_at=at, release=row.release,
                source="caller", right=not is_b, created_at=at + timedelta(seconds=number),
            )  # fmt: skip
    first = Judgment.objects.filter(release=experiment.b).first()
    assert first is not None
    # A reviewer knows better than a caller.
    Judgment.objects.create(
        project=world.project, request_id=first.request_id, day=first.day, requested_at=at, release=first.release,
        source="reviewer", right=True,
    )  # fmt: skip
    # One that names its version is no part of the split.
    [named] = requests(deployment, 1, candidate=True, at=at, stage="")
    Judgment.objects.create(
        project=world.project, request_id=named.id, day=named.day, requested_at=at, release=experiment.b,
        source="caller", right=False,
    )  # fmt: skip
    found = checked(experiment)
    assert (found.counts["a_events"], found.counts["b_events"], found.counts["b_requests"]) == (0, 29, 30)
    assert found.verdict == "a"


def test_alike_versions_rarely_get_a_verdict_however_often_it_is_read() -> None:
    rng, share, rounds, wrong = np.random.default_rng(14), 0.3, 300, 0
    for _ in range(rounds):
        b = np.cumsum(rng.random(400) < share)
        counts = ((int(one), number - int(one)) for number, one in enumerate(b, start=1))
        wrong += any(verdict(evidence(Arms(b_events=of_b, a_events=of_a), share)) for of_b, of_a in counts)
    # At most 5%, and what 300 rounds can stray from that.
    assert wrong / rounds <= 0.05 + 3 * (0.05 * 0.95 / rounds) ** 0.5
