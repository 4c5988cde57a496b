"""Watches rollouts: counts new requests, judges the candidate, and acts without a person.

``check_all`` is a periodic task. It locks the deployment while it looks, other processes pass it by, and a rollout that
was checked within the last seconds is left alone.
"""

import logging
from collections import Counter
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from serving.deployments import services
from serving.models import (
    Deployment,
    DeploymentEvent,
    Release,
    Replica,
    ReplicaCrash,
    Rollout,
    RolloutPlan,
    Stage,
    TrafficComparison,
)
from serving.replicas.changes import announce
from serving.rollouts.counts import Counts, Step
from serving.rollouts.log_counts import count, count_callers
from serving.rollouts.verdicts import Action, Replicas, Verdict, judge, judge_callers, judge_replicas
from slmstudio.database.transactions import statement_timeout
from slmstudio.errors import Refused
from slmstudio.periodic import for_each

logger = logging.getLogger(__name__)
CHECK_SECONDS = 3.0
#: seconds that a request may take longer than the gateway's limit until its row is in the table
_STORED_WITHIN = 15
#: no query takes longer: the deployment is locked
_STATEMENT_MS = 5_000
Kind = DeploymentEvent.Kind
Outcome = Rollout.Outcome
#: events that begin a rollout, and those after which it has ended
_BEGINS = (Kind.DEPLOYED, Kind.ROLLED_BACK)
_ENDS = (Kind.ABORTED, Kind.STOPPED, Kind.ROLLED_BACK)


def check_all(now: datetime) -> int:
    """Checks every deployment with a candidate or a rollout that runs. Returns how many this process checked."""
    rows = Deployment.objects.filter(Q(candidate__isnull=False) | Q(rollouts__in=Rollout.objects.running()))

    def checked(pk: int) -> bool:
        try:
            return check(pk, now)
        except Refused as error:  # the approval is void
            logger.warning("rollout of deployment %s: %s", pk, error.message)
            return False

    return for_each("rollout of a deployment", rows.order_by("pk").values_list("pk", flat=True).distinct(), checked)


def check(deployment_id: int, now: datetime) -> bool:
    """Counts, judges and acts for one deployment. False where another process does or just did."""
    with statement_timeout(_STATEMENT_MS):
        rows = Deployment.objects.select_for_update(of=("self",), skip_locked=True).with_releases()
        deployment: Deployment | None = rows.filter(pk=deployment_id).first()
        if deployment is None:
            return False
        rollout = _current(deployment, now)
        if rollout is None or deployment.stage not in (Stage.SHADOW, Stage.CANARY):
            return rollout is not None
        if rollout.checked_at is not None and (now - rollout.checked_at).total_seconds() < CHECK_SECONDS / 2:
            return False
        plan = RolloutPlan.objects.filter(deployment=deployment).first() or RolloutPlan(deployment=deployment)
        verdict = _judge(deployment, rollout, plan, now)
        if verdict is not None and _act(deployment, rollout, plan, verdict):
            transaction.on_commit(announce)
    return True


# -- the rollout of a deployment --------------------------------------------------------------------------------------


def _current(deployment: Deployment, now: datetime) -> Rollout | None:
    """The rollout of the candidate with its current step; one that has ended is closed."""
    running = Rollout.objects.running().filter(deployment=deployment).select_related("candidate")
    rollout: Rollout | None = running.first()
    events = DeploymentEvent.objects.filter(project=deployment.project_id)
    candidate = deployment.candidate
    if rollout is not None:
        since = events.filter(pk__gt=rollout.event_id)
        end = since.filter(kind__in=_ENDS).order_by("pk").first()
        same = candidate is not None and candidate.package_id == rollout.candidate.package_id
        if end is not None or not same:
            _close(rollout, end or since.filter(stage=Stage.FULL).order_by("-pk").first(), now)
            rollout = None
    if candidate is None or deployment.stable is None:
        return None
    began = events.filter(release=candidate, kind__in=_BEGINS).order_by("-pk").first()
    if rollout is None:
        if deployment.stage not in (Stage.SHADOW, Stage.CANARY) or began is None:
            return None
        rollout = Rollout(deployment=deployment, candidate=candidate, event=began, began_at=began.created_at)
    changed = events.filter(release=candidate, stage=deployment.stage).order_by("-pk").first() or began
    rollout.candidate = candidate
    _note_step(rollout, deployment, changed.created_at if changed is not None else now)
    rollout.save()
    return rollout


def _note_step(rollout: Rollout, deployment: Deployment, changed_at: datetime) -> None:
    """Begins a step where stage, share or a release changed."""
    assert deployment.candidate_id is not None
    assert deployment.stable_id is not None
    current = (deployment.stage, deployment.share, deployment.candidate_id, deployment.stable_id)
    steps = [Step.from_json(step) for step in rollout.steps]
    if steps and (steps[-1].stage, steps[-1].share, steps[-1].release, steps[-1].stable) == current:
        return
    if steps:
        steps[-1].ended_at = max(changed_at, steps[-1].began_at)
    if deployment.stage in (Stage.SHADOW, Stage.CANARY):
        steps.append(Step(*current, began_at=changed_at, settled_until=changed_at))
    rollout.steps = [step.to_json() for step in steps]


