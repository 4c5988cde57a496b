"""The token page, for every member. A new token is shown once."""

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST

from labeling.integrations import tokens as service
from labeling.integrations.forms import TokenForm
from labeling.models import ApiToken, Membership
from slmstudio.access import Action, may, object_for, project_for
from slmstudio.accounts.step_up import step_up
from slmstudio.web.forms import FieldErrors
from slmstudio.web.requests import SignedInRequest, positive_int, query_param, redirect_to


@require_http_methods(["GET", "POST"])
@step_up
def tokens(request: SignedInRequest, slug: str) -> HttpResponse:
    """The user's tokens; POST creates one and shows it once. ``scope``: the scope that is selected at first.
    ``account``: the membership of a service account, whose tokens an owner creates.
    """
    project = project_for(request.user, slug, Action.READ)
    account = _service_account(project, positive_int(request.POST.get("account") or request.GET.get("account")))
    holder, role = (account.user, account.role) if account else (request.user, project.role)
    created, secret = None, ""
    scope = query_param(request, "scope") or "read"
    form = TokenForm(request.POST or None, role=role, initial={"days": service.DEFAULT_DAYS, "scopes": [scope]})
    if request.method == "POST" and form.is_valid():
        with FieldErrors(form):
            by = request.user if account else None
            created, secret = service.create(project=project, user=holder, by=by, **form.cleaned_data)
            form = TokenForm(role=role)
    context = {
        "project": project,
        "account": account,
        "form": form,
        "tokens": service.active_tokens(project, holder),
        "created": created,
        "secret": secret,
    }
    fragment = request.htmx and not request.htmx.history_restore_request  # type: ignore[attr-defined]
    template = f"labeling/integrations/tokens.html{'#tokens' if fragment else ''}"
    return render(request, template, context, status=422 if form.errors else 200)


def _service_account(project: Any, pk: int) -> Membership | None:
    """The service account with this membership, for an owner; None without a number."""
    if not pk:
        return None
    if not may(project.role, Action.ADMINISTER):
        raise Http404("Only owners create tokens of service accounts.")
    account: Membership = get_object_or_404(project.memberships.select_related("user"), pk=pk, is_service=True)
    return account


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
