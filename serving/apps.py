"""The serving app: packages, deployments, the gateway."""

from django.apps import AppConfig


class ServingConfig(AppConfig):
    """Registers the app's panels, navigation and hooks when Django starts."""

    name = "serving"

    def ready(self) -> None:
        from evaluation.approvals.actions import report_actions
        from serving import navigation, panels  # noqa: F401
        from serving.deployments.queries import deploy_action
        from serving.retention import services as retention
        from slmstudio import hooks

        report_actions.register(deploy_action)
        hooks.reaper_passed.register(retention.pass_if_due)
