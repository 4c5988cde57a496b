"""The serving app: packages, deployments, the gateway."""

from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from django.apps import AppConfig
from django.db import transaction
from django.db.models.signals import post_save

if TYPE_CHECKING:
    from ninja import Router


#: address below /projects/{slug} -> module of a REST resource
ROUTERS = {
    "deployment": "serving.deployments.api",
    "packages": "serving.packages.api",
    "deployment/policy": "serving.confidence.api",
    "deployment/comparisons": "serving.comparisons.api",
    "extract/batch": "serving.batches.api",
    "erasures": "serving.erasure.api",
}


class ServingConfig(AppConfig):
    """Registers the app's panels, navigation and hooks when Django starts."""

    name = "serving"

    def ready(self) -> None:
        from evaluation.approvals.decisions import report_actions
        from evaluation.gates.production import stable_model
        from evaluation.gates.services import report_passed
        from labeling.api.routers import UPLOAD_ROUTES, more_routers
        from labeling.documents.erasure import documents_emptied
        from labeling.projects.lifecycle import project_used
        from serving import navigation  # noqa: F401
        from serving.batches import services as batches
        from serving.deployments.queries import deploy_action, production_model, serving_of
        from serving.models import Deployment
        from serving.packages.services import prepare_package
        from serving.retention import packages
        from serving.retention.services import empty_pairs
        from slmstudio import hooks, panels
        from training.runs.retention import weights_needed

        panels.include("serving.panels")
        weights_needed.register(packages.need_of_weights)
        report_actions.register(deploy_action)
        report_passed.register(prepare_package)
        stable_model.register(production_model)
        for address, module in ROUTERS.items():
            more_routers.register(partial(_router, address, module))
        post_save.connect(_announce, sender=Deployment)
        UPLOAD_ROUTES.add("/projects/{slug}/extract/batch")
        hooks.project_files.register(batches.file_keys)
        hooks.project_files.register(packages.file_keys)
        documents_emptied.register(empty_pairs)
        project_used.register(serving_of)
        hooks.run_reaped["serving.BatchRun"].register(batches.emit)
        hooks.access_changed.register(_announce)


def _announce(**values: Any) -> None:
    """Gateways notice a change of a deployment at once, also an abort and a rollback, and one of tokens and members."""
    from serving.replicas.changes import announce

    transaction.on_commit(announce, robust=True)


def _router(address: str, module: str) -> "tuple[str, Router]":
    """Imported late: ninja takes a tenth of the time that a process needs to start."""
    router: Router = import_module(module).router
    return f"/projects/{{slug:slug}}/{address}", router
