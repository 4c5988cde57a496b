"""The evaluation app's sections of a project's navigation."""

from slmstudio.navigation import Section, register

register(40, Section(title="Pre-labels", icon="magic", view="prelabels", key="b", pages=("prelabel", "endpoint")))
register(
    90,
    Section(title="Benchmark", icon="speedometer2", view="benchmarks", key="m", pages=("benchmark", "prompt_search")),
)
_PAGES = ("eval", "compar", "challenge", "suspect", "learning")
register(110, Section(title="Evaluation", icon="bar-chart", view="evaluation", key="e", pages=_PAGES))
register(120, Section(title="Gates", icon="shield-check", view="gates", key="a", pages=("gate", "approval")))
