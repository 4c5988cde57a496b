"""The viewer's time zone: pages show times, and count days, in the viewer's local time.

The browser sends its zone in a cookie (``static/js/site/base.js``). Unknown names are ignored: the site's zone applies.
"""

from collections.abc import Callable
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.http import HttpRequest, HttpResponse
from django.utils import timezone

COOKIE = "zone"
MAX_NAME_LENGTH = 64


def viewer_zone(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware: handles a request in the zone that its cookie names."""

    def middleware(request: HttpRequest) -> HttpResponse:
        zone = zone_of(request.COOKIES.get(COOKIE, ""))
        if zone is None:
            return get_response(request)
        with timezone.override(zone):
            return get_response(request)

    return middleware


def zone_of(name: str) -> ZoneInfo | None:
    """The zone of this name, as ``Europe/Berlin``; None if there is none."""
    if not name or len(name) > MAX_NAME_LENGTH:
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # a folder of zones, a path, a NUL
        return None
