"""Tokens of a member: a page for everybody who is in a project. A new one is shown once."""

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from labeling.integrations import tokens as service
from labeling.models import ApiToken
from labeling.projects.settings_forms import TokenForm
from slmstudio.access import Action, may, object_for, project_for
from slmstudio.errors import Refused
from slmstudio.web.requests import SignedInRequest


@never_cache
@require_http_methods(["GET", "POST"])
def tokens(request: SignedInRequest, slug: str) -> HttpResponse:
    """The person's own tokens; POST makes one and shows it, this once."""
    project = project_for(request.user, slug, Action.READ)
    made, shown = None, ""
    form = TokenForm(request.POST or None, role=project.role)
    if request.method == "POST" and form.is_valid():
        try:
            made, shown = service.create(project=project, user=request.user, **form.cleaned_data)
        except Refused as refusal:
            form.add_error(None if refusal.field == "form" else refusal.field, refusal.message)
        else:
            form = TokenForm(role=project.role)
    context = {
        "project": project,
        "form": form,
        "tokens": service.alive(project, request.user),
        "made": made,
        "shown": shown,
    }
    fragment = request.htmx and not request.htmx.history_restore_request  # type: ignore[attr-defined]
    template = f"labeling/integrations/tokens.html{'#tokens' if fragment else ''}"
    return render(request, template, context, status=422 if form.errors else 200)


@require_POST
def revoke(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """Ends a token: one of one's own, or anybody's for who administers the project."""
    project, token = object_for(request.user, slug, Action.READ, ApiToken, pk=pk)
    administers = may(project.role, Action.ADMINISTER)
    if token.user_id != request.user.pk and not administers:
        raise Http404("This token is somebody else's.")
    if service.revoke(token=token, user=request.user):
        messages.success(request, f"{token.name} ({token.prefix}…) opens nothing any longer.")
    return redirect("settings" if administers and request.POST.get("back") == "settings" else "tokens", slug)
