"""The pages below the heading Deploy."""

from typing import Any

from django import template
from django.urls import reverse

from serving.deployments.queries import was_used

register = template.Library()

#: name of the page -> its view and title
TABS = {
    "deployment": ("deployment", "Deployment"),
    "monitoring": ("deploy_monitoring", "Monitoring"),
    "review": ("deploy_review", "Review"),
    "comparisons": ("traffic_comparisons", "Comparisons"),
    "captures": ("captures", "Captured requests"),
    "settings": ("deploy_settings", "Settings"),
}


@register.simple_tag
def deploy_tabs(project: Any, current: str) -> list[tuple[str, str, bool]]:
    """Title, address and whether it is shown of each page; none before anything is deployed or packaged."""
    if not was_used(project):
        return []
    return [(title, reverse(view, args=[project.slug]), name == current) for name, (view, title) in TABS.items()]
