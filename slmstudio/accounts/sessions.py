"""Sessions end when their user has been idle for SESSION_COOKIE_AGE, and a week after sign-in in any case.

Opening a page or sending something is activity; what pages request by themselves is not.
"""

import time
from collections.abc import Callable
from typing import Any, TypeVar

from allauth.usersessions.models import UserSession
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from django.http import HttpRequest
from django.http.response import HttpResponseBase

#: from sign-in to the end, however active the user is
MAX_SECONDS = 7 * 24 * 3600
#: activity is stored at most this often
RENEW_SECONDS = 300
_SIGNED_IN, _ACTIVE = "signed_in_at", "active_at"
_READ_METHODS = ("GET", "HEAD")
View = TypeVar("View", bound=Callable[..., Any])


def sent_by_page(view: View) -> View:
    """Decorator for a view that pages request by themselves at intervals with POST."""
    view.is_sent_by_page = True  # type: ignore[attr-defined]
    return view


class SessionEnd:
    """Middleware: ends a session that is too old, and extends that of an active user."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Ends the session of a user who signed in too long ago: the request continues as that of an anonymous user."""
        signed_in = request.session.get(_SIGNED_IN)
        if signed_in is not None and time.time() - signed_in > MAX_SECONDS:
            request.session.flush()
        return self.get_response(request)

    def process_view(self, request: HttpRequest, view: Callable[..., Any], *_: Any) -> None:
        """Extends the session; the session middleware then sends its cookie again."""
        session = request.session
        if "_auth_user_id" not in session or not _is_activity(request, view):
            return
        now = int(time.time())
        if now - session.get(_ACTIVE, 0) > RENEW_SECONDS:
            session.setdefault(_SIGNED_IN, now)
            session[_ACTIVE] = now


def _is_activity(request: HttpRequest, view: Callable[..., Any]) -> bool:
    """Whether a user did this. Scripts poll with GET."""
    if request.method not in _READ_METHODS:
        return not getattr(view, "is_sent_by_page", False)
    return not request.headers.get("HX-Request") and request.headers.get("Sec-Fetch-Mode", "navigate") == "navigate"


def on_signed_in(sender: Any, request: HttpRequest, user: User, **more: Any) -> None:
    """Receiver of a Django signal."""
    request.session[_SIGNED_IN] = request.session[_ACTIVE] = int(time.time())


def end_on_deactivation(*, instance: User, created: bool, **_: Any) -> None:
    """Deletes the sessions of an account that was deactivated (on ``post_save``)."""
    if not created and not instance.is_active:
        for session in UserSession.objects.filter(user=instance):
            session.end()


def delete_expired() -> None:
    """Deletes the rows of ended sessions."""
    SessionStore.clear_expired()
