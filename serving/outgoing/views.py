"""The page of the connections that carry data of a project out of the studio."""

from django.conf import settings
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from serving.outgoing import connections
from slmstudio.access import Action, project_for
from slmstudio.web.requests import SignedInRequest


@require_GET
def outgoing(request: SignedInRequest, slug: str) -> HttpResponse:
    """Connections of the project, and of the installation."""
    project = project_for(request.user, slug, Action.ADMINISTER)
    context = {
        "project": project,
        "own": connections.of_project(project),
        "shared": connections.of_installation(),
        "listed": settings.OUTBOUND_HOSTS,
    }
    return render(request, "serving/outgoing.html", context)
