"""The serving app's section of a project's navigation."""

from slmstudio.navigation import Section, register

register(130, Section(title="Deploy", icon="rocket-takeoff", view="deployment", key="y", pages=("deploy",)))
