"""The evaluation app: eval runs, comparisons, gates, approvals, the whole loop."""

from django.apps import AppConfig


class EvaluationConfig(AppConfig):
    """Registers the app's panels, and what follows when a lost evaluation is swept, when Django starts."""

    name = "evaluation"

    def ready(self) -> None:
        from evaluation import panels  # noqa: F401
        from evaluation.services.evals import tell_loop
        from slmstudio.sweep import when_swept

        when_swept("evaluation.EvalRun", tell_loop)
