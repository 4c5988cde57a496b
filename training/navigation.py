"""The training app's section of a project's navigation."""

from slmstudio.navigation import ENGINEERS, Section, register

register(100, Section(title="Training", icon="cpu", view="training", key="t", pages=("training",), roles=ENGINEERS))
