"""Headers with which browsers protect responses, and requests over plain HTTP where ``HTTPS`` is set.

Pages have the policy of the settings; REST, downloads, images and static files have one that allows nothing.
"""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.middleware.security import SecurityMiddleware

from slmstudio.server.headers import ALWAYS, INERT, NOT_STORED, POLICY
from slmstudio.web.views import problem


def protect(get_response: Callable[[HttpRequest], HttpResponseBase]) -> Callable[[HttpRequest], HttpResponseBase]:
    """Middleware: copies only of public files, and no features of the browser that the studio does not use."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        for name, value in ALWAYS.items():
            response[name] = value
        if "public" not in response.get("Cache-Control", ""):
            response["Cache-Control"] = NOT_STORED
        if not response.get("Content-Type", "").startswith("text/html"):
            response[POLICY] = INERT
        return response

    return middleware


class Security(SecurityMiddleware):
    """Django's, except that programs are not redirected to HTTPS: no one would notice that they send tokens openly."""

    def process_request(self, request: HttpRequest) -> HttpResponse | None:  # type: ignore[override]
        """A redirect to HTTPS for browsers, 403 for the REST interface; None where nothing is wrong."""
        redirect: HttpResponse | None = super().process_request(request)
        if redirect is None or not request.path.startswith("/api/v1/"):
            return redirect
        return problem(403, "This interface requires HTTPS. Replace the token.", more={"code": "https_required"})
