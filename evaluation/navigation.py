"""The evaluation app's sections of a project's navigation."""

from slmstudio.access import Role
from slmstudio.navigation import ENGINEERS, Section, register

_LABELS = ("prelabel", "endpoint")
register(40, Section(title="Pre-labels", icon="magic", view="prelabels", key="b", pages=_LABELS, roles=ENGINEERS))
_MODELS = ("benchmark",)
register(
    90, Section(title="Benchmark", icon="speedometer2", view="benchmarks", key="m", pages=_MODELS, roles=ENGINEERS)
)
_RUNS = ("eval", "compar", "challenge")
_READERS = ENGINEERS | {Role.MANAGER}
register(110, Section(title="Evaluation", icon="bar-chart", view="evaluation", key="e", pages=_RUNS, roles=_READERS))
_GATES = ("gate", "approval")
register(120, Section(title="Gates", icon="shield-check", view="gates", key="a", pages=_GATES, roles=_READERS))