def _close(rollout: Rollout, end: DeploymentEvent | None, now: datetime) -> None:
    """``end``: the event that ended it. The last verdict stays as the reason where the application changed it."""
    is_aborted = end is not None and end.kind in _ENDS
    rollout.ended_at = end.created_at if end is not None and is_aborted else now
    rollout.outcome = Outcome.ABORTED if is_aborted else Outcome.PROMOTED
    if end is not None and end.user is not None:
        target = "" if is_aborted else " to all requests"
        rollout.reason = f"{end.get_kind_display()}{target} by {end.user.get_username()}. {end.reason}".strip()
    rollout.save(update_fields=["ended_at", "outcome", "reason"])


# -- counting, judging and acting -------------------------------------------------------------------------------------


def _judge(deployment: Deployment, rollout: Rollout, plan: RolloutPlan, now: datetime) -> Verdict | None:
    """None where the stable release does not answer: there is nothing to compare with, and nothing to go back to."""
    steps = [Step.from_json(step) for step in rollout.steps]
    stable = deployment.stable
    assert stable is not None
    answers = _is_answering(stable)
    sticky = deployment.sticky and deployment.stage == Stage.CANARY
    for step in steps:
        if not step.is_complete and not (sticky and not step.is_shadow):
            _count(deployment.project_id, rollout.began_at, step, plan, now, skip=not answers)
    if not answers:
        verdict = None
    else:
        verdict = _of_callers(deployment.project_id, rollout.began_at, steps, now) if sticky else judge(steps, plan)
        verdict = judge_replicas(verdict, _replicas(deployment, rollout))
    rollout.steps, rollout.checked_at = [step.to_json() for step in steps], now
    if verdict is not None:
        rollout.log_e = verdict.log_e
        rollout.verdict, rollout.code, rollout.reason = verdict.action, verdict.code, verdict.sentence
    rollout.save()
    return verdict


def _is_answering(release: Release) -> bool:
    return release.endpoint_id is not None or Replica.objects.ready().filter(release=release).exists()


def _replicas(deployment: Deployment, rollout: Rollout) -> Replicas:
    """What the replicas of both releases did since the rollout began."""
    assert deployment.candidate is not None
    assert deployment.stable is not None
    crashes = ReplicaCrash.objects.filter(release__in=deployment.serving, created_at__gte=rollout.began_at)
    crashed = Counter(crashes.values_list("release_id", flat=True))
    return Replicas(
        candidate_crashes=crashed[deployment.candidate.pk],
        stable_crashes=crashed[deployment.stable.pk],
        is_answering=_is_answering(deployment.candidate),
    )


def _of_callers(project_id: int, rollout_began_at: datetime, steps: list[Step], now: datetime) -> Verdict:
    """The verdict about the last step, in which callers are split; its counts are those of all callers."""
    step = steps[-1]
    callers = count_callers(project_id=project_id, step=step, rollout_began_at=rollout_began_at, until=now)
    step.settled, step.recent = (
        Counts(),
        Counts(
            stable_requests=sum(caller.requests for caller in callers if not caller.is_candidate),
            candidate_requests=sum(caller.requests for caller in callers if caller.is_candidate),
            stable_failures=sum(caller.failures for caller in callers if not caller.is_candidate),
            candidate_failures=sum(caller.failures for caller in callers if caller.is_candidate),
        ),
    )
    return judge_callers(steps, callers)


def _count(
    project_id: int, rollout_began_at: datetime, step: Step, plan: RolloutPlan, now: datetime, *, skip: bool
) -> None:
    """Adds requests that have surely ended to ``settled``, and counts the later ones anew."""
    until = now if step.ended_at is None else min(now, step.ended_at)
    settled = min(until, now - timedelta(seconds=settings.GATEWAY_TIMEOUT_SECONDS + _STORED_WITHIN))
    if skip:
        step.settled_until, step.recent = max(step.settled_until, until), Counts()
        return

    def counted(since: datetime, end: datetime) -> Counts:
        return count(
            project_id=project_id, step=step, rollout_began_at=rollout_began_at, since=since, until=end,
            p95_ms=plan.p95_ms,
        )  # fmt: skip

    if settled > step.settled_until:
        step.settled += counted(step.settled_until, settled)
        step.settled_until = settled
    step.recent = counted(step.settled_until, until)


def _act(deployment: Deployment, rollout: Rollout, plan: RolloutPlan, verdict: Verdict) -> bool:
    """Aborts a bad candidate, and promotes a good one where the plan says so. Whether it did."""
    if verdict.action == Action.ABORT:
        services.abort(deployment=deployment, user=None, reason=verdict.sentence)
        rollout.ended_at, rollout.outcome = timezone.now(), Outcome.ABORTED
        rollout.save(update_fields=["ended_at", "outcome"])
        return True
    # The share of a live split is fixed.
    fixed = TrafficComparison.objects.splits().filter(project=deployment.project_id).exists()
    may_promote = plan.auto_promote and not fixed
    if verdict.action == Action.PROMOTE and may_promote and deployment.candidate and deployment.candidate.report:
        # Inside: a void approval leaves the counts as they are.
        with transaction.atomic():
            services.promote(deployment=deployment, user=None, share=next_share(deployment), reason=verdict.sentence)
        return True
    return False


def next_share(deployment: Deployment) -> float | None:
    """The share of the next stage, None: all requests."""
    return next((share for share in services.STEPS if share > deployment.share), None)
