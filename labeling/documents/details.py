"""The parts of a document's page: its label, predictions and history."""

from typing import Any

from django.contrib.auth.models import User

from labeling.annotation.diffs import field_changes
from labeling.form.codec import Parsed
from labeling.form.highlights import HighlightedText, highlight
from labeling.form.tree import form_for, tree_of
from labeling.form.validation import check
from labeling.models import Annotation, Document, DocumentScore, Gold, Page, Prediction, Project
from labeling.models.documents import LABELED_STATES
from slmstudio.contract.scoring.scorer import count_differences

MAX_CHANGES = 30
MAX_PREDICTIONS = 20
MAX_REVIEWS = 10
#: longer texts are shown with stored evidence only; values are not searched for in them
LONG_TEXT = 200_000


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
                shown["wrong"], shown["fields"] = count_differences(compiled, label["value"], row.value)
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
