"""The training app: base models, training runs, model versions."""

from django.apps import AppConfig


class TrainingConfig(AppConfig):
    """Registers the app's panels when Django starts."""

    name = "training"

    def ready(self) -> None:
        from training import panels  # noqa: F401
