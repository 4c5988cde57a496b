"""The page of an invitation, and the parts of the settings page that invite people and give groups roles."""

from django.contrib import messages
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST

from labeling.models import GroupRole, Invitation
from labeling.projects import groups, invitations
from labeling.projects.settings_forms import GroupForm, InvitationForm
from labeling.projects.settings_views import settings_page
from slmstudio.access import Action, object_for, project_for
from slmstudio.accounts.adapters import INVITATION
from slmstudio.accounts.step_up import step_up
from slmstudio.errors import Refused
from slmstudio.web.forms import FieldErrors
from slmstudio.web.requests import SignedInRequest


@login_not_required
@require_http_methods(["GET", "POST"])
def invitation(request: HttpRequest, secret: str) -> HttpResponse:
    """What the link leads to: signed in, a button to join; otherwise sign-in and a new account. POST joins."""
    try:
        invited = invitations.by_secret(secret)
        if request.method == "POST" and request.user.is_authenticated:
            joined = invitations.accept(secret=secret, user=request.user)
            messages.success(request, f"Welcome to {joined.project.name}. Your role is {joined.role}.")
            request.session.pop(INVITATION, None)
            return redirect("project", joined.project.slug)
    except Refused as refusal:
        context = {"title": "This invitation cannot be used", "text": refusal.message, "status": 410}
        return render(request, "error.html", context, status=410)
    request.session[INVITATION] = secret
    here = {"next": request.path}
    context = {
        "invitation": invited,
        "sign_up": reverse("account_signup", query=here),
        "sign_in": reverse("account_login", query=here),
    }
    return render(request, "labeling/projects/invitation.html", context)


@require_POST
@step_up
def invite(request: SignedInRequest, slug: str) -> HttpResponse:
    """Creates an invitation and shows its link, once."""
    project = project_for(request.user, slug, Action.ADMINISTER)
    form = InvitationForm(request.POST, auto_id="invitation_%s")
    if form.is_valid():
        with FieldErrors(form):
            made, secret = invitations.invite(project=project, by=request.user, **form.cleaned_data)
            address = invitations.link(request, secret)
            return settings_page(request, project, made=(made, address, invitations.send(made, address)))
    return settings_page(request, project, invitation=form)


@require_POST
def revoke_invitation(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """Revokes an invitation."""
    _, row = object_for(request.user, slug, Action.ADMINISTER, Invitation, pk=pk)
    invitations.revoke(invitation=row, by=request.user)
    messages.success(request, "The invitation was revoked.")
    return redirect("settings", slug)


@require_POST
@step_up
def add_group(request: SignedInRequest, slug: str) -> HttpResponse:
    """Gives a group a role."""
    project = project_for(request.user, slug, Action.ADMINISTER)
    form = GroupForm(request.POST, auto_id="group_%s")
    if form.is_valid():
        with FieldErrors(form):
            row = groups.add(project=project, by=request.user, **form.cleaned_data)
            messages.success(request, f"Members of {row.group} have the role {row.role}.")
            return redirect("settings", slug)
    return settings_page(request, project, group=form)


@require_POST
@step_up
def remove_group(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """Removes a group."""
    _, row = object_for(request.user, slug, Action.ADMINISTER, GroupRole, pk=pk)
    groups.remove(row=row, by=request.user)
    messages.success(request, f"{row.group} was removed. Its members lose the role.")
    return redirect("settings", slug)
