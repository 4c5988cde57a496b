"""Starts, watches and stops A/B tests."""

import logging
import time
from dataclasses import dataclass
from datetime import datetime

from django.contrib.auth.models import User
from django.db import DatabaseError, transaction
from django.utils import timezone

from evaluation.audit import services as audit_services
from evaluation.models import GateReport
from labeling.models import Project
from serving.deployments import queries as deployment_queries
from serving.deployments import services as deployment_services
from serving.experiments.counts import arms, median_ms
from serving.experiments.verdicts import evidence, verdict
from serving.models import Deployment, Experiment, Stage
from slmstudio.access import Action, require
from slmstudio.errors import Refused

logger = logging.getLogger(__name__)
CHECK_SECONDS = 5.0
Question = Experiment.Question


def start(
    *, project: Project, user: User, report: GateReport, question: str, share: float = 0.5, engine: str = ""
) -> Experiment:
    """Gives an approved version a fixed share of the requests, to compare it with the stable one for one question.

    A candidate of the same model goes on as B; another one has to be aborted first.

    Raises:
        Forbidden: the user's role does not permit it.
        Refused: ``field`` is question, share, report or stage: a test runs, callers are sticky, nothing is stable.
    """
    require(project, user, Action.DEPLOY)
    if question not in Question.values:
        raise Refused(f"Select a question: {', '.join(Question.values)}.", field="question", code="question")
    found = deployment_queries.find(project)
    if found is not None and found.sticky:
        raise Refused(
            "This deployment always sends a caller to the same version. Turn that option off to run an A/B test.",
            field="stage",
            code="busy",
        )
    if found is not None and Experiment.objects.running().filter(deployment=found).exists():
        raise Refused("An A/B test is already running. Stop it first.", field="stage", code="busy")
    if found is None or found.stable is None:
        raise Refused("Nothing is deployed yet.", field="stage", code="no_stable")
    limit = median_ms(project.pk, found.stable.pk, timezone.now()) if question == Question.LATENCY else None
    if question == Question.LATENCY and limit is None:
        raise Refused(
            "The stable version answered no requests in the last day, so its latency is unknown. "
            "Choose another question.",
            field="question",
            code="latency",
        )  # fmt: skip
    with transaction.atomic():
        deployment = deployment_services.deploy(
            project=project, user=user, stage=Stage.CANARY, report=report, share=share, engine=engine
        )
        assert deployment.stable is not None
        assert deployment.candidate is not None
        experiment: Experiment = Experiment.objects.create(
            deployment=deployment, a=deployment.stable, b=deployment.candidate, share=deployment.share,
            question=question, limit_ms=limit, created_by=user,
        )  # fmt: skip
        audit_services.record(
            project=project, user=user, action="A/B test started", about=str(experiment),
            details={"question": question, "share": deployment.share},
        )  # fmt: skip
    return experiment


def stop(*, experiment: Experiment, user: User, keep_b: bool = False) -> Experiment:
    """Ends a test. ``keep_b``: B answers everything; else it is taken out.

    Raises:
        Forbidden: the user's role does not permit it.
        Refused: it has ended.
    """
    require(experiment.deployment.project, user, Action.DEPLOY)
    project = experiment.deployment.project
    check(experiment.pk, timezone.now())
    with transaction.atomic():
        experiment = Experiment.objects.select_for_update(of=("self",)).get(pk=experiment.pk)
        if experiment.ended_at is not None:
            raise Refused("The A/B test has already ended.", field="form", code="ended")
        experiment.ended_at = timezone.now()
        experiment.save(update_fields=["ended_at"])
        deployment = Deployment.objects.get(pk=experiment.deployment_id)
        deployment.project = project
        if deployment.candidate_id == experiment.b_id:
            if keep_b:
                deployment_services.promote(deployment=deployment, user=user, reason="The A/B test has already ended.")
            else:
                deployment_services.abort(deployment=deployment, user=user, reason="The A/B test has already ended.")
        audit_services.record(
            project=project, user=user, action="A/B test stopped", about=str(experiment),
            details={"verdict": experiment.verdict, "counts": experiment.counts},
        )  # fmt: skip
    return experiment


@dataclass
class ExperimentWatch:
    """Counts and judges all running tests; called every second by ``manage.py serve``."""

    _next: float = 0.0

    def step(self) -> None:
        """Checks where that is due."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + CHECK_SECONDS
        for pk in Experiment.objects.running().values_list("pk", flat=True):
            try:
                check(pk, timezone.now())
            except DatabaseError:
                raise
            except Exception:  # replicas of this process go on
                logger.exception("A/B test %s", pk)


def check(pk: int, now: datetime) -> None:
    """Counts and judges one test. It ends where another change took B out or away from its share."""
    with transaction.atomic():
        rows = Experiment.objects.select_for_update(of=("self",), skip_locked=True)
        experiment = rows.select_related("deployment").filter(pk=pk, ended_at=None).first()
        if experiment is None:
            return
        deployment = experiment.deployment
        experiment.counts = (found := arms(experiment, now)).to_json()
        experiment.log_e = evidence(found, experiment.share)
        if not experiment.verdict:
            experiment.verdict = verdict(experiment.log_e)
            experiment.decided_at = now if experiment.verdict else None
        same = (deployment.stable_id, deployment.candidate_id, deployment.stage, deployment.share) == (
            experiment.a_id, experiment.b_id, Stage.CANARY, experiment.share,
        )  # fmt: skip
        if not same:
            experiment.ended_at = now
        experiment.save()
