"""What this app shows on a project's home and on a document's page, and the steps it knows."""

from typing import Any

from django.urls import reverse

from labeling.models import DatasetVersion, Document, DocumentState, Project
from slmstudio.access import Role
from slmstudio.panels import Content, Step, next_step, register

WAITING = (DocumentState.NEW, DocumentState.IN_PROGRESS, DocumentState.REJECTED)


def state_counts(project: Project) -> dict[str, int]:
    """Documents per state; asked once per project object, because several panels and steps need it."""
    counts: dict[str, int] | None = getattr(project, "_state_counts", None)
    if counts is None:
        counts = Document.objects.filter(project=project).counts_by_state()
        project._state_counts = counts  # type: ignore[attr-defined]
    return counts


def newest_dataset(project: Project) -> DatasetVersion | None:
    """The newest version; asked for once per project object."""
    if not hasattr(project, "_newest_dataset"):
        newest = project.datasets.select_related("schema_version", "created_by").order_by("-number").first()
        project._newest_dataset = newest  # type: ignore[attr-defined]
    found: DatasetVersion | None = project._newest_dataset  # type: ignore[attr-defined]
    return found


def _labelled(counts: dict[str, int]) -> int:
    return counts.get(DocumentState.SUBMITTED, 0) + counts.get(DocumentState.APPROVED, 0)


def _waiting(counts: dict[str, int]) -> int:
    return sum(counts.get(state, 0) for state in WAITING)


@register("home", 10)
def documents_panel(project: Project, user: Any) -> Content:
    """How many documents, how many of them labelled, and in what state the others are."""
    counts = state_counts(project)
    total, labelled = sum(counts.values()), _labelled(counts)
    url = reverse("documents", args=[project.slug])
    return Content(
        "labeling/panel_documents.html",
        {
            "total": total,
            "labelled": labelled,
            "states": [
                {"state": state.value, "label": state.label, "count": counts[state], "percent": counts[state] / total}
                for state in DocumentState
                if counts.get(state)
            ],
            "strip": [
                {"title": "Documents", "value": f"{total:,}", "note": f"{_waiting(counts):,} wait", "url": url},
                {
                    "title": "Labelled",
                    "value": f"{labelled:,}",
                    "note": f"{100 * labelled // total} %" if total else "none yet",
                    "url": f"{url}?state=submitted",
                },
            ],
        },
    )


@register("home", 20)
def datasets_panel(project: Project, user: Any) -> Content:
    """The newest frozen version."""
    newest = newest_dataset(project)
    return Content(
        "labeling/panel_datasets.html",
        {
            "dataset": newest,
            "strip": [
                {
                    "title": "Frozen versions",
                    "value": str(newest.number if newest else 0),
                    "note": f"newest {newest.counts['documents']:,} documents" if newest else "none yet",
                    "url": reverse("datasets", args=[project.slug]),
                }
            ],
        },
    )


@register("home", 90)
def contract_panel(project: Project, user: Any) -> Content:
    """What the task promises."""
    version = project.schema_version
    return Content(
        "labeling/panel_contract.html",
        {"contract": project.contract, "version": version, "fields": version.compiled.fields},
    )


@next_step(10)
def label_step(project: Project, user: Any) -> Step | None:
    """Those who label are sent to their queue."""
    waiting = _waiting(state_counts(project))
    if project.role not in (Role.ANNOTATOR, Role.REVIEWER) or not waiting:
        return None
    return Step(_waits(waiting), "Label", reverse("label", args=[project.slug]))


@next_step(12)
def import_step(project: Project, user: Any) -> Step | None:
    """Without documents nothing goes on."""
    if sum(state_counts(project).values()) or "curate" not in project.can:
        return None
    return Step(
        "There are no documents yet. Import some, with or without gold.",
        "Import documents",
        reverse("import", args=[project.slug]),
    )


@next_step(14)
def freeze_step(project: Project, user: Any) -> Step | None:
    """The first labels want to be frozen."""
    counts = state_counts(project)
    if "curate" not in project.can or newest_dataset(project) is not None:
        return None
    labelled = _labelled(counts)
    if not labelled:
        waiting = _waiting(counts)
        return Step(_waits(waiting), "Label", reverse("label", args=[project.slug])) if waiting else None
    return Step(
        f"{labelled:,} document{' is' if labelled == 1 else 's are'} labelled and none frozen yet. Freeze a version to "
        "benchmark and train on.",
        "Freeze a version",
        reverse("datasets", args=[project.slug]),
    )


@next_step(70)
def freeze_again_step(project: Project, user: Any) -> Step | None:
    """Labels that no version has yet."""
    newest = newest_dataset(project)
    if newest is None or "curate" not in project.can:
        return None
    known = newest.counts["documents"] + sum(newest.counts["left_out"].values())
    new = _labelled(state_counts(project)) - known
    if new <= 0:
        return None
    words = "1 label is" if new == 1 else f"{new:,} labels are"
    return Step(f"{words} newer than {newest}.", "Freeze a version", reverse("datasets", args=[project.slug]))


@next_step(90)
def more_labels_step(project: Project, user: Any) -> Step | None:
    """Where nothing else waits, more labels always help."""
    waiting = _waiting(state_counts(project))
    if "label" not in project.can or project.role == Role.MANAGER or not waiting:
        return None
    return Step(_waits(waiting), "Label", reverse("label", args=[project.slug]))


def _waits(count: int) -> str:
    return "1 document waits to be labelled." if count == 1 else f"{count:,} documents wait to be labelled."
