"""The labeling app: projects, contracts, documents, annotations, dataset versions."""

from django.apps import AppConfig
from django.conf import settings
from django.db.models.signals import post_save


class LabelingConfig(AppConfig):
    """Registers the app's panels when Django starts."""

    name = "labeling"

    def ready(self) -> None:
        from labeling import panels  # noqa: F401
        from labeling.documents import search_index
        from labeling.integrations import tokens, webhooks
        from labeling.projects.storage import file_keys, text_bytes
        from labeling.review import next_steps  # noqa: F401
        from slmstudio.runs.reaper import after_each_sweep
        from slmstudio.storage import quotas
        from slmstudio.web.body_limits import authenticate_with
        from slmstudio.workers.job_names import register

        register(webhooks.JOB)
        authenticate_with(tokens.is_valid_header)
        post_save.connect(tokens.end_with_password, sender=settings.AUTH_USER_MODEL, dispatch_uid="tokens")
        quotas.files_at(file_keys)
        quotas.bytes_of(text_bytes)
        after_each_sweep(search_index.sweep)
        after_each_sweep(webhooks.sweep)
