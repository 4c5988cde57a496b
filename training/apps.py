"""The training app: base models, training runs, model versions."""

from django.apps import AppConfig


class TrainingConfig(AppConfig):
    """Registers the app's panels, navigation and hooks when Django starts."""

    name = "training"

    def ready(self) -> None:
        from labeling.studies.kinds import register
        from labeling.studies.services import on_run_changed
        from slmstudio import hooks, panels
        from training import navigation  # noqa: F401
        from training.exports.services import keep_previous_export
        from training.exports.views import exports_context
        from training.runs.event_recorder import run_evaluated
        from training.runs.services import file_keys, notify_webhooks, restart
        from training.runs.views import run_sections
        from training.search.study import SEARCH, trial_context

        panels.include("training.panels")
        hooks.project_files.register(file_keys)
        hooks.run_restarted["training.TrainingRun"].register(restart)
        hooks.run_ended["training.TrainingRun"].register(notify_webhooks)
        hooks.run_reaped["training.ModelExport"].register(keep_previous_export)
        hooks.run_reaped["training.SpecExport"].register(keep_previous_export)
        run_sections.register(exports_context)
        run_sections.register(trial_context)
        hooks.run_ended["training.TrainingRun"].register(on_run_changed)
        run_evaluated.register(on_run_changed)
        register(SEARCH)
