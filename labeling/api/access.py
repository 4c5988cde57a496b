"""Who is asking, for which project, and whether they may: by the token's scope and the member's role as it is now."""

import logging
from dataclasses import dataclass
from typing import Annotated, Any

from django.conf import settings
from django.contrib.auth.models import User
from django.http import Http404, HttpRequest
from django.shortcuts import get_object_or_404
from ninja import Path
from ninja.security import HttpBearer
from ninja.security.apikey import APIKeyCookie
from ninja.utils import check_csrf

from labeling.api.problems import Problem, no_token
from labeling.integrations.tokens import ACTIONS, SCOPES, authenticate
from labeling.models import ApiToken
from slmstudio.access import authorize, project_for
from slmstudio.accounts import rate_limits
from slmstudio.web.addresses import client_address, network_of

logger = logging.getLogger(__name__)


#: the project in an address
Slug = Annotated[str, Path(...)]
#: (route, method) -> scope of every operation; filled in once they are all there
SCOPE_OF: dict[tuple[str, str], str] = {}
#: invalid tokens that an address may send; they are far too long to be guessed, so this is against noise
_INVALID_PER_MINUTE = 600


@dataclass(slots=True)
class Caller:
    """The person a request acts as, the token it came with (None for a browser), and the project it is about with the
    person's role in it (None where it is about none).
    """

    user: User
    token: ApiToken | None = None
    project: Any = None


class Token(HttpBearer):
    """A token of a member, made on the project's token page. It acts in one project, within its scopes."""

    def __call__(self, request: HttpRequest) -> Caller | None:
        header = request.headers.get("Authorization", "")
        if not header:
            return None
        kind, _, text = header.partition(" ")
        token = authenticate(text.strip()) if kind.lower() == "bearer" else None
        if token is None:
            _limit_guesses(request)
            raise Problem(
                401,
                "This token is not valid: mistyped, revoked or out of date.",
                headers={"WWW-Authenticate": 'Bearer error="invalid_token"'},
            )
        request.user = token.user
        _limit(f"t{token.pk}")
        return _admitted(request, Caller(token.user, token))

    def authenticate(self, request: HttpRequest, token: str) -> Any:
        """Not used: ``__call__`` does it all."""
        raise NotImplementedError


class Browser(APIKeyCookie):
    """The session of a person who is logged in; whatever writes also needs the header X-CSRFToken."""

    param_name = settings.SESSION_COOKIE_NAME

    def __call__(self, request: HttpRequest) -> Caller | None:
        if self.param_name not in request.COOKIES or not request.user.is_authenticated:
            return None
        if check_csrf(request) is not None:
            raise Problem(403, "The CSRF token is missing or wrong. Send X-CSRFToken, or use a token.")
        _limit(f"u{request.user.pk}")
        return _admitted(request, Caller(request.user))

    def authenticate(self, request: HttpRequest, key: str | None) -> Any:
        """Not used: ``__call__`` does it all."""
        raise NotImplementedError


def caller(request: HttpRequest) -> Caller:
    """Who is asking."""
    found: Caller = request.auth  # type: ignore[attr-defined]
    return found


def _admitted(request: HttpRequest, who: Caller) -> Caller:
    """The caller with the project of the address, before anything of the request is looked at: who may not, learns
    nothing of what is wrong with it.

    Raises:
        Http404: no such project, the person is no member, or the token is one of another project.
        Problem: the token has not the scope of the operation.
        Forbidden: the role does not allow it.
    """
    match = request.resolver_match
    assert match is not None
    scope = SCOPE_OF.get((match.route, request.method or ""))
    if scope is None:  # the description, or a method that is not there
        return who
    slug = match.kwargs.get("slug")
    token = who.token
    if slug is not None and token is not None:
        if token.project.slug != slug or token.role is None:
            raise Http404("No such project.")
        who.project = authorize(token.project, token.role, ACTIONS[scope])
    elif slug is not None:
        who.project = project_for(who.user, slug, ACTIONS[scope])
    if token is not None and scope not in token.scopes:
        raise Problem(403, f"This token has no scope {scope} ({SCOPES[scope]}). Make one that has.")
    return who


def refusal_before_body(request: HttpRequest) -> Problem | None:
    """Why whoever sends this request may not, by the token or session, the scope and the role; None where they may.

    For a request whose body is not read yet: rate limits and the CSRF token follow with the operation itself.

    Raises:
        Http404, Forbidden: as for the operation.
    """
    kind, _, text = request.headers.get("Authorization", "").partition(" ")
    token = authenticate(text.strip()) if kind.lower() == "bearer" else None
    try:
        if token is not None:
            _admitted(request, Caller(token.user, token))
        elif kind or not request.user.is_authenticated:
            return no_token()
        else:
            _admitted(request, Caller(request.user))
    except Problem as refusal:
        return refusal
    return None


def project_of(request: HttpRequest) -> Any:
    """The project a request is about; its caller has the scope and the role for the operation."""
    project = caller(request).project
    assert project is not None, "an operation below a project that nobody was admitted to"
    return project


def object_of(request: HttpRequest, objects: Any, **lookup: Any) -> Any:
    """One object of the project a request is about; 404 where it is another's."""
    project = project_of(request)
    found = get_object_or_404(objects, project=project, **lookup)
    found.project = project
    return found


# -- how many requests ---------------------------------------------------------------------------------------------


def _limit(who: str) -> None:
    """Raises Problem 429 where somebody asks too often. A queue server that does not answer lets everybody pass."""
    asked, left = rate_limits.count(f"api:{who}", 60)
    if asked > settings.API_REQUESTS_PER_MINUTE:
        raise Problem(
            429,
            f"More than {settings.API_REQUESTS_PER_MINUTE:,} requests in this minute. Wait for the next one.",
            headers={"Retry-After": str(left)},
        )


def _limit_guesses(request: HttpRequest) -> None:
    """Raises Problem 429 where an address sends one invalid token after the other."""
    address = client_address(request)
    guesses, left = rate_limits.count(f"token:{network_of(address)}", 60)
    if guesses == _INVALID_PER_MINUTE:
        logger.warning("%d invalid tokens within a minute from %s", guesses, address)
    if guesses > _INVALID_PER_MINUTE:
        raise Problem(429, "Too many invalid tokens. Wait a minute.", headers={"Retry-After": str(left)})
