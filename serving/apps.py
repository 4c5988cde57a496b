"""The serving app: packages, deployments, the gateway."""

from typing import TYPE_CHECKING, Any

from django.apps import AppConfig
from django.db import transaction
from django.db.models.signals import post_save

if TYPE_CHECKING:
    from ninja import Router


class ServingConfig(AppConfig):
    """Registers the app's panels, navigation and hooks when Django starts."""

    name = "serving"

    def ready(self) -> None:
        from evaluation.approvals.decisions import report_actions
        from evaluation.gates.production import stable_model
        from labeling.api.routers import UPLOAD_ROUTES, more_routers
        from serving import navigation  # noqa: F401
        from serving.batches import services as batches
        from serving.deployments.queries import deploy_action, production_model
        from serving.models import Deployment
        from serving.retention import packages
        from slmstudio import hooks, panels
        from training.runs.retention import weights_needed

        panels.include("serving.panels")
        weights_needed.register(packages.need_of_weights)
        report_actions.register(deploy_action)
        stable_model.register(production_model)
        more_routers.register(_deployment_router)
        more_routers.register(_packages_router)
        more_routers.register(_policy_router)
        more_routers.register(_comparison_router)
        post_save.connect(_announce, sender=Deployment)
        more_routers.register(_batch_router)
        UPLOAD_ROUTES.add("/projects/{slug}/extract/batch")
        hooks.project_files.register(batches.file_keys)
        hooks.project_files.register(packages.file_keys)
        hooks.run_reaped["serving.BatchRun"].register(batches.emit)
        hooks.access_changed.register(_announce)


def _batch_router() -> "tuple[str, Router]":
    from serving.batches.api import router

    return "/projects/{slug:slug}/extract/batch", router


def _deployment_router() -> "tuple[str, Router]":
    from serving.deployments.api import router

    return "/projects/{slug:slug}/deployment", router


def _packages_router() -> "tuple[str, Router]":
    from serving.packages.api import router

    return "/projects/{slug:slug}/packages", router


def _comparison_router() -> "tuple[str, Router]":
    from serving.comparisons.api import router

    return "/projects/{slug:slug}/deployment/comparisons", router


def _announce(**values: Any) -> None:
    """Gateways notice a change of a deployment at once, also an abort and a rollback, and one of tokens and members."""
    from serving.replicas.changes import announce

    transaction.on_commit(announce, robust=True)


def _policy_router() -> "tuple[str, Router]":
    from serving.confidence.api import router

    return "/projects/{slug:slug}/deployment/policy", router
