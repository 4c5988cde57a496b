"""Authentication and authorization: by the scopes of the token and the current role of the member."""

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

from labeling.api.problems import Problem, authentication_required
from labeling.integrations.tokens import ACTIONS, authenticate
from labeling.models import ApiToken
from slmstudio.access import authorize, project_for
from slmstudio.accounts import shared_counters
from slmstudio.accounts.step_up import is_recent
from slmstudio.web.addresses import client_address, network_of

logger = logging.getLogger(__name__)


#: the project in a URL
Slug = Annotated[str, Path(...)]
#: scope of every operation by (route, method); filled by ``app``
ROUTE_SCOPES: dict[tuple[str, str], str] = {}
_READ_METHODS = ("GET", "HEAD")
#: limit per network; tokens are too long to be guessed, so this limits noise only
_INVALID_PER_MINUTE = 600


@dataclass(slots=True)
class RequestContext:
    """The user of a request, its token (None for a browser session), and its project with the user's role (None if the
    operation has no project).
    """

    user: User
    token: ApiToken | None = None
    project: Any = None


class Token(HttpBearer):
    """An API token of a member, created on the project's token page. It is valid in one project, within its scopes."""

    def __call__(self, request: HttpRequest) -> RequestContext | None:
        header = request.headers.get("Authorization", "")
        if not header:
            return None
        scheme, _, text = header.partition(" ")
        token = authenticate(text.strip()) if scheme.lower() == "bearer" else None
        if token is None:
            _limit_invalid_tokens(request)
            raise Problem(
                401,
                "The token is invalid, revoked or expired.",
                headers={"WWW-Authenticate": 'Bearer error="invalid_token"'},
            )
        request.user = token.user
        _limit(f"t{token.pk}")
        return _authorize_early(request, RequestContext(token.user, token))

    def authenticate(self, request: HttpRequest, token: str) -> Any:
        """Not used: ``__call__`` is overridden."""
        raise NotImplementedError


class Browser(APIKeyCookie):
    """The session of a signed-in user. Requests that write also need the header X-CSRFToken."""

    param_name = settings.SESSION_COOKIE_NAME

    def __call__(self, request: HttpRequest) -> RequestContext | None:
        if self.param_name not in request.COOKIES or not request.user.is_authenticated:
            return None
        if check_csrf(request) is not None:
            raise Problem(403, "The CSRF token is missing or invalid. Send X-CSRFToken, or use an API token.")
        _limit(f"u{request.user.pk}")
        return _authorize_early(request, RequestContext(request.user))

    def authenticate(self, request: HttpRequest, key: str | None) -> Any:
        """Not used: ``__call__`` is overridden."""
        raise NotImplementedError


def caller(request: HttpRequest) -> RequestContext:
    """The user, token and project of a request."""
    context: RequestContext = request.auth  # type: ignore[attr-defined]
    return context


def _authorize_early(request: HttpRequest, who: RequestContext) -> RequestContext:
    """Adds the project to the context and checks permissions, before the request is validated: without permission a
    client learns nothing about its errors.

    Raises:
        Http404: the project does not exist, the user is not a member, or the token belongs to another project.
        Problem: the token lacks the scope of the operation, or the session's sign-in is too long ago for it.
        Forbidden: the role does not allow the operation.
    """
    match = request.resolver_match
    assert match is not None
    scope = ROUTE_SCOPES.get((match.route, request.method or ""))
    if scope is None:  # the OpenAPI document, or an unknown method
        return who
    slug = match.kwargs.get("slug")
    token = who.token
    if slug is not None and token is not None:
        if token.project.slug != slug or token.role is None:
            raise Http404("No such project.")
        who.project = authorize(token.project, token.user, token.role, ACTIONS[scope])
    elif slug is not None:
        who.project = project_for(who.user, slug, ACTIONS[scope])
    if token is not None and scope not in token.scopes:
        raise Problem(403, f"The token does not have the scope {scope}. Create a token with it.")
    if token is None and scope == "deploy" and request.method not in _READ_METHODS and not is_recent(request):
        raise Problem(403, "This needs a sign-in in the last five minutes. Sign in again, or use an API token.")
    return who


def early_rejection(request: HttpRequest) -> Problem | None:
    """Why a request is not authorized, by its token or session, scope and role; None if it is.

    For requests whose body is not read yet. Rate limits and the CSRF token are checked with the operation.

    Raises:
        Http404, Forbidden: as for the operation.
    """
    scheme, _, text = request.headers.get("Authorization", "").partition(" ")
    token = authenticate(text.strip()) if scheme.lower() == "bearer" else None
    try:
        if token is not None:
            _authorize_early(request, RequestContext(token.user, token))
        elif scheme or not request.user.is_authenticated:
            return authentication_required()
        else:
            _authorize_early(request, RequestContext(request.user))
    except Problem as refusal:
        return refusal
    return None


def project_of(request: HttpRequest) -> Any:
    """The project of a request, for which the operation is authorized."""
    project = caller(request).project
    assert project is not None, "the operation has no project"
    return project


def object_of(request: HttpRequest, objects: Any, **lookup: Any) -> Any:
    """An object of the request's project.

    Raises:
        Http404: it does not exist in the project.
    """
    project = project_of(request)
    row = get_object_or_404(objects, project=project, **lookup)
    row.project = project
    return row


# -- rate limits -----------------------------------------------------------------------------------------------------


def _limit(who: str) -> None:
    """Raises Problem 429 above the rate limit. Without the queue server there is no limit."""
    try:
        requests, seconds_left = shared_counters.count(f"api:{who}", 60)
    except shared_counters.CountersUnavailable:
        return
    if requests > settings.API_REQUESTS_PER_MINUTE:
        raise Problem(
            429,
            f"More than {settings.API_REQUESTS_PER_MINUTE:,} requests in one minute. Wait for the next minute.",
            headers={"Retry-After": str(seconds_left)},
        )


def _limit_invalid_tokens(request: HttpRequest) -> None:
    """Raises Problem 429 if a network sends too many invalid tokens. Without the queue server there is no limit: tokens
    are too long to be guessed."""
    address = client_address(request)
    try:
        attempts, left = shared_counters.count(f"token:{network_of(address)}", 60)
    except shared_counters.CountersUnavailable:
        return
    if attempts == _INVALID_PER_MINUTE:
        logger.warning("%d invalid tokens within a minute from %s", attempts, address)
    if attempts > _INVALID_PER_MINUTE:
        raise Problem(429, "Too many invalid tokens. Wait a minute.", headers={"Retry-After": str(left)})
