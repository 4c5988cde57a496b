"""Retraining by rule: proposes a training run; a person starts it.

A rule proposes once for each dataset version or release, however often it is checked.
"""

from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.contrib.auth.models import User
from django.db import transaction
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import ngettext

from evaluation.audit import services as audit_services
from evaluation.models import ClassicalModel
from labeling.failure_tags import title_of
from labeling.integrations import events
from labeling.models import DatasetItem, DatasetVersion, Gold, Project
from serving.models import Deployment, Release, RetrainingProposal, SamplePlan
from serving.review.accuracy import live_accuracies, recent
from slmstudio.access import Action, require
from slmstudio.periodic import for_each
from slmstudio.text.formatting import exact_percent, percent
from training.models import TrainingRun

EVENT = "retraining.proposed"
#: judgments below which live accuracy proposes nothing
MIN_JUDGED = 20
Rule, State = RetrainingProposal.Rule, RetrainingProposal.State


def propose_all(now: datetime | None = None) -> int:
    """Checks the rules of all projects; a periodic task. Returns the number of new proposals."""
    moment = now or timezone.now()

    def check(plan: SamplePlan) -> int:
        close_started(plan.deployment)
        return len(propose(plan, moment))

    plans = SamplePlan.objects.select_related("deployment__project", "deployment__stable__package__eval_run")
    return for_each("retraining rules", plans.order_by("pk"), check)


def propose(plan: SamplePlan, now: datetime) -> list[RetrainingProposal]:
    """Proposes a training run where a rule of the plan says so."""
    deployment = plan.deployment
    stable = deployment.stable
    proposals = []
    if plan.retrain_labels:
        number, dataset = new_labels(deployment, plan.retrain_tag)
        if number >= plan.retrain_labels:
            facts = {"labels": number, "tag": plan.retrain_tag, "dataset": dataset.number if dataset else 0}
            key = f"dataset {facts['dataset']} {plan.retrain_tag}"
            proposals.append(_propose(deployment.project, Rule.LABELS, key, facts))
    if plan.retrain_below is not None and stable is not None:
        live = live_accuracies(deployment.project, recent(now)).get(stable.pk)
        exact = live.exact if live is not None else None
        if exact is not None and exact.judged >= MIN_JUDGED and exact.high < plan.retrain_below:
            facts = {
                "version": stable.number, "accuracy": exact.value, "low": exact.low, "high": exact.high,
                "below": plan.retrain_below, "judged": exact.judged,
            }  # fmt: skip
            proposals.append(_propose(deployment.project, Rule.ACCURACY, f"version {stable.number}", facts))
    return [proposal for proposal in proposals if proposal is not None]


def new_labels(deployment: Deployment, tag: str = "") -> tuple[int, DatasetVersion | None]:
    """Gold labels outside the hold-out that the served model was not trained on, and the dataset that it was."""
    package = deployment.stable.package if deployment.stable is not None else None
    dataset = package.eval_run.backend.trained_on if package is not None else None
    if dataset is None:  # an external model, or a base model: the newest model that was trained here
        newest = TrainingRun.objects.of_project(deployment.project).select_related("dataset").first()
        dataset = newest.dataset if newest is not None else None
    rows = Gold.objects.current(deployment.project).filter(document__holdout=False)
    if tag:
        rows = rows.filter(document__tags__contains=[tag])
    if dataset is not None:
        rows = rows.exclude(document__in=DatasetItem.objects.filter(dataset=dataset).values("document"))
    return rows.count(), dataset


def training_run_of(release: Release | None) -> TrainingRun | None:
    """The run that trained a release."""
    run = release.package.eval_run if release is not None and release.package is not None else None
    version = run.model_version if run is not None else None
    return version.training_run if version is not None else run.training_run if run is not None else None


def _propose(project: Project, rule: str, key: str, facts: dict[str, Any]) -> RetrainingProposal | None:
    """A new proposal, or None where the rule made it before."""
    with transaction.atomic():
        proposal, is_new = RetrainingProposal.objects.get_or_create(
            project=project, rule=rule, key=key[:40], defaults={"facts": facts}
        )
        if is_new:
            url = reverse("deploy_versions", args=[project.slug])
            data = {"project": project.slug, "proposal": proposal.pk, "rule": rule, **facts, "url": url}
            events.emit(project, EVENT, data)
    return proposal if is_new else None


def serves_classical(deployment: Deployment) -> bool:
    """Whether the stable release is a classical model, which benchmarks train."""
    package = deployment.stable.package if deployment.stable is not None else None
    return package is not None and package.eval_run.classical_id is not None


def close_started(deployment: Deployment) -> int:
    """Closes proposals after which a training run was started, or a classical model created where one is served;
    returns how many.
    """
    models: Any = ClassicalModel.objects if serves_classical(deployment) else TrainingRun.objects
    newest = models.filter(project=deployment.project_id).order_by("-created_at").first()
    if newest is None:
        return 0
    rows = RetrainingProposal.objects.filter(project=deployment.project_id, state=State.OPEN)
    return rows.filter(created_at__lt=newest.created_at).update(state=State.STARTED, decided_by=newest.created_by)


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


# -- pages ------------------------------------------------------------------------------------------------------------


def open_proposals(project: Project) -> list[dict[str, Any]]:
    """The open proposals, the newest first: key, sentence, and the button and address of the next thing to do."""
    proposals = list(RetrainingProposal.objects.filter(project=project, state=State.OPEN).order_by("-pk"))
    if not proposals:
        return []
    newest: DatasetVersion | None = project.datasets.order_by("-number").first()
    shown = []
    for proposal in proposals:
        button, url = _next(project, proposal, newest)
        shown.append({"pk": proposal.pk, "text": _sentence(project, proposal), "button": button, "url": url})
    return shown


def _sentence(project: Project, proposal: RetrainingProposal) -> str:
    facts = proposal.facts
    if proposal.rule == Rule.ACCURACY:
        return (
            f"Live accuracy of version {facts['version']} is at most {percent(facts['high'])}, below the limit of "
            f"{exact_percent(facts['below'])}."
        )
    labels = ngettext("new label", "new labels", facts["labels"])
    tag = f" with the tag {title_of(project, facts['tag'])}" if facts["tag"] else ""
    since = f" since dataset v{facts['dataset']}" if facts["dataset"] else ""
    return f"{facts['labels']:,} {labels}{tag}{since}."


def _next(project: Project, proposal: RetrainingProposal, newest: DatasetVersion | None) -> tuple[str, str]:
    """A new dataset version where the newest is older than the proposal; then the form of a run, filled in."""
    if newest is None or newest.created_at < proposal.created_at:
        return "Freeze a dataset version", reverse("datasets", args=[project.slug])
    deployment = Deployment.objects.with_releases().filter(project=project).first()
    if deployment is not None and serves_classical(deployment):
        return "Run a benchmark", reverse("benchmark_new", args=[project.slug])
    run = training_run_of(deployment.stable) if deployment is not None else None
    values = {"dataset": newest.number} | ({"from": run.number} if run is not None else {})
    return "Train a model", f"{reverse('training_new', args=[project.slug])}?{urlencode(values)}"
