"""The serving app's section of a project's navigation."""

from slmstudio.navigation import Section, register

#: the beginnings of the names of its pages
PAGES = ("deploy", "captures", "certificate", "experiment", "replay", "package")

register(130, Section(title="Deploy", icon="rocket-takeoff", view="deployment", key="y", pages=PAGES))
