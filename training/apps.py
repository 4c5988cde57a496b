"""The training app: base models, training runs, model versions."""

from django.apps import AppConfig


class TrainingConfig(AppConfig):
    """Registers the app's panels, navigation and hooks when Django starts."""

    name = "training"

    def ready(self) -> None:
        from slmstudio import hooks, panels
        from training import navigation  # noqa: F401
        from training.exports.services import keep_previous_export
        from training.exports.views import exports_context
        from training.runs.services import file_keys, notify_webhooks, restart
        from training.runs.views import run_sections

        panels.include("training.panels")
        hooks.project_files.register(file_keys)
        hooks.run_restarted["training.TrainingRun"].register(restart)
        hooks.run_ended["training.TrainingRun"].register(notify_webhooks)
        hooks.run_reaped["training.ModelExport"].register(keep_previous_export)
        hooks.run_reaped["training.SpecExport"].register(keep_previous_export)
        run_sections.register(exports_context)
