"""What a document's page is made of: the label that counts, what models proposed, who changed what."""

from typing import Any

from django.contrib.auth.models import User

from labeling.annotation.diffs import field_changes
from labeling.annotation.locked_document import is_blind_overlap, newest_decision
from labeling.annotation.predictions import difference
from labeling.form.codec import Parsed
from labeling.form.highlights import HighlightedText, highlight
from labeling.form.tree import form_for, tree_of
from labeling.form.validation import check
from labeling.models import Annotation, AnnotationRevision, Document, Gold, Prediction, Project
from labeling.models.documents import LABELED_STATES, QUEUE
from slmstudio.access import Action, Role, may

MOST_REVISIONS = 50
MOST_CHANGES = 30
MOST_PREDICTIONS = 20
#: longer texts are shown with the evidence that was stored alone: nothing is looked for in them
LONG_TEXT = 200_000


def only_own(project: Project, document: Document) -> bool:
    """Whether this person labels the document unseen by others, and so must not see what others wrote."""
    if document.wanted == 1 or may(project.role, Action.REVIEW):
        return False
    if project.role == Role.MANAGER and document.state not in QUEUE:
        return False  # what others wrote can no longer be copied
    decision = Document.objects.filter(pk=document.pk).values_list(newest_decision(document), flat=True).first()
    return is_blind_overlap(document, decision)


def label_of(project: Project, document: Document, user: User, own: bool) -> dict[str, Any]:
    """The label that the page shows: gold, else what was saved last; with the text marked where its values stand."""
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
    found: Gold | None = rows.select_related("revision", "schema_version", "approved_by").first()
    return found


def _marked(document: Document, compiled: Any, value: Any, evidence: dict[str, Any]) -> HighlightedText:
    if len(document.text) <= LONG_TEXT:
        # An import brings no evidence; what people chose is kept.
        evidence = check(compiled, Parsed(value), document.text, evidence).evidence
    return highlight(document.text, evidence, tree_of(compiled))


def proposals(document: Document, label: dict[str, Any]) -> list[dict[str, Any]]:
    """What models proposed, the newest first, each held against the label. What is withheld stays so until the document
    is labelled: seen by whoever labels it, it could no longer be compared with what people write by themselves. Of a
    document that is held out nothing is said until then. One that was skipped can still be labelled.
    """
    waits = document.state not in LABELED_STATES
    if document.holdout and waits:
        return []
    rows = Prediction.objects.filter(document=document).select_related("schema_version").order_by("-id")
    found = []
    for row in rows[:MOST_PREDICTIONS]:
        hidden = row.withheld and waits
        shown: dict[str, Any] = {"row": row, "hidden": hidden}
        if not hidden and row.value is not None:
            compiled = row.schema_version.compiled
            shown["value"] = compiled.ordered(row.value)
            if label.get("value") is not None and row.schema_version_id == label["schema_version"].pk:
                shown["wrong"], shown["fields"] = difference(compiled, label["value"], row.value)
                shown["changes"] = field_changes(shown["value"], label["value"])[:MOST_CHANGES]
        found.append(shown)
    return found


def history(document: Document, user: User, own: bool) -> list[dict[str, Any]]:
    """The newest fifty saves, each with the fields it changed against the one before it: of the same person, where
    several label the document unseen by each other.
    """
    rows = AnnotationRevision.objects.filter(annotation__document=document)
    rows = rows.filter(annotation__user=user) if own else rows
    revisions = list(rows.select_related("user", "annotation__schema_version").order_by("-pk")[: MOST_REVISIONS + 1])
    steps = []
    for place, revision in enumerate(revisions[:MOST_REVISIONS]):
        earlier = _before(revision, revisions[place + 1 :], apart=document.wanted > 1)
        compiled = revision.annotation.schema_version.compiled
        changed = field_changes(earlier.value if earlier is not None else {}, compiled.ordered(revision.value))
        steps.append({"revision": revision, "changes": changed[:MOST_CHANGES], "more": len(changed) - MOST_CHANGES})
    return steps


def _before(revision: AnnotationRevision, older: list[AnnotationRevision], *, apart: bool) -> AnnotationRevision | None:
    """What a revision was made from, of those before it, the newest first. A reviewer's own starts from the others'."""
    newest = older[0] if older else None
    if not apart:
        return newest
    own = next((other for other in older if other.annotation.user_id == revision.annotation.user_id), None)
    written = revision.action in (AnnotationRevision.Action.DRAFT, AnnotationRevision.Action.SUBMIT)
    return own if own is not None or written else newest
