"""The evaluation app: eval runs, comparisons, gates, approvals, the whole loop."""

from django.apps import AppConfig


class EvaluationConfig(AppConfig):
    """Registers the app's panels when Django starts."""

    name = "evaluation"

    def ready(self) -> None:
        from evaluation import panels  # noqa: F401
