"""The labeling app: projects, contracts, documents, annotations, dataset versions."""

from django.apps import AppConfig
from django.conf import settings
from django.db.models.signals import post_save


class LabelingConfig(AppConfig):
    """Registers the app's panels, navigation and hooks when Django starts."""

    name = "labeling"

    def ready(self) -> None:
        from labeling import navigation  # noqa: F401
        from labeling.documents import search_index
        from labeling.integrations import deliveries, tokens
        from labeling.models import Membership
        from labeling.projects.storage import file_keys, text_bytes
        from labeling.queue_order import services as queue_order
        from slmstudio import hooks, panels
        from slmstudio.workers import job_names

        for feature in ("datasets.panels", "documents.panels", "projects.panels", "review.next_steps"):
            panels.include(f"labeling.{feature}")
        job_names.register(deliveries.JOB)
        post_save.connect(tokens.revoke_on_password_change, sender=settings.AUTH_USER_MODEL, dispatch_uid="tokens")
        hooks.membership.register(Membership.objects.of)
        hooks.token_checked.register(tokens.is_valid_header)
        hooks.project_files.register(file_keys)
        hooks.project_bytes.register(text_bytes)
        hooks.reaper_passed.register(search_index.sweep)
        hooks.reaper_passed.register(deliveries.sweep)
        hooks.reaper_passed.register(queue_order.sweep)
