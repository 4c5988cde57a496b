"""Template context of every page: the navigation of the project, and what accounts offer."""

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse

from slmstudio.navigation import EVERYONE, sections


@dataclass(frozen=True)
class Link:
    """One entry of the navigation on one page. Pages of errors have no project, hence no role: they show what everyone
    sees.
    """

    title: str
    icon: str
    url: str
    key: str
    active: bool
    roles: frozenset[str]
    is_for_everyone: bool


def navigation(request: HttpRequest) -> dict[str, Any]:
    """The sections of the project whose page this is; none outside a project.

    A view puts its project (as fetched through ``slmstudio.access``) into its context as ``project``; the slug in the
    address is enough for the links.
    """
    match = request.resolver_match
    if match is None or "slug" not in match.kwargs:
        return {"sections": []}
    page, slug = match.url_name or "", match.kwargs["slug"]
    return {
        "sections": [
            Link(
                section.title,
                section.icon,
                reverse(section.view, args=[slug]),
                section.key,
                section.is_current(page),
                section.roles,
                section.roles == EVERYONE,
            )
            for section in sections()
        ]
    }


def accounts(request: HttpRequest) -> dict[str, Any]:
    """Whether mail is sent, and the name of the company's provider ("" without one)."""
    return {
        "has_mail": bool(settings.EMAIL_HOST),
        "oidc_name": settings.OIDC_NAME if settings.OIDC_SERVER_URL else "",
    }
