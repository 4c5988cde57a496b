"""Comments on documents and their fields, and mentions of members."""

import re
from collections.abc import Iterable

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from labeling.integrations.events import emit_document_event
from labeling.models import Comment, Document, Membership, Mention, Project
from slmstudio.access import Action, require
from slmstudio.contract.schema.structure import split
from slmstudio.errors import Refused

MAX_CHARACTERS = 4_000
MAX_COMMENTS = 1_000
MAX_PATH_LENGTH = 300


@transaction.atomic
def add(*, document: Document, user: User, text: str, path: str = "") -> Comment:
    """Adds a comment to a document, or to the field at ``path``. ``@name`` notifies a member.

    Raises:
        Refused: the text is empty or too long, or ``path`` is invalid.
    """
    require(document.project, user, Action.LABEL)
    text = text.replace("\x00", "").strip()
    if not text:
        raise Refused("Enter a comment.", field="text")
    if len(text) > MAX_CHARACTERS:
        raise Refused(f"The comment is {len(text):,} characters long; the maximum is {MAX_CHARACTERS:,}.", field="text")
    _check_text("text", "The comment", text)
    _check_path(path)
    if Comment.objects.filter(document=document).count() >= MAX_COMMENTS:
        raise Refused(f"This document has {MAX_COMMENTS:,} comments, which is the maximum.")
    comment = Comment.objects.create(document=document, user=user, text=text, path=path)
    named = [person for person in _mentioned_members(document.project_id, text) if person != user.pk]
    Mention.objects.bulk_create(Mention(comment=comment, user_id=person) for person in named)
    emit_document_event("comment.added", document, user, comment=comment.pk, path=path)
    return comment


def _check_text(field: str, what: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Refused(f"{what} contains a lone surrogate, which cannot be stored.", field=field) from error


def _check_path(path: str) -> None:
    if not path:
        return
    _check_text("field", "The field", path)
    try:
        steps = split(path)
    except ValueError as error:
        raise Refused("Unknown field.", field="field") from error
    if len(path) > MAX_PATH_LENGTH or None in steps or "\x00" in path:
        raise Refused("Unknown field.", field="field")


def _mentioned_members(project_id: int, text: str) -> list[int]:
    """Keys of the members whose names follow an @, each once."""
    if "@" not in text:
        return []
    members = dict(Membership.objects.filter(project=project_id).values_list("user__username", "user_id"))
    # Longest first: @ana.b is not @ana. A period after a name ends a sentence.
    names = "|".join(re.escape(name) for name in sorted(members, key=len, reverse=True))
    named = re.findall(rf"(?<![\w@.+-])@({names})(?![\w@+-]|\.\w)", text)
    return [members[name] for name in dict.fromkeys(named)]


@transaction.atomic
def resolve(*, comment: Comment, user: User) -> Comment:
    """Resolves a comment, and marks its mentions as read. The first user to resolve it is stored."""
    require(comment.document.project, user, Action.LABEL)
    now = timezone.now()
    if Comment.objects.filter(pk=comment.pk, resolved_at=None).update(resolved_at=now, resolved_by=user):
        Mention.objects.filter(comment=comment, read_at=None).update(read_at=now)
    comment.refresh_from_db()
    return comment


def threads(*, document: Document) -> list[Comment]:
    """All comments of a document: open ones first, then by age."""
    rows = Comment.objects.filter(document=document).select_related("user", "resolved_by").order_by("pk")
    return sorted(rows[:MAX_COMMENTS], key=lambda comment: comment.resolved_at is not None)


def mentions(*, project: Project, user: User) -> QuerySet[Mention]:
    """A user's mentions in a project, newest first."""
    rows = Mention.objects.filter(user=user, comment__document__project=project)
    return rows.select_related("comment__user", "comment__document").order_by("-pk")


def member_names(project: Project) -> list[str]:
    """User names of the members, who can be mentioned."""
    rows = Membership.objects.filter(project=project).order_by("user__username")
    return list(rows.values_list("user__username", flat=True))


def unread_count(*, project: Project, user: User) -> int:
    """The number of a user's unread mentions."""
    return Mention.objects.filter(user=user, read_at=None, comment__document__project=project).count()


def mark_read(*, user: User, mentions: Iterable[Mention]) -> None:
    """Marks unread ones of a user's mentions as read. The objects stay as they were read, to show what is new."""
    unread = [mention.pk for mention in mentions if mention.read_at is None]
    if unread:
        Mention.objects.filter(pk__in=unread, user=user).update(read_at=timezone.now())
