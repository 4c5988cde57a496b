"""What this app shows on a project's home and on a document's page, and the steps it knows."""

from django.contrib.auth.models import User
from django.urls import reverse
from django.utils.translation import ngettext

from labeling.documents.list.counts import Counted, StateCounts, gold_count, state_counts
from labeling.models import DatasetVersion, DocumentState, Project
from labeling.models.documents import QUEUE
from slmstudio.access import Role
from slmstudio.panels import NextStep, PanelContent, next_step, register


def newest_dataset(project: Project) -> DatasetVersion | None:
    """The newest version; asked for once per project object."""
    if not hasattr(project, "_newest_dataset"):
        newest = project.datasets.select_related("schema_version", "created_by").order_by("-number").first()
        project._newest_dataset = newest  # type: ignore[attr-defined]
    found: DatasetVersion | None = project._newest_dataset  # type: ignore[attr-defined]
    return found


def labelled(counts: StateCounts) -> Counted:
    """Documents with a label that somebody answers for."""
    return counts.get(DocumentState.SUBMITTED, DocumentState.APPROVED)


def unlabeled_count(counts: StateCounts) -> Counted:
    """Documents that wait to be labelled."""
    return counts.get(*QUEUE)


@register("home", 10)
def documents_panel(project: Project, user: User) -> PanelContent:
    """How many documents, how many of them labelled, and in what state the others are."""
    counts = state_counts(project)
    total, done, gold = counts.total, labelled(counts), gold_count(project)
    url = reverse("documents", args=[project.slug])
    return PanelContent(
        "labeling/documents/panel.html",
        {
            "total": total,
            "labelled": done,
            "states": [
                {"state": state.value, "label": state.label, "count": count, "percent": count.number / total.number}
                for state in DocumentState
                if (count := counts.get(state)).number
            ],
            "strip": [
                {
                    "title": "Documents",
                    "value": _short(total),
                    "note": f"{_short(unlabeled_count(counts))} wait",
                    "url": url,
                },
                {
                    "title": "Labelled",
                    "value": _short(done),
                    "note": f"{100 * done.number // total.number} %" if total.number else "none yet",
                    "url": f"{url}?state=submitted",
                },
                {
                    "title": "Gold",
                    "value": _short(gold),
                    "note": "approved labels" if project.review_required else "labels that count",
                    "url": reverse("datasets", args=[project.slug]),
                },
            ],
        },
    )


@register("home", 20)
def datasets_panel(project: Project, user: User) -> PanelContent:
    """The newest frozen version."""
    newest = newest_dataset(project)
    size = newest.counts["documents"] if newest else 0
    return PanelContent(
        "labeling/datasets/panel.html",
        {
            "dataset": newest,
            "strip": [
                {
                    "title": "Frozen versions",
                    "value": str(newest.number if newest else 0),
                    "note": f"newest {size:,} {ngettext('document', 'documents', size)}" if newest else "none yet",
                    "url": reverse("datasets", args=[project.slug]),
                }
            ],
        },
    )


@register("home", 90)
def contract_panel(project: Project, user: User) -> PanelContent:
    """What the task promises."""
    version = project.schema_version
    return PanelContent(
        "labeling/projects/panel.html",
        {"contract": project.contract, "version": version, "fields": version.compiled.fields},
    )


@next_step(10)
def label_step(project: Project, user: User) -> NextStep | None:
    """Those who label are sent to their queue."""
    left = unlabeled_count(state_counts(project))
    if project.role not in (Role.ANNOTATOR, Role.REVIEWER) or not left.number:
        return None
    return NextStep(_waits(left), "Label", reverse("label", args=[project.slug]))


@next_step(12)
def import_step(project: Project, user: User) -> NextStep | None:
    """Without documents nothing goes on."""
    if state_counts(project).total.number or "curate" not in project.can:
        return None
    return NextStep(
        "There are no documents yet. Import some, with or without gold.",
        "Import documents",
        reverse("import", args=[project.slug]),
    )


@next_step(14)
def freeze_step(project: Project, user: User) -> NextStep | None:
    """The first labels want to be frozen."""
    counts = state_counts(project)
    if "curate" not in project.can or newest_dataset(project) is not None:
        return None
    gold = gold_count(project)
    if not gold.number:
        left = unlabeled_count(counts)
        return NextStep(_waits(left), "Label", reverse("label", args=[project.slug])) if left.number else None
    return NextStep(
        f"{str(gold).capitalize()} {ngettext('document has', 'documents have', gold.number)} gold. Freeze a version to "
        "benchmark and train on.",
        "Freeze a version",
        reverse("datasets", args=[project.slug]),
    )


@next_step(70)
def freeze_again_step(project: Project, user: User) -> NextStep | None:
    """Labels that no version has yet."""
    newest = newest_dataset(project)
    if newest is None or "curate" not in project.can:
        return None
    left_out = {**newest.counts["left_out"], "does_not_fit_schema": 0}  # those were no gold
    gold = gold_count(project)
    new = gold.number - newest.counts["documents"] - sum(left_out.values())
    if new <= 0 or gold.about:  # an estimate tells nothing of a few new ones
        return None
    words = f"{new:,} {ngettext('label is', 'labels are', new)} newer than {newest}."
    return NextStep(words, "Freeze a version", reverse("datasets", args=[project.slug]))


@next_step(90)
def more_labels_step(project: Project, user: User) -> NextStep | None:
    """Where nothing else waits, more labels always help."""
    left = unlabeled_count(state_counts(project))
    if "label" not in project.can or project.role == Role.MANAGER or not left.number:
        return None
    return NextStep(_waits(left), "Label", reverse("label", args=[project.slug]))


def _waits(count: Counted) -> str:
    return f"{str(count).capitalize()} {ngettext('document waits', 'documents wait', count.number)} to be labelled."


def _short(count: Counted) -> str:
    return f"~{count.number:,}" if count.about else str(count)
