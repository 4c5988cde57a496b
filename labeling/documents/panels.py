"""The documents panel of the home page, and the next steps to import and label documents."""

from django.contrib.auth.models import User
from django.urls import reverse
from django.utils.translation import ngettext

from labeling.documents.list.counts import gold_count, state_counts
from labeling.models import DocumentState, Project
from slmstudio.access import Role
from slmstudio.panels import NextStep, PanelContent, next_step, register
from slmstudio.text.formatting import exact_percent
from slmstudio.web.paging import ApproximateCount


@register("home", 10)
def documents_panel(project: Project, user: User) -> PanelContent:
    """The number of documents by state, and the cells of documents, labels and gold labels."""
    counts = state_counts(project)
    total, done, gold = counts.total, counts.labeled, gold_count(project)
    url = reverse("documents", args=[project.slug])
    return PanelContent(
        "labeling/documents/panel.html" if total.number else "",
        {
            "total": total,
            "labelled": done,
            "states": [
                {"state": state.value, "label": state.label, "count": count, "percent": count.number / total.number}
                for state in DocumentState
                if (count := counts.get(state)).number
            ],
            "strip": [
                {"title": "Documents", "value": _short(total), "note": f"{_short(counts.queued)} queued", "url": url},
                {
                    "title": "Labeled",
                    "value": _short(done),
                    "note": exact_percent(done.number * 100 // total.number / 100) if total.number else "None yet",
                    "url": f"{url}?state=submitted",
                },
                {
                    "title": "Gold",
                    "value": _short(gold),
                    "note": "Approved labels" if project.review_required else "Submitted labels",
                    "url": reverse("datasets", args=[project.slug]),
                },
            ],
        },
    )


@next_step(10)
def label_step(project: Project, user: User) -> NextStep | None:
    """Annotators and reviewers label the queue."""
    return queue_step(project) if project.role in (Role.ANNOTATOR, Role.REVIEWER) else None


@next_step(12)
def import_step(project: Project, user: User) -> NextStep | None:
    """An empty project needs documents."""
    if state_counts(project).total.number or "curate" not in project.can:
        return None
    return NextStep(
        "There are no documents yet. Import some, with or without gold labels.",
        "Import documents",
        reverse("import", args=[project.slug]),
    )


@next_step(90)
def more_labels_step(project: Project, user: User) -> NextStep | None:
    """Without other tasks, label more documents."""
    return queue_step(project) if "label" in project.can and project.role != Role.MANAGER else None


def queue_step(project: Project) -> NextStep | None:
    """To the queue, if it has documents."""
    queued = state_counts(project).queued
    if not queued.number:
        return None
    text = ngettext("document is in the labeling queue.", "documents are in the labeling queue.", queued.number)
    return NextStep(f"{str(queued).capitalize()} {text}", "Label", reverse("label", args=[project.slug]))


def _short(count: ApproximateCount) -> str:
    return f"~{count.number:,}" if count.is_estimate else str(count)
