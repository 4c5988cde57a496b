"""Deploying, promoting, aborting, rolling back: who may, what it takes, and what is recorded."""

from collections.abc import Callable
from typing import Any

import pytest

from evaluation.approvals.decisions import withdraw
from evaluation.models import AuditEntry, GateReport
from serving.deployments import queries, services
from serving.models import Deployment, DeploymentEvent, Package
from slmstudio.access import Forbidden
from slmstudio.errors import Refused
from slmstudio.runs.models import Status
from tests.evaluation.factories import World, evaluated, right
from tests.serving.factories import approved_report, built

Deploy = Callable[..., Deployment]


@pytest.fixture
def deploy(world: World) -> Deploy:
    """Deploys as the engineer."""

    def work(**changes: Any) -> Deployment:
        values = {"project": world.project, "user": world.engineer, "stage": "full", **changes}
        return services.deploy(**values)

    return work


def code_of(work: Callable[[], object]) -> str:
    with pytest.raises(Refused) as caught:
        work()
    return caught.value.code


def settled(world: World, deployment: Deployment) -> Deployment:
    """As the supervisor leaves it once the replicas answer."""
    assert deployment.candidate is not None
    assert deployment.candidate.package is not None
    built(deployment.candidate.package)
    assert services.finish_promotion(deployment)
    after = queries.find(world.project)
    assert after is not None
    return after


def test_annotators_and_strangers_do_not_deploy(world: World, report: GateReport, deploy: Deploy) -> None:
    for user in (world.annotator, world.stranger):
        with pytest.raises(Forbidden):
            deploy(report=report, user=user)
    assert not Deployment.objects.exists()


def test_only_an_approved_model_answers(world: World, report: GateReport, deploy: Deploy) -> None:
    for decision in ("", "rejected"):
        other = approved_report(world, decision=decision)
        assert code_of(lambda: deploy(report=other)) == "not_approved"  # noqa: B023
    assert not Package.objects.exists()
    assert code_of(lambda: deploy(report=report, stage="canary")) == "no_stable"
    assert code_of(lambda: deploy(run=report.eval_run, stage="shadow")) == "no_stable"
    assert code_of(lambda: deploy(report=report, engine="llama_cpp")) == "no_gguf"
    assert code_of(lambda: deploy(report=report, engine="abacus")) == ""
    withdraw(report=report, user=world.manager, reason="Wrong gates.")
    assert code_of(lambda: deploy(report=report)) == "void"


def test_the_first_version_becomes_stable_once_it_answers(world: World, report: GateReport, deploy: Deploy) -> None:
    deployment = deploy(report=report)
    assert deployment.stable is None
    assert deployment.candidate is not None
    assert (deployment.candidate.number, deployment.stage, deployment.share) == (1, "full", 1.0)
    [package] = Package.objects.all()
    assert (package.status, package.engine, package.number) == (Status.QUEUED, "transformers", 1)
    after = settled(world, deployment)
    assert (after.stable, after.candidate, after.stage, after.share) == (deployment.candidate, None, "", 0.0)
    assert after.revision > deployment.revision
    kinds = [*DeploymentEvent.objects.order_by("pk").values_list("kind", "user__username")]
    assert kinds == [("deployed", "erik"), ("promoted", None)]
    actions = [*AuditEntry.objects.filter(about="version 1").order_by("pk").values_list("action", flat=True)]
    assert actions == ["deployed", "promoted"]


def test_shadow_takes_any_evaluated_model_and_is_not_promoted_without_approval(
    world: World, report: GateReport, deploy: Deploy
) -> None:
    settled(world, deploy(report=report))
    deployment = deploy(run=evaluated(world, right, tuned=False), stage="shadow")
    assert deployment.candidate is not None
    assert (deployment.candidate.report, deployment.stage, deployment.share) == (None, "shadow", 0.0)
    assert code_of(lambda: services.promote(deployment=deployment, user=world.engineer)) == "not_approved"
    # There is one candidate at a time.
    another = evaluated(world, right, tuned=False)
    assert code_of(lambda: deploy(run=another, stage="shadow")) == "busy"
    assert code_of(lambda: deploy(report=report)) == "busy"
    services.abort(deployment=deployment, user=None, reason="Too many failures.")
    assert Deployment.objects.get().candidate is None
    event = DeploymentEvent.objects.latest("pk")
    assert (event.kind, event.user, event.reason) == ("aborted", None, "Too many failures.")


def test_a_canary_is_promoted_step_by_step_and_rolled_back(world: World, report: GateReport, deploy: Deploy) -> None:
    first = settled(world, deploy(report=report))
    second = approved_report(world)
    deployment = deploy(report=second, stage="canary", engine="")
    assert (deployment.stage, deployment.share) == ("canary", 0.05)
    deployment = services.promote(deployment=deployment, user=world.engineer, share=0.25)
    assert (deployment.stage, deployment.share) == ("canary", 0.25)
    deployment = services.promote(deployment=deployment, user=world.engineer)
    after = settled(world, deployment)
    assert after.stable != first.stable
    services.roll_back(deployment=after, user=world.manager, reason="Wrong dates.")
    back = settled(world, queries.find(world.project))  # type: ignore[arg-type]
    assert back.stable == first.stable
    assert services.previous_stable(back) == after.stable
    # An aborted rollback is offered again; a version that was aborted as a candidate is not.
    services.roll_back(deployment=back, user=world.manager)
    again = services.abort(deployment=back, user=world.manager, reason="It was right.")
    assert services.previous_stable(again) == after.stable
    services.abort(deployment=deploy(report=second, stage="shadow"), user=world.manager, reason="Worse.")
    assert services.previous_stable(again) is None
    stopped = services.stop(deployment=back, user=world.owner, reason="Moved.")
    assert stopped.serving == []
    assert DeploymentEvent.objects.latest("pk").kind == "stopped"


def test_rolling_back_takes_a_candidate_out_first(world: World, report: GateReport, deploy: Deploy) -> None:
    stable = settled(world, deploy(report=report)).stable
    deployment = deploy(run=evaluated(world, right, tuned=False), stage="shadow")
    after = services.roll_back(deployment=deployment, user=world.engineer)
    assert (after.stable, after.candidate) == (stable, None)
    assert code_of(lambda: services.roll_back(deployment=after, user=world.engineer)) == "no_previous"
