"""Saved views: filters of the list of documents that a person keeps under a name, for themselves or for all."""

from collections.abc import Iterable

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q

from labeling.documents.list.filters import read_query
from labeling.models import Project, SavedView
from slmstudio.errors import Refused

MOST_VIEWS = 50


def views_for(*, project: Project, user: User) -> Iterable[SavedView]:
    """A person's own views and those that others share, by name."""
    rows = SavedView.objects.filter(Q(user=user) | Q(shared=True), project=project)
    return rows.select_related("user").order_by("name", "pk")


@transaction.atomic
def save_view(*, project: Project, user: User, name: str, query: str, shared: bool = False) -> SavedView:
    """Keeps filters under a name; a view of this person with the same name is replaced.

    ``query`` is a query string; what of it is no filter is dropped.

    Raises:
        Refused: no name, too long a query, or fifty views already.
    """
    name = " ".join(name.replace("\0", "").split())
    if not name:
        raise Refused("Give the view a name.")
    if len(query) > 20_000:
        raise Refused("These filters are too long to be kept.")
    filters = read_query(query, project.schema_version.compiled)
    Project.objects.select_for_update(no_key=True).get(pk=project.pk)
    view = SavedView.objects.filter(project=project, user=user, name=name).first()
    if view is None:
        if SavedView.objects.filter(project=project, user=user).count() >= MOST_VIEWS:
            raise Refused(f"You keep {MOST_VIEWS} views already. Remove one first.")
        view = SavedView(project=project, user=user, name=name)
    view.query, view.shared = filters.query(), shared
    try:
        view.full_clean()
    except ValidationError as error:
        problems = error.message_dict
        raise Refused(
            "A name has at most 60 characters." if "name" in problems else "These filters are too long to be kept."
        ) from error
    view.save()
    return view


@transaction.atomic
def remove_view(*, view: SavedView, user: User, everybodys: bool = False) -> None:
    """Removes a view of this person's own, or with ``everybodys`` a shared one of somebody else.

    Raises:
        Refused: it is somebody else's.
    """
    if view.user_id != user.pk and not (everybodys and view.shared):
        raise Refused("Only the person who made this view, or an engineer or owner of the project, can remove it.")
    view.delete()
