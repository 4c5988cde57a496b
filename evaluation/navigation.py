"""The evaluation app's sections of a project's navigation."""

from slmstudio.navigation import Section, register

register(40, Section("Pre-labels", "magic", "prelabels", "b", ("prelabel", "endpoint")))
register(90, Section("Benchmark", "speedometer2", "benchmarks", "m", ("benchmark",)))
register(110, Section("Evaluation", "bar-chart", "evaluation", "e", ("eval", "compar")))
register(120, Section("Gates", "shield-check", "gates", "a", ("gate", "approval")))
