"""The training app: base models, training runs, model versions."""

from django.apps import AppConfig


class TrainingConfig(AppConfig):
    """Registers the app's panels, and how its runs are started again, when Django starts."""

    name = "training"

    def ready(self) -> None:
        from slmstudio.queue_mending import start_again_by
        from training import panels  # noqa: F401
        from training.services.runs import start_again

        start_again_by("training.TrainingRun", start_again)
