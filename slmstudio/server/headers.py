"""Headers with which browsers protect responses.

With those of ``plain_headers`` a browser that opens a response as a page runs and loads nothing.
"""

from django.conf import settings

POLICY = "Content-Security-Policy"
INERT = "default-src 'none'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox"
_FEATURES = ("camera", "display-capture", "geolocation", "microphone", "midi", "payment", "serial", "usb")
#: responses have documents, which must not stay on the disk of a computer that several people use
NOT_STORED = "private, no-store"
ALWAYS = {
    "Permissions-Policy": ", ".join(f"{feature}=()" for feature in _FEATURES),
    "Cross-Origin-Resource-Policy": "same-origin",
}
_PLAIN = {
    **ALWAYS,
    POLICY: INERT,
    "Cache-Control": NOT_STORED,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": settings.SECURE_REFERRER_POLICY,
    "X-Content-Type-Options": "nosniff",
}


def plain_headers() -> dict[str, str]:
    """The headers of responses that Django does not send: those of the gateway, and errors of the web server."""
    if not settings.SECURE_HSTS_SECONDS:
        return dict(_PLAIN)
    return {
        **_PLAIN,
        "Strict-Transport-Security": f"max-age={settings.SECURE_HSTS_SECONDS}; includeSubDomains; preload",
    }
