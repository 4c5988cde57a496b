"""The pages below the heading Deploy, in groups."""

from dataclasses import dataclass
from typing import Any

from django import template
from django.urls import reverse

from serving.deployments.queries import was_used

register = template.Library()


@dataclass(frozen=True, slots=True)
class Tab:
    """A page. ``action``: what a member needs to see it, "" if every member does."""

    name: str
    view: str
    title: str
    action: str = ""


GROUPS: dict[str, tuple[Tab, ...]] = {
    "Deployment": (Tab("deployment", "deployment", "Deployment"),),
    "Monitoring": (Tab("monitoring", "deploy_monitoring", "Monitoring"),),
    "Review": (Tab("review", "deploy_review", "Review"),),
    "Comparisons": (Tab("comparisons", "traffic_comparisons", "Comparisons"),),
    "Requests from an external model": (Tab("captures", "captures", "Captured traffic"),),
    "Settings": (Tab("settings", "deploy_settings", "Settings"),),
}


@register.simple_tag
def deploy_tabs(project: Any, current: str) -> dict[str, list[dict[str, Any]]]:
    """The groups and, of the current one, the pages that the member sees: title, address, whether it is shown.

    Before the first deployment there is one page, without tabs.
    """
    groups: list[dict[str, Any]] = []
    pages: list[dict[str, Any]] = []
    if not was_used(project):
        return {"groups": groups, "pages": pages}
    for title, tabs in GROUPS.items():
        seen = [tab for tab in tabs if not tab.action or tab.action in project.can]
        active = any(tab.name == current for tab in seen)
        if seen:
            groups.append({"title": title, "url": reverse(seen[0].view, args=[project.slug]), "active": active})
        if active and len(seen) > 1:
            pages = [
                {"title": tab.title, "url": reverse(tab.view, args=[project.slug]), "active": tab.name == current}
                for tab in seen
            ]
    return {"groups": groups, "pages": pages}
