"""The parts of a document's page: its label, predictions and history."""

from typing import Any

from django.contrib.auth.models import User

from labeling.annotation.diffs import field_changes
from labeling.annotation.locked_document import is_blind_overlap, newest_decision
from labeling.annotation.predictions import difference
from labeling.form.codec import Parsed
from labeling.form.highlights import HighlightedText, highlight
from labeling.form.tree import form_for, tree_of
from labeling.form.validation import check
from labeling.models import Annotation, AnnotationRevision, Document, DocumentScore, Gold, Page, Prediction, Project
from labeling.models.documents import LABELED_STATES, QUEUE
from slmstudio.access import Action, Role, may

MAX_REVISIONS = 50
MAX_CHANGES = 30
MAX_PREDICTIONS = 20
MAX_REVIEWS = 10
#: longer texts are shown with stored evidence only; values are not searched for in them
LONG_TEXT = 200_000


def sees_own_only(project: Project, document: Document) -> bool:
    """Whether the user labels this document independently, and must not see the labels of others."""
    if document.wanted == 1 or may(project.role, Action.REVIEW):
        return False
    if project.role == Role.MANAGER and document.state not in QUEUE:
        return False  # the labels of others can no longer be copied
    decision = Document.objects.filter(pk=document.pk).values_list(newest_decision(document), flat=True).first()
    return is_blind_overlap(document, decision)


def displayed_label(project: Project, document: Document, user: User, own: bool) -> dict[str, Any]:
    """The label on the page: the gold label, else the last one saved; with the text and its highlighted evidence."""
    gold = None if own else _gold(project, document)
    annotation = None
    if gold is None:
        rows = Annotation.objects.filter(document=document).select_related("user", "schema_version")
        rows = rows.filter(user=user) if own else rows
        annotation = rows.order_by("-schema_version__number", "-version", "-updated_at").first()
    source = gold.revision if gold is not None else annotation
    if source is None:
        return {"gold": None, "annotation": None, "text": highlight(document.text, {}, tree_of(_compiled(project)))}
    holder: Any = gold if gold is not None else annotation
    version = holder.schema_version
    value = version.compiled.ordered(source.value)
    return {
        "gold": gold,
        "annotation": annotation,
        "value": value,
        "label_form": form_for(version.compiled, value, read_only=True),
        "schema_version": version,
        "text": _marked(document, version.compiled, value, source.evidence),
    }


def _compiled(project: Project) -> Any:
    return project.schema_version.compiled


def _gold(project: Project, document: Document) -> Gold | None:
    rows = Gold.objects.current(project).filter(document=document)
    gold: Gold | None = rows.select_related("revision", "schema_version", "approved_by").first()
    return gold


def _marked(document: Document, compiled: Any, value: Any, evidence: dict[str, Any]) -> HighlightedText:
    if len(document.text) <= LONG_TEXT:
        # Imports have no evidence; stored evidence is kept.
        evidence = check(compiled, Parsed(value), document.text, evidence).evidence
    return highlight(document.text, evidence, tree_of(compiled))


def predictions_with_diff(document: Document, label: dict[str, Any]) -> list[dict[str, Any]]:
    """Predictions, the newest first, each compared with the label.

    Until the document is labeled, withheld predictions stay hidden (to measure automation bias), and hold-out documents
    show none. A skipped document can still be labeled.
    """
    is_unlabeled = document.state not in LABELED_STATES
    if document.holdout and is_unlabeled:
        return []
    rows = Prediction.objects.filter(document=document).select_related("schema_version").order_by("-id")
    shown_rows = []
    for row in rows[:MAX_PREDICTIONS]:
        hidden = row.withheld and is_unlabeled
        shown: dict[str, Any] = {"row": row, "hidden": hidden}
        if not hidden and row.value is not None:
            compiled = row.schema_version.compiled
            shown["value"] = compiled.ordered(row.value)
            if label.get("value") is not None and row.schema_version_id == label["schema_version"].pk:
                shown["wrong"], shown["fields"] = difference(compiled, label["value"], row.value)
                shown["changes"] = field_changes(shown["value"], label["value"])[:MAX_CHANGES]
        shown_rows.append(shown)
    return shown_rows


def related(document: Document) -> dict[str, Any]:
    """The page images, last score, reviews and dataset versions of a document."""
    pages = Page.objects.filter(document=document).exclude(image_key="").order_by("number")
    return {
        "pages": pages if document.page_count else [],
        "score": DocumentScore.objects.filter(document=document).first(),
        "reviews": document.reviews.select_related("reviewer").order_by("-pk")[:MAX_REVIEWS],
        "items": document.dataset_items.select_related("dataset").order_by("-dataset__number"),
    }


def history(document: Document, user: User, own: bool) -> list[dict[str, Any]]:
    """The last fifty revisions, each with its changes to the previous one (of the same user, with overlap)."""
    rows = AnnotationRevision.objects.of(document)
    rows = rows.filter(annotation__user=user) if own else rows
    revisions = list(rows.order_by("-pk")[: MAX_REVISIONS + 1])
    steps = []
    for place, revision in enumerate(revisions[:MAX_REVISIONS]):
        earlier = _previous(revision, revisions[place + 1 :], has_overlap=document.wanted > 1)
        compiled = revision.annotation.schema_version.compiled
        changed = field_changes(earlier.value if earlier is not None else {}, compiled.ordered(revision.value))
        steps.append({"revision": revision, "changes": changed[:MAX_CHANGES], "more": len(changed) - MAX_CHANGES})
    return steps


def _previous(
    revision: AnnotationRevision, older: list[AnnotationRevision], *, has_overlap: bool
) -> AnnotationRevision | None:
    """The revision that another is based on, among older ones (newest first). A reviewer's is based on any user's."""
    newest = older[0] if older else None
    if not has_overlap:
        return newest
    own = next((other for other in older if other.annotation.user_id == revision.annotation.user_id), None)
    written = revision.action in (AnnotationRevision.Action.DRAFT, AnnotationRevision.Action.SUBMIT)
    return own if own is not None or written else newest
