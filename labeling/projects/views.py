"""The list of projects, and the home page of a project."""

from typing import Any

from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.views.decorators.http import require_http_methods, require_safe

from labeling.documents.list.counts import state_counts
from labeling.projects import queries
from labeling.projects.forms import ProjectForm
from labeling.projects.services import ProjectError, create_own_project
from slmstudio import panels
from slmstudio.access import Action, project_for
from slmstudio.accounts import global_permissions
from slmstudio.web.requests import SignedInRequest, is_htmx


@require_http_methods(["GET", "HEAD", "POST"])
def projects(request: SignedInRequest) -> HttpResponse:
    """The projects of a user, and the form for a new one if the user can create projects."""
    may_create = global_permissions.may_create_projects(request.user)
    form = ProjectForm(request.POST) if request.method == "POST" else ProjectForm()
    if request.method == "POST" and form.is_valid():
        data = form.cleaned_data
        try:
            project = create_own_project(
                owner=request.user, name=data["name"], slug=data["slug"], template=data["template"]
            )
        except ProjectError as error:
            for name, message in error.errors.items():
                form.add_error(name if name in form.fields else None, message)
        else:
            return redirect("contract", project.slug)
    archived = "archived" in request.GET
    memberships, has_archived = queries.project_list(request.user, archived=archived)
    context = {
        "memberships": memberships,
        "archived": archived,
        "has_archived": has_archived,
        "form": form,
        "open_form": request.method == "POST" or (may_create and "new" in request.GET),
        "may_create": may_create,
        "who_grants": "" if may_create else global_permissions.permission_granter(),
    }
    return render(request, "labeling/projects/list.html", context, status=422 if form.errors else 200)


@require_safe
def home(request: SignedInRequest, slug: str) -> HttpResponse:
    """The home page: panels of all apps, and the next steps of the user. It refreshes itself."""
    project = project_for(request.user, slug, Action.READ)
    drawn = panels.render_panels("home", project, request.user)
    context: dict[str, Any] = {
        "project": project,
        "strip": [cell for content in drawn for cell in content.context.get("strip", [])],
        "panels": _render(request, drawn, project=project),
        "steps": panels.next_steps_for(project, request.user),
        "has_documents": bool(state_counts(project).total.number),
    }
    part = "#live" if is_htmx(request) and request.GET.get("part") == "live" else ""
    return render(request, f"labeling/projects/home.html{part}", context)


def _render(request: SignedInRequest, drawn: list[panels.PanelContent], **more: Any) -> list[str]:
    return [
        render_to_string(content.template, {**content.context, **more}, request=request)
        for content in drawn
        if content.template
    ]
