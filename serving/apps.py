"""The serving app: packages, deployments, the gateway."""

from typing import TYPE_CHECKING

from django.apps import AppConfig

if TYPE_CHECKING:
    from ninja import Router


class ServingConfig(AppConfig):
    """Registers the app's panels, navigation and hooks when Django starts."""

    name = "serving"

    def ready(self) -> None:
        from evaluation.approvals.actions import report_actions
        from labeling.api.routers import more_routers
        from serving import navigation, panels  # noqa: F401
        from serving.deployments.queries import deploy_action
        from serving.feedback import gold_labels, sampling
        from serving.retention import services as retention
        from serving.retraining import services as retraining
        from slmstudio import hooks

        report_actions.register(deploy_action)
        more_routers.register(_deployment_router)
        more_routers.register(_packages_router)
        for work in (retention.pass_if_due, sampling.draw_all, gold_labels.judge_all, retraining.propose_all):
            hooks.reaper_passed.register(work)


def _deployment_router() -> "tuple[str, Router]":
    from serving.deployments.api import router

    return "/projects/{slug:slug}/deployment", router


def _packages_router() -> "tuple[str, Router]":
    from serving.packages.api import router

    return "/projects/{slug:slug}/packages", router
