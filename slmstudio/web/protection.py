"""Headers with which browsers protect responses, and requests over plain HTTP where ``HTTPS`` is set.

Pages have the policy of the settings; REST, downloads and images have one that allows nothing. Style sheets, scripts
and fonts, of which a page loads dozens, have only the headers that mean something for them.
"""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.middleware.security import SecurityMiddleware

from slmstudio.server.headers import ALWAYS, INERT, NOT_STORED, POLICY
from slmstudio.web.views import problem

_LOADED = ("text/css", "text/javascript", "font/")  # browsers never show these as pages
_FOR_PAGES = (POLICY, "Cross-Origin-Opener-Policy", "Permissions-Policy", "Referrer-Policy", "X-Frame-Options")


def protect(get_response: Callable[[HttpRequest], HttpResponseBase]) -> Callable[[HttpRequest], HttpResponseBase]:
    """Middleware: copies only of public files, and no features of the browser that the studio does not use."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        content = response.get("Content-Type", "")
        is_public = "public" in response.get("Cache-Control", "")
        for name, value in ALWAYS.items():
            response[name] = value
        if not is_public:
            response["Cache-Control"] = NOT_STORED
        if not content.startswith("text/html"):
            response[POLICY] = INERT
        if is_public and content.startswith(_LOADED):
            for name in _FOR_PAGES:
                response.headers.pop(name, None)
            response._csp_exempt = True  # type: ignore[attr-defined]  # or django-csp adds the policy of pages
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
