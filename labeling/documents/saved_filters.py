"""Saved views: named filters of the document list, private or shared with the project."""

from collections.abc import Iterable

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q

from labeling.documents.list.filters import read_query
from labeling.models import Project, SavedView
from slmstudio.access import Action, require
from slmstudio.errors import Refused

MAX_VIEWS = 50


def views_for(*, project: Project, user: User) -> Iterable[SavedView]:
    """The views of a user and the shared ones, by name."""
    rows = SavedView.objects.filter(Q(user=user) | Q(shared=True), project=project)
    return rows.select_related("user").order_by("name", "pk")


@transaction.atomic
def save_view(*, project: Project, user: User, name: str, query: str, shared: bool = False) -> SavedView:
    """Saves filters under a name; replaces the user's view of this name.

    ``query`` is a query string; parameters that are not filters are dropped.

    Raises:
        Refused: the name is missing or too long, the query is too long, or the user has fifty views.
    """
    require(project, user, Action.READ)
    name = " ".join(name.replace("\0", "").split())
    if not name:
        raise Refused("Enter a name for the view.")
    if len(query) > 20_000:
        raise Refused("These filters are too long to save.")
    filters = read_query(query, project.schema_version.compiled)
    Project.objects.select_for_update(no_key=True).get(pk=project.pk)
    view = SavedView.objects.filter(project=project, user=user, name=name).first()
    if view is None:
        if SavedView.objects.filter(project=project, user=user).count() >= MAX_VIEWS:
            raise Refused(f"You have {MAX_VIEWS} views. Delete one first.", code="limit")
        view = SavedView(project=project, user=user, name=name)
    view.query, view.shared = filters.query(), shared
    try:
        view.full_clean()
    except ValidationError as error:
        problems = error.message_dict
        raise Refused(
            "The name can have at most 60 characters." if "name" in problems else "These filters are too long to save."
        ) from error
    view.save()
    return view


@transaction.atomic
def delete_view(*, view: SavedView, user: User, can_delete_shared: bool = False) -> None:
    """Deletes a view of the user, or with ``can_delete_shared`` a shared view.

    Raises:
        Refused: the user may not delete it.
    """
    require(view.project, user, Action.READ)
    if view.user_id != user.pk and not (can_delete_shared and view.shared):
        raise Refused("Only its creator or an engineer or owner of the project can delete this view.")
    view.delete()
