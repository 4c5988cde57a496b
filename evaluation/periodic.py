"""The periodic tasks of the evaluation app."""

from evaluation.benchmarks import services as benchmarks
from evaluation.label_issues.challenges import resolve_all
from evaluation.pipeline import services as pipeline
from slmstudio.periodic import PeriodicTask

TASKS = [
    PeriodicTask("pipelines", 30, pipeline.advance_all),
    PeriodicTask("benchmarks", 30, benchmarks.advance_all),
    PeriodicTask("label challenges", 30, resolve_all),
]
