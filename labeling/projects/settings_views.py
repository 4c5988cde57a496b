"""The settings page: members, workflow, tokens and webhooks. For owners."""

from typing import Any

from django.contrib import messages
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST

from labeling.integrations import tokens
from labeling.models import Invitation, Membership, Project
from labeling.projects import lifecycle, members, service_accounts
from labeling.projects.settings_forms import (
    GroupForm,
    InvitationForm,
    MemberForm,
    RenameForm,
    ServiceAccountForm,
    WorkflowForm,
)
from slmstudio import quotas
from slmstudio.access import Action, Role, object_for, project_for
from slmstudio.accounts.step_up import step_up
from slmstudio.errors import Refused
from slmstudio.web.forms import FieldErrors
from slmstudio.web.requests import SignedInRequest


@require_http_methods(["GET", "POST"])
def settings(request: SignedInRequest, slug: str) -> HttpResponse:
    """The page; POST changes the workflow settings."""
    project = project_for(request.user, slug, Action.ADMINISTER)
    if request.method == "GET":
        return settings_page(request, project)
    form = WorkflowForm(request.POST)
    if form.is_valid():
        with FieldErrors(form):
            members.change_settings(project=project, by=request.user, values=form.values())
            messages.success(request, "Settings saved.")
            return redirect("settings", slug)
    return settings_page(request, project, work=form)


@require_POST
@step_up
def add_member(request: SignedInRequest, slug: str) -> HttpResponse:
    """Adds a member."""
    project = project_for(request.user, slug, Action.ADMINISTER)
    form = MemberForm(request.POST)
    if form.is_valid():
        with FieldErrors(form):
            added = members.add(project=project, by=request.user, **form.cleaned_data)
            messages.success(request, f"{added.user.get_username()} was added as {added.role}.")
            return redirect("settings", slug)
    return settings_page(request, project, member=form)


@require_POST
@step_up
def add_service_account(request: SignedInRequest, slug: str) -> HttpResponse:
    """Adds a service account, and leads to its tokens."""
    project = project_for(request.user, slug, Action.ADMINISTER)
    form = ServiceAccountForm(request.POST, auto_id="service_%s")
    if form.is_valid():
        with FieldErrors(form):
            account = service_accounts.create(project=project, by=request.user, **form.cleaned_data)
            messages.success(request, f"{account.user.get_username()} was added. Create a token for it.")
            return redirect(reverse("tokens", args=[slug], query={"account": account.pk}))
    return settings_page(request, project, service=form)


@require_POST
@step_up
def change_member(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """Changes the role of a member."""
    project, membership = object_for(request.user, slug, Action.ADMINISTER, Membership, pk=pk)
    try:
        changed = members.change_role(membership=membership, by=request.user, role=request.POST.get("role", ""))
    except Refused as refusal:
        return settings_page(request, project, refused=(membership.pk, refusal.message))
    messages.success(request, f"{changed.user.get_username()} now has the role {changed.role}.")
    if changed.user == request.user and changed.role != Role.OWNER:
        return redirect("project", slug)
    return redirect("settings", slug)


@require_POST
@step_up
def remove_member(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """Removes a member, or leaves the project."""
    project, membership = object_for(request.user, slug, Action.ADMINISTER, Membership, pk=pk)
    name = membership.user.get_username()
    try:
        members.remove(membership=membership, by=request.user)
    except Refused as refusal:
        return settings_page(request, project, refused=(membership.pk, refusal.message))
    if membership.user == request.user:
        messages.success(request, f"You left {project.name}.")
        return redirect("projects")
    messages.success(request, f"{name} was removed from the project. Their labels are kept.")
    return redirect("settings", slug)


def _roles_for(row: Membership, viewer: User) -> list[tuple[str, str]]:
    """The roles that the viewer can give a member."""
    allowed = members.self_assignable_roles(row.role) if row.user_id == viewer.pk else Role.values
    return [(value, label) for value, label in Role.choices if value in allowed]


def settings_page(
    request: SignedInRequest,
    project: Project,
    refused: tuple[int, str] | None = None,
    made: tuple[Invitation, str, bool] | None = None,
    **forms: Any,
) -> HttpResponse:
    """The page; 422 if a form or ``refused`` (a member and a message) has an error. ``made``: a new invitation, its
    link, and whether it was sent.
    """
    context = {
        "project": project,
        "work": forms.get("work") or WorkflowForm.of(project),
        "member": forms.get("member") or MemberForm(),
        "invitation": forms.get("invitation") or InvitationForm(auto_id="invitation_%s"),
        "invitations": project.invitations.open(),
        "made": made,
        "service": forms.get("service") or ServiceAccountForm(auto_id="service_%s"),
        "group": forms.get("group") or GroupForm(auto_id="group_%s"),
        "groups": project.group_roles.order_by("group"),
        "people": [
            (row, refused[1] if refused and refused[0] == row.pk else "", _roles_for(row, request.user))
            for row in project.memberships.by_name()
        ],
        "tokens": tokens.active_tokens(project),
        "limits": [quotas.storage(project), quotas.compute(project)],
        "webhooks": project.webhooks.order_by("pk"),
        "rename": forms.get("rename") or RenameForm(initial={"name": project.name}, auto_id="rename_%s"),
        "use": lifecycle.use_of(project),
    }
    return render(
        request, "labeling/projects/settings.html", context, status=200 if made or not (refused or forms) else 422
    )
