"""The datasets panel of the home page, and the next steps to freeze datasets."""

from django.contrib.auth.models import User
from django.urls import reverse
from django.utils.translation import ngettext

from labeling.datasets.queries import has_current_schema
from labeling.documents.list.counts import gold_count, state_counts
from labeling.documents.panels import queue_step
from labeling.models import DatasetVersion, Project
from slmstudio.panels import NextStep, PanelContent, next_step, register

#: gold labels from which a first version is proposed although more documents are queued
ENOUGH_LABELS = 20


def newest_dataset(project: Project) -> DatasetVersion | None:
    """The newest dataset version; cached on the project object."""
    if not hasattr(project, "_newest_dataset"):
        newest = project.datasets.select_related("schema_version", "created_by").order_by("-number").first()
        project._newest_dataset = newest  # type: ignore[attr-defined]
    cached: DatasetVersion | None = project._newest_dataset  # type: ignore[attr-defined]
    return cached


@register("home", 20)
def datasets_panel(project: Project, user: User) -> PanelContent:
    """The newest dataset version."""
    newest = newest_dataset(project)
    size = newest.counts["documents"] if newest else 0
    return PanelContent(
        "labeling/datasets/panel.html" if newest else "",
        {
            "dataset": newest,
            "strip": [
                {
                    "title": "Dataset versions",
                    "value": str(newest.number if newest else 0),
                    "note": f"newest {size:,} {ngettext('document', 'documents', size)}" if newest else "None yet",
                    "url": reverse("datasets", args=[project.slug]),
                }
            ],
        },
    )


@next_step(14)
def freeze_step(project: Project, user: User) -> NextStep | None:
    """The first gold labels, or the first under the current schema, can be frozen, or the queue is labeled first."""
    newest = newest_dataset(project)
    if "curate" not in project.can or (newest is not None and has_current_schema(newest)):
        return None
    gold = gold_count(project)
    if not gold.number or gold.number < min(ENOUGH_LABELS, state_counts(project).queued.number):
        return queue_step(project)
    has_gold = ngettext("document has a gold label", "documents have gold labels", gold.number)
    text = f"{str(gold).capitalize()} {has_gold}. Freeze a dataset version for benchmarks and training."
    if newest is not None:
        text = f"The schema is now {project.schema_version}. Freeze a dataset version with it, and train a model."
    return NextStep(text, "Freeze a version", reverse("datasets", args=[project.slug]))


@next_step(70)
def freeze_again_step(project: Project, user: User) -> NextStep | None:
    """Gold labels that the newest version does not have."""
    newest = newest_dataset(project)
    if newest is None or "curate" not in project.can:
        return None
    left_out = {**newest.counts["left_out"], "does_not_fit_schema": 0}  # not gold labels
    gold = gold_count(project)
    new = gold.number - newest.counts["documents"] - sum(left_out.values())
    if new <= 0 or gold.is_estimate:  # an estimate cannot show a few new labels
        return None
    text = f"{new:,} {ngettext('label is', 'labels are', new)} newer than {newest}."
    return NextStep(text, "Freeze a version", reverse("datasets", args=[project.slug]))
