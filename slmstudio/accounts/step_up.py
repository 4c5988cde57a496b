"""Step-up: actions with consequences require a sign-in or a confirmation in the last five minutes.

They are approving, deploying, tokens, members, and changes of one's own account. A session that was left open, or
stolen, is not enough. The confirmation is a password, a code, a passkey, or a new sign-in at the company's provider.
"""

import time
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar
from urllib.parse import urlencode

from allauth.account.adapter import get_adapter
from allauth.account.internal.flows.login import get_authentication_records
from allauth.account.internal.flows.reauthentication import suspend_request
from allauth.usersessions.models import UserSession
from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import reverse

from slmstudio.accounts.oidc.provider import AGAIN, AUTHENTICATED_AT
from slmstudio.web.requests import redirect_to

View = TypeVar("View", bound=Callable[..., Any])
_READ_METHODS = ("GET", "HEAD")


def step_up(view: View) -> View:
    """Decorator for a view: a request that sends something needs a recent sign-in or confirmation.

    After the confirmation the request is repeated as it was sent; after a new sign-in at the provider it is not.
    """

    @wraps(view)
    def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if request.method in _READ_METHODS or is_recent(request):
            answer: HttpResponseBase = view(request, *args, **kwargs)
            return answer
        return _confirm(request)

    return wrapper  # type: ignore[return-value]


def is_recent(request: HttpRequest) -> bool:
    """Whether the user of this session proved who they are in the last ``ACCOUNT_REAUTHENTICATION_TIMEOUT`` seconds."""
    since = time.time() - settings.ACCOUNT_REAUTHENTICATION_TIMEOUT
    records = get_authentication_records(request, request.user)
    if any(record["at"] > since for record in records if record["method"] != "socialaccount"):
        return True
    # At the provider a session may go on without a question, so its own time counts.
    return (request.session.get(AUTHENTICATED_AT) or 0) > since


def new_session_key(view: View) -> View:
    """Decorator for a view that confirms: the session gets a new key then. One that was stolen before gains nothing."""

    @wraps(view)
    def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        user, key = request.user, request.session.session_key
        before = len(get_authentication_records(request, user))
        answer: HttpResponseBase = view(request, *args, **kwargs)
        if key and len(get_authentication_records(request, user)) > before:
            request.session.cycle_key()
            UserSession.objects.filter(session_key=key).update(session_key=request.session.session_key)
        return answer

    return wrapper  # type: ignore[return-value]


def _confirm(request: HttpRequest) -> HttpResponseBase:
    """Redirects to the first way to confirm that this user has.

    Raises:
        PermissionDenied: there is none.
    """
    methods = get_adapter().get_reauthentication_methods(request.user)
    if not methods and hasattr(request.user, "oidc") and settings.OIDC_SERVER_URL:
        here = request.headers.get("HX-Current-URL") or request.headers.get("Referer") or request.path
        return redirect_to(request, reverse("oidc_login", query={AGAIN: 1, "process": "login", "next": here}))
    if not methods:
        raise PermissionDenied("Set a password or add a passkey first: this needs a recent confirmation.")
    answer = redirect_to(request, f"{methods[0]['url']}?{urlencode({'next': request.get_full_path()})}")
    suspend_request(_for_a_page(request), methods[0]["url"])
    return answer


def _for_a_page(request: HttpRequest) -> HttpRequest:
    """The request without htmx's headers: when it is repeated, its answer is a page."""
    for name in [name for name in request.META if name.startswith("HTTP_HX_")]:
        del request.META[name]
    return request
