"""Saved views: save and delete."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_POST

from labeling.documents import saved_filters
from labeling.models import SavedView
from slmstudio.access import Action, object_for, project_for
from slmstudio.errors import Refused
from slmstudio.web.requests import SignedInRequest


@require_POST
def save(request: SignedInRequest, slug: str) -> HttpResponse:
    """Saves the filters of a query string under a name."""
    project = project_for(request.user, slug, Action.READ)
    query = request.POST.get("query", "")
    try:
        view = saved_filters.save_view(
            project=project,
            user=request.user,
            name=request.POST.get("name", ""),
            query=query,
            shared=request.POST.get("shared") == "on",
        )
    except Refused as refusal:
        messages.error(request, str(refusal))
    else:
        query = view.query
        audience = "for all members" if view.shared else "for you"
        messages.success(request, f"The view {view.name} was saved {audience}.")
    return redirect(_list(slug, query[:2000]))


@require_POST
def delete(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """Deletes a view; its filters stay in the URL."""
    project, view = object_for(request.user, slug, Action.READ, SavedView, pk=pk)
    try:
        saved_filters.delete_view(view=view, user=request.user, can_delete_shared=Action.CURATE in project.can)
    except Refused as refusal:
        messages.error(request, str(refusal))
    else:
        messages.success(request, f"The view {view.name} was deleted.")
    return redirect(_list(slug, view.query))


def _list(slug: str, query: str) -> str:
    return f"{reverse('documents', args=[slug])}{'?' + query if query else ''}"
