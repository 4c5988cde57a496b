"""Next steps on the project page: rejected labels, pending reviews and conflicts, mentions."""

from django.contrib.auth.models import User
from django.urls import reverse
from django.utils.translation import ngettext

from labeling.comments import services as comment_services
from labeling.models import Document, DocumentState, Project
from labeling.review import queries as review_queries
from slmstudio.database.transactions import StatementTimeout, statement_timeout
from slmstudio.panels import NextStep, next_step
from slmstudio.web.paging import ApproximateCount, count

MAX_COUNTED = 1_000
MAX_MILLISECONDS = 8.0


@next_step(6)
def sent_back_step(project: Project, user: User) -> NextStep | None:
    """Rejected labels of the user."""
    back = Document.objects.filter(project=project, assigned_to=user, state=DocumentState.REJECTED)
    rejected = count(back, MAX_COUNTED)
    if not rejected.number:
        return None
    words = ngettext("of your labels was", "of your labels were", rejected.number)
    return NextStep(
        f"{rejected.number:,} {words} rejected, with a reason.", "Correct", reverse("label", args=[project.slug])
    )


@next_step(7)
def review_step(project: Project, user: User) -> NextStep | None:
    """Labels to review."""
    if "review" not in project.can:
        return None
    labels = _waiting(project)
    if not labels.number:
        return None
    text = f"{labels} {ngettext('label is', 'labels are', labels.number)} pending review."
    return NextStep(text[0].upper() + text[1:], "Review", reverse("review", args=[project.slug]))


@next_step(8)
def conflict_step(project: Project, user: User) -> NextStep | None:
    """Conflicts to adjudicate."""
    if "review" not in project.can:
        return None
    conflicts = count(review_queries.pending_adjudication(project), MAX_COUNTED)
    if not conflicts.number:
        return None
    text = f"{conflicts} {ngettext('document has', 'documents have', conflicts.number)} conflicting labels."
    url = f"{reverse('review', args=[project.slug])}?show=disputed"
    return NextStep(text[0].upper() + text[1:], "Adjudicate", url)


@next_step(9)
def mention_step(project: Project, user: User) -> NextStep | None:
    """Unread mentions."""
    unread = comment_services.unread_count(project=project, user=user)
    if not unread:
        return None
    words = ngettext("comment", "comments", unread)
    return NextStep(
        f"You are mentioned in {unread:,} unread {words}.",
        "Read",
        reverse("mentions", args=[project.slug]),
    )


def _waiting(project: Project) -> ApproximateCount:
    """Labels to review. An index counts them if every label needs a review; otherwise there are few."""
    if project.review_required:
        return count(review_queries.pending_review(project), MAX_COUNTED)
    try:
        with statement_timeout(MAX_MILLISECONDS):
            return count(review_queries.pending_review(project), MAX_COUNTED)
    except StatementTimeout:  # very many reviewed earlier: the review page counts them
        return ApproximateCount(0)
