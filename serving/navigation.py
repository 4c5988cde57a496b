"""The serving app's section of a project's navigation."""

from django.urls import reverse

from slmstudio.access import TABLE, Action
from slmstudio.navigation import Section, register

#: the beginnings of the names of its pages
PAGES = ("deploy", "captures", "traffic_comparison", "package")

#: reviewers judge the requests that were drawn
ROLES = TABLE[Action.DEPLOY] | TABLE[Action.REVIEW]

register(130, Section(title="Deploy", icon="rocket-takeoff", view="deployment", key="y", pages=PAGES, roles=ROLES))


def section_url(slug: str, section: str) -> str:
    """The page of a deployment, opened at a section."""
    return f"{reverse('deployment', args=[slug])}?show={section}#{section}"
