"""The job that prepares a base model."""

from slmstudio.runs.reaper import reap_lost_runs
from training.base_models.preparation import prepare
from training.job_failures import FailureHandler
from training.models import ModelPull


def pull_model(pk: int) -> None:
    """Prepares the base model of a pull. At most once per request; a deleted or claimed one is skipped."""
    reap_lost_runs()
    pull = ModelPull.objects.select_related("base_model").filter(pk=pk).first()
    if pull is None or not pull.claim():
        return
    with FailureHandler(pull):
        prepare(base_model=pull.base_model, run=pull)
        pull.finish()
