"""The training app: base models, training runs, model versions."""

from django.apps import AppConfig


class TrainingConfig(AppConfig):
    """Registers the app's panels, and what becomes of runs that failed or were lost, when Django starts."""

    name = "training"

    def ready(self) -> None:
        from slmstudio.runs.reaper import when_swept
        from slmstudio.storage.quotas import files_at
        from slmstudio.workers.failed_jobs import start_again_by
        from training import panels  # noqa: F401
        from training.exports.services import keep_what_was_made
        from training.runs.services import file_keys, start_again

        files_at(file_keys)
        start_again_by("training.TrainingRun", start_again)
        when_swept("training.ModelExport", keep_what_was_made)
        when_swept("training.SpecExport", keep_what_was_made)
