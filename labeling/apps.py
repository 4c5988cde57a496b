"""The labeling app: projects, contracts, documents, annotations, dataset versions."""

from django.apps import AppConfig


class LabelingConfig(AppConfig):
    """Registers the app's panels when Django starts."""

    name = "labeling"

    def ready(self) -> None:
        from labeling import panels, steps  # noqa: F401
        from labeling.services import indexing, webhooks
        from slmstudio.queue_jobs import register
        from slmstudio.sweep import after_each_sweep

        register(webhooks.JOB)
        after_each_sweep(indexing.sweep)
        after_each_sweep(webhooks.sweep)
