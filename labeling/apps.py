"""The labeling app: projects, contracts, documents, annotations, dataset versions."""

from typing import TYPE_CHECKING

from django.apps import AppConfig
from django.conf import settings
from django.db.models.signals import post_save

if TYPE_CHECKING:
    from ninja import Router


class LabelingConfig(AppConfig):
    """Registers the app's panels, navigation and hooks when Django starts."""

    name = "labeling"

    def ready(self) -> None:
        from labeling import navigation  # noqa: F401
        from labeling.api.routers import more_routers
        from labeling.integrations import deliveries, tokens
        from labeling.models import Membership
        from labeling.projects import groups, invitations
        from labeling.projects.storage import backup_facts, file_keys, text_bytes
        from labeling.queue_order import study as queue_order
        from labeling.studies import kinds
        from labeling.studies import services as studies
        from slmstudio import hooks, panels
        from slmstudio.workers import job_names

        for feature in ("datasets.panels", "documents.panels", "projects.panels", "review.panels"):
            panels.include(f"labeling.{feature}")
        job_names.register(deliveries.JOB)
        post_save.connect(tokens.revoke_on_password_change, sender=settings.AUTH_USER_MODEL, dispatch_uid="tokens")
        hooks.membership.register(Membership.objects.of)
        hooks.token_checked.register(tokens.is_valid_header)
        hooks.groups_changed.register(groups.apply_groups)
        hooks.invitation_checked.register(invitations.is_valid)
        hooks.project_files.register(file_keys)
        hooks.backup_facts.register(backup_facts)
        hooks.project_bytes.register(text_bytes)
        kinds.register(queue_order.QUEUE_ORDER)
        more_routers.register(_studies_router)
        hooks.project_files.register(studies.file_keys)


def _studies_router() -> "tuple[str, Router]":
    from labeling.studies.api import router

    return "/projects/{slug:slug}/studies", router
