"""Two-factor authentication that a role requires, by the setting MFA_REQUIRED_ROLES."""

from collections.abc import Callable

from allauth.mfa.adapter import get_adapter
from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect

from slmstudio.web.views import problem

#: apps whose pages stay open: those that set it up, and sign out
_OPEN = ("allauth.", "slmstudio.accounts.", "django.views.static")
#: in the setting, next to roles of projects: staff and superusers
ADMINISTRATORS = "administrators"


class Required:
    """Middleware: leads users whose role requires two-factor authentication to its page until they have set it up.

    Accounts of the company's provider are left to its rules, and tokens are no sessions.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Passes every request through."""
        return self.get_response(request)

    def process_view(self, request: HttpRequest, view: Callable[..., object], *_: object) -> HttpResponseBase | None:
        """A redirect to the page, or 403 for the REST interface; None where nothing is missing."""
        if not settings.MFA_REQUIRED_ROLES or view.__module__.startswith(_OPEN) or not is_missing(request):
            return None
        if request.path.startswith("/api/"):
            return problem(403, "Your role requires two-factor authentication. Set it up in the browser first.")
        messages.warning(request, "Your role requires two-factor authentication. Set it up to continue.")
        return redirect("mfa_index")


def is_missing(request: HttpRequest) -> bool:
    """Whether the user has a role that requires two-factor authentication, and has not set it up."""
    user = request.user
    if not user.is_authenticated or hasattr(user, "oidc"):
        return False
    is_administrator = ADMINISTRATORS in settings.MFA_REQUIRED_ROLES and (user.is_staff or user.is_superuser)
    if not is_administrator and not user.memberships.filter(role__in=settings.MFA_REQUIRED_ROLES).exists():
        return False
    return not get_adapter().is_mfa_enabled(user, types=["totp", "webauthn"])
