"""Renaming and archiving a project: forms of its settings page."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_POST

from labeling.projects import lifecycle
from labeling.projects.settings_forms import RenameForm
from labeling.projects.settings_views import settings_page
from slmstudio.access import Action, project_for
from slmstudio.accounts.step_up import step_up
from slmstudio.web.forms import FieldErrors, RefusalMessage
from slmstudio.web.requests import SignedInRequest


@require_POST
def rename(request: SignedInRequest, slug: str) -> HttpResponse:
    """Gives the project another name."""
    project = project_for(request.user, slug, Action.ADMINISTER)
    form = RenameForm(request.POST, auto_id="rename_%s")
    if form.is_valid():
        with FieldErrors(form):
            lifecycle.rename(project=project, by=request.user, **form.cleaned_data)
            messages.success(request, "Name saved.")
            return _to_settings(slug)
    return settings_page(request, project, rename=form)


@require_POST
@step_up
def archive(request: SignedInRequest, slug: str) -> HttpResponse:
    """Makes the project read-only."""
    project = project_for(request.user, slug, Action.ADMINISTER)
    with RefusalMessage(request):
        lifecycle.archive(project=project, by=request.user)
    return _to_settings(slug)


@require_POST
@step_up
def restore(request: SignedInRequest, slug: str) -> HttpResponse:
    """Makes the project editable again."""
    project = project_for(request.user, slug, Action.ADMINISTER)
    with RefusalMessage(request):
        lifecycle.restore(project=project, by=request.user)
        messages.success(request, "The project is restored.")
    return _to_settings(slug)


def _to_settings(slug: str) -> HttpResponse:
    return redirect(f"{reverse('settings', args=[slug])}#project")
