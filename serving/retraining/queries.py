"""What pages show of retraining proposals."""

from dataclasses import dataclass
from urllib.parse import urlencode

from django.db.models import QuerySet
from django.urls import reverse
from django.utils.translation import ngettext

from labeling.failure_tags import title_of
from labeling.models import DatasetVersion, Project
from serving.models import Deployment, RetrainingProposal
from serving.retraining.services import serves_classical, training_run_of
from slmstudio.text.formatting import exact_percent, percent


@dataclass(frozen=True)
class ShownProposal:
    """A proposal with its sentence, and the address of the next thing to do."""

    proposal: RetrainingProposal
    text: str
    button: str
    url: str


def open_proposals(project: Project) -> list[ShownProposal]:
    """The open proposals, the newest first."""
    rows: QuerySet[RetrainingProposal] = RetrainingProposal.objects.filter(
        project=project, state=RetrainingProposal.State.OPEN
    )
    found = list(rows.order_by("-pk"))
    if not found:
        return []
    newest: DatasetVersion | None = project.datasets.order_by("-number").first()
    return [ShownProposal(one, _sentence(project, one), *_next(project, one, newest)) for one in found]


def _sentence(project: Project, proposal: RetrainingProposal) -> str:
    facts = proposal.facts
    if proposal.rule == RetrainingProposal.Rule.ACCURACY:
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
    values: dict[str, int] = {"dataset": newest.number}
    deployment = Deployment.objects.with_releases().filter(project=project).first()
    if deployment is not None and serves_classical(deployment):
        return "Run a benchmark", reverse("benchmark_new", args=[project.slug])
    run = training_run_of(deployment.stable) if deployment is not None else None
    if run is not None:
        values["from"] = run.number
    return "Train a model", f"{reverse('training_new', args=[project.slug])}?{urlencode(values)}"
