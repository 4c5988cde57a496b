"""Saved views of the list of documents."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_POST

from labeling.documents import saved_views
from labeling.models import SavedView
from slmstudio.access import Action, object_for, project_for
from slmstudio.errors import Refused
from slmstudio.web.requests import SignedInRequest


@require_POST
def save(request: SignedInRequest, slug: str) -> HttpResponse:
    """Keeps the filters of an address under a name."""
    project = project_for(request.user, slug, Action.READ)
    query = request.POST.get("query", "")
    try:
        view = saved_views.save_view(
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
        whom = "for all members" if view.shared else "for you"
        messages.success(request, f"The view {view.name} is kept {whom}.")
    return redirect(_list(slug, query[:2000]))


@require_POST
def remove(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """Removes a view; its filters stay in the address."""
    project, view = object_for(request.user, slug, Action.READ, SavedView.objects.all(), pk=pk)
    try:
        saved_views.remove_view(view=view, user=request.user, everybodys=Action.CURATE in project.can)
    except Refused as refusal:
        messages.error(request, str(refusal))
    else:
        messages.success(request, f"The view {view.name} was removed.")
    return redirect(_list(slug, view.query))


def _list(slug: str, query: str) -> str:
    return f"{reverse('documents', args=[slug])}{'?' + query if query else ''}"
