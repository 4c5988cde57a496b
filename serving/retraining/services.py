"""Proposals of training runs. A rule proposes once for each dataset version or release, however often it is checked."""

import logging
from datetime import datetime
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.urls import reverse
from django.utils import timezone

from evaluation.audit import services as audit_services
from evaluation.models import ClassicalModel
from labeling.integrations import events
from labeling.models import DatasetItem, DatasetVersion, Gold, Project
from serving.feedback.live import live_accuracies, recent
from serving.models import Deployment, Release, RetrainingProposal, SamplePlan
from slmstudio.access import Action, require
from training.models import TrainingRun

logger = logging.getLogger(__name__)
EVENT = "retraining.proposed"
#: judgments below which live accuracy proposes nothing
MIN_JUDGED = 20
Rule, State = RetrainingProposal.Rule, RetrainingProposal.State


def propose_all(now: datetime | None = None) -> int:
    """Checks the rules of all projects; a periodic task. Returns the number of new proposals."""
    moment = now or timezone.now()
    made = 0
    plans = SamplePlan.objects.select_related("deployment__project", "deployment__stable__package__eval_run")
    for plan in plans.order_by("pk"):
        try:
            settle(plan.deployment.project)
            made += len(propose(plan, moment))
        except Exception:  # other projects go on
            logger.exception("the retraining rules of deployment %s were not checked", plan.deployment_id)
    return made


def propose(plan: SamplePlan, now: datetime) -> list[RetrainingProposal]:
    """Proposes a training run where a rule of the plan says so."""
    deployment = plan.deployment
    found = []
    if plan.retrain_labels:
        number, dataset = new_labels(deployment, plan.retrain_tag)
        if number >= plan.retrain_labels:
            facts = {"labels": number, "tag": plan.retrain_tag, "dataset": dataset.number if dataset else 0}
            found.append(_propose(deployment, Rule.LABELS, f"dataset {facts['dataset']} {plan.retrain_tag}", facts))
    if plan.retrain_below is not None and deployment.stable is not None:
        live = live_accuracies(deployment.project, recent(now)).get(deployment.stable.pk)
        exact = live.exact if live is not None else None
        if exact is not None and exact.judged >= MIN_JUDGED and exact.high < plan.retrain_below:
            facts = {
                "version": deployment.stable.number, "accuracy": exact.value, "low": exact.low, "high": exact.high,
                "below": plan.retrain_below, "judged": exact.judged,
            }  # fmt: skip
            found.append(_propose(deployment, Rule.ACCURACY, f"version {deployment.stable.number}", facts))
    return [one for one in found if one is not None]


def new_labels(deployment: Deployment, tag: str = "") -> tuple[int, DatasetVersion | None]:
    """Gold labels outside the hold-out that the served model was not trained on, and the dataset that it was."""
    dataset = _trained_on(deployment)
    rows = Gold.objects.current(deployment.project).filter(document__holdout=False)
    if tag:
        rows = rows.filter(document__tags__contains=[tag])
    if dataset is not None:
        rows = rows.exclude(document__in=DatasetItem.objects.filter(dataset=dataset).values("document"))
    return rows.count(), dataset


def _trained_on(deployment: Deployment) -> DatasetVersion | None:
    stable = deployment.stable
    package = stable.package if stable is not None else None
    dataset = package.eval_run.backend.trained_on if package is not None else None
    if dataset is None:  # an external model, or a base model: the newest model that was trained here
        newest = TrainingRun.objects.of_project(deployment.project).select_related("dataset").first()
        dataset = newest.dataset if newest is not None else None
    return dataset


def training_run_of(release: Release | None) -> TrainingRun | None:
    """The run that trained a release."""
    run = release.package.eval_run if release is not None and release.package is not None else None
    version = run.model_version if run is not None else None
    return version.training_run if version is not None else run.training_run if run is not None else None


def _propose(deployment: Deployment, rule: str, key: str, facts: dict[str, Any]) -> RetrainingProposal | None:
    """A new proposal, or None where the rule made it before."""
    project = deployment.project
    with transaction.atomic():
        proposal, is_new = RetrainingProposal.objects.get_or_create(
            project=project, rule=rule, key=key[:40], defaults={"facts": facts}
        )
        if not is_new:
            return None
        events.emit(project, EVENT, {
            "project": project.slug, "proposal": proposal.pk, "rule": rule, **facts,
            "url": reverse("deploy_versions", args=[project.slug]),
        })  # fmt: skip
    return proposal


def serves_classical(deployment: Deployment) -> bool:
    """Whether the stable release is a classical model, which benchmarks train."""
    package = deployment.stable.package if deployment.stable is not None else None
    return package is not None and package.eval_run.classical_id is not None


def settle(project: Project) -> int:
    """Closes proposals after which a training run was started, or a classical model created where one is served;
    returns how many.
    """
    deployment = Deployment.objects.with_releases().filter(project=project).first()
    is_classical = deployment is not None and serves_classical(deployment)
    models: Any = ClassicalModel.objects if is_classical else TrainingRun.objects
    newest = models.filter(project=project).order_by("-created_at").first()
    if newest is None:
        return 0
    rows = RetrainingProposal.objects.filter(project=project, state=State.OPEN, created_at__lt=newest.created_at)
    return rows.update(state=State.STARTED, decided_by=newest.created_by)


def dismiss(*, project: Project, user: User, pk: int) -> bool:
    """Closes a proposal without a training run. False where it is not open."""
    require(project, user, Action.RUN)
    with transaction.atomic():
        rows = RetrainingProposal.objects.filter(project=project, pk=pk, state=State.OPEN)
        changed = rows.update(state=State.DISMISSED, decided_by=user) == 1
        if changed:
            audit_services.record(
                project=project, user=user, action="dismissed", about="retraining", details={"proposal": pk}
            )
    return changed
