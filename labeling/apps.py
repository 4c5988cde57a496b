"""The labeling app: projects, contracts, documents, annotations, dataset versions."""

from django.apps import AppConfig


class LabelingConfig(AppConfig):
    """Registers the app's panels when Django starts."""

    name = "labeling"

    def ready(self) -> None:
        from labeling import panels  # noqa: F401
