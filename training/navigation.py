"""The training app's section of a project's navigation."""

from slmstudio.navigation import Section, register

register(100, Section("Training", "cpu", "training", "t", ("training",)))
