"""The next steps that the work between people brings: a mention, a label that was sent back, reviews that wait."""

from django.contrib.auth.models import User
from django.urls import reverse
from django.utils.translation import ngettext

from labeling.comments import services as comment_services
from labeling.documents.list.search import TooSlow, within
from labeling.models import Document, DocumentState, Project
from labeling.review import adjudication
from labeling.review import services as review_services
from slmstudio.panels import NextStep, next_step
from slmstudio.web.paging import Counted, count

MOST_COUNTED = 1_000
MOST_MS = 8.0


@next_step(5)
def mention_step(project: Project, user: User) -> NextStep | None:
    """Somebody asks this person something."""
    unread = comment_services.unread(project=project, user=user)
    if not unread:
        return None
    words = ngettext("comment", "comments", unread)
    return NextStep(
        f"You are mentioned in {unread:,} {words} that you have not read.",
        "Read",
        reverse("mentions", args=[project.slug]),
    )


@next_step(6)
def sent_back_step(project: Project, user: User) -> NextStep | None:
    """A reviewer sent a label of this person back."""
    back = Document.objects.filter(project=project, assigned_to=user, state=DocumentState.REJECTED)
    found = count(back, MOST_COUNTED)
    if not found.number:
        return None
    words = ngettext("label of yours was", "labels of yours were", found.number)
    return NextStep(
        f"{found.number:,} {words} sent back with a reason.", "Correct", reverse("label", args=[project.slug])
    )


@next_step(8)
def review_step(project: Project, user: User) -> NextStep | None:
    """What waits for a reviewer."""
    if "review" not in project.can:
        return None
    labels = _waiting(project)
    if labels.number:
        more = "More than " if labels.more else ""
        words = ngettext("label waits", "labels wait", labels.number)
        return NextStep(
            f"{more}{labels.number:,} {words} for a review.", "Review", reverse("review", args=[project.slug])
        )
    disputes = count(adjudication.disputed(project), MOST_COUNTED)
    if disputes.number:
        words = ngettext("document is", "documents are", disputes.number)
        url = f"{reverse('review', args=[project.slug])}?show=disputed"
        return NextStep(f"{disputes.number:,} {words} labelled differently by several people.", "Adjudicate", url)
    return None


def _waiting(project: Project) -> Counted:
    """Labels that wait for a review. Where all do an index counts them; else few do, among those reviewed earlier."""
    if project.review_required:
        return count(review_services.waiting(project), MOST_COUNTED)
    try:
        with within(MOST_MS):
            return count(review_services.waiting(project), MOST_COUNTED)
    except TooSlow:  # very many of an earlier time: the page of reviews tells
        return Counted(0, more=False)
