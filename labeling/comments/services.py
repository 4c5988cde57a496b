"""Comments on documents and their fields, who is mentioned in them, and who has not seen it yet."""

import re

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from labeling.integrations.events import tell
from labeling.models import Comment, Document, Membership, Mention, Project
from slmstudio.contract.schema.structure import split
from slmstudio.errors import Refused

MOST_CHARACTERS = 4_000
MOST_COMMENTS = 1_000
MOST_PATH = 300

__all__ = ["add", "mentions", "read", "resolve", "threads", "unread"]


@transaction.atomic
def add(*, document: Document, user: User, text: str, path: str = "") -> Comment:
    """Says something about a document, or about the field at ``path``. ``@name`` of a member tells them.

    Raises:
        Refused: nothing is said, or too much, or ``path`` is none.
    """
    text = text.replace("\x00", "").strip()
    if not text:
        raise Refused("Write something first.")
    if len(text) > MOST_CHARACTERS:
        raise Refused(f"The comment is {len(text):,} characters long; {MOST_CHARACTERS:,} are possible.")
    _check_text("The comment", text)
    _check_path(path)
    if Comment.objects.filter(document=document).count() >= MOST_COMMENTS:
        raise Refused(f"This document has {MOST_COMMENTS:,} comments already; no more are taken.")
    comment = Comment.objects.create(document=document, user=user, text=text, path=path)
    named = [person for person in _named(document.project_id, text) if person != user.pk]
    Mention.objects.bulk_create(Mention(comment=comment, user_id=person) for person in named)
    tell("comment.added", document, user, comment=comment.pk, path=path)
    return comment


def _check_text(what: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Refused(f"{what} holds half a character (a lone surrogate), which cannot be stored.") from error


def _check_path(path: str) -> None:
    if not path:
        return
    _check_text("The field", path)
    try:
        steps = split(path)
    except ValueError as error:
        raise Refused("There is no such field.") from error
    if len(path) > MOST_PATH or None in steps or "\x00" in path:
        raise Refused("There is no such field.")


def _named(project_id: int, text: str) -> list[int]:
    """Keys of the members whose names stand behind an @, at most all of them once."""
    if "@" not in text:
        return []
    members = dict(Membership.objects.filter(project=project_id).values_list("user__username", "user_id"))
    # The longest first, so that @ana.b is not @ana; a full stop behind a name ends a sentence.
    names = "|".join(re.escape(name) for name in sorted(members, key=len, reverse=True))
    found = re.findall(rf"(?<![\w@.+-])@({names})(?![\w@+-]|\.\w)", text)
    return [members[name] for name in dict.fromkeys(found)]


@transaction.atomic
def resolve(*, comment: Comment, user: User) -> Comment:
    """Marks a comment as settled; the first to do so is remembered. Mentions in it need no reading any more."""
    now = timezone.now()
    if Comment.objects.filter(pk=comment.pk, resolved_at=None).update(resolved_at=now, resolved_by=user):
        Mention.objects.filter(comment=comment, read_at=None).update(read_at=now)
    comment.refresh_from_db()
    return comment


def threads(*, document: Document) -> list[Comment]:
    """All comments of a document, the open ones first, then by age."""
    rows = Comment.objects.filter(document=document).select_related("user", "resolved_by").order_by("pk")
    return sorted(rows[:MOST_COMMENTS], key=lambda comment: comment.resolved_at is not None)


def mentions(*, project: Project, user: User) -> QuerySet[Mention]:
    """Where a person is mentioned in a project, the newest first."""
    rows = Mention.objects.filter(user=user, comment__document__project=project)
    return rows.select_related("comment__user", "comment__document").order_by("-pk")


def unread(*, project: Project, user: User) -> int:
    """How often a person is mentioned and has not seen it."""
    return Mention.objects.filter(user=user, read_at=None, comment__document__project=project).count()


def read(*, project: Project, user: User, mention: int | None = None) -> int:
    """Marks a person's mentions (one of them, or all in the project) as read. Returns how many were not."""
    rows = Mention.objects.filter(user=user, read_at=None, comment__document__project=project)
    if mention is not None:
        rows = rows.filter(pk=mention)
    changed: int = rows.update(read_at=timezone.now())
    return changed
