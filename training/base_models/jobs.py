"""The job that prepares a base model."""

import logging

from slmstudio.errors import Refused
from slmstudio.runs.reaper import reap_lost_runs
from training.base_models.services import prepare
from training.models import ModelPull
from training.runs.child_processes import ChildCancelled
from training.runs.jobs import failure_sentence

log = logging.getLogger(__name__)


def pull_model(pk: int) -> None:
    """Prepares the base model of a pull. At most once per request; a deleted or claimed one is skipped."""
    reap_lost_runs()
    pull = ModelPull.objects.select_related("base_model").filter(pk=pk).first()
    if pull is None or not pull.claim():
        return
    try:
        prepare(base_model=pull.base_model, run=pull)
    except ChildCancelled:
        pull.cancelled()
    except Refused as refusal:
        pull.fail(refusal.message)
    except BaseException as error:
        log.exception("the preparation of %s failed", pull.base_model)
        pull.fail(failure_sentence(error))
        raise
    else:
        pull.finish()
