"""The token page, for every member. A new token is shown once."""

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST

from labeling.integrations import tokens as service
from labeling.integrations.forms import TokenForm
from labeling.models import ApiToken
from slmstudio.access import Action, may, object_for, project_for
from slmstudio.web.forms import FieldErrors
from slmstudio.web.requests import SignedInRequest, query_param, redirect_to


@require_http_methods(["GET", "POST"])
def tokens(request: SignedInRequest, slug: str) -> HttpResponse:
    """The user's tokens; POST creates one and shows it once. ``scope``: the scope that is selected at first."""
    project = project_for(request.user, slug, Action.READ)
    created, secret = None, ""
    scope = query_param(request, "scope") or "read"
    form = TokenForm(request.POST or None, role=project.role, initial={"days": service.DEFAULT_DAYS, "scopes": [scope]})
    if request.method == "POST" and form.is_valid():
        with FieldErrors(form):
            created, secret = service.create(project=project, user=request.user, **form.cleaned_data)
            form = TokenForm(role=project.role)
    context = {
        "project": project,
        "form": form,
        "tokens": service.active_tokens(project, request.user),
        "created": created,
        "secret": secret,
    }
    fragment = request.htmx and not request.htmx.history_restore_request  # type: ignore[attr-defined]
    template = f"labeling/integrations/tokens.html{'#tokens' if fragment else ''}"
    return render(request, template, context, status=422 if form.errors else 200)


@require_POST
def revoke(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """Revokes a token of the user; owners can revoke any."""
    project, token = object_for(request.user, slug, Action.READ, ApiToken, pk=pk)
    is_owner = may(project.role, Action.ADMINISTER)
    if token.user_id != request.user.pk and not is_owner:
        raise Http404("This token belongs to another user.")
    if service.revoke(token=token, user=request.user):
        messages.success(request, f"{token.name} ({token.prefix}…) was revoked.")
    name = "settings" if is_owner and request.POST.get("back") == "settings" else "tokens"
    return redirect_to(request, reverse(name, args=[slug]))
