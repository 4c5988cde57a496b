"""What the trials of a search leave on disk once it has ended: the models of the best ones."""

import logging
import shutil
from collections.abc import Iterable

from django.db import transaction

from slmstudio.errors import Refused
from slmstudio.runs.models import Status
from slmstudio.storage.artifacts import local_path
from training.models import Search, TrainingRun, Trial
from training.runs.retention import delete_weights

logger = logging.getLogger(__name__)


def ranked(trials: Iterable[Trial]) -> list[Trial]:
    """The complete trials, the highest field accuracy first; of several equal ones the first trial."""
    complete = [trial for trial in trials if trial.state == Trial.State.COMPLETE and trial.value is not None]
    return sorted(complete, key=lambda trial: (-(trial.value or 0.0), trial.number))


def delete_rest(search: Search, trials: Iterable[Trial], *, keep: int) -> None:
    """Deletes the weights of complete trials but the best ``keep``, and the checkpoints of pruned ones.

    Weights that something needs stay. Metrics, samples and logs stay in each case.
    """
    trials = list(trials)
    for trial in ranked(trials)[keep:]:
        for version in trial.run.model_versions.all() if trial.run is not None else ():
            try:
                delete_weights(version=version, user=None, reason=f"search {search.number}, trial {trial.number}")
            except Refused as refusal:
                logger.info("trial %s of search %s: %s", trial.number, search.pk, refusal.message)
    for trial in trials:
        if trial.state == Trial.State.PRUNED and trial.run is not None:
            _delete_checkpoints(trial.run)


def _delete_checkpoints(run: TrainingRun) -> None:
    """Deletes the checkpoints of a cancelled run, unless it was resumed."""
    rows = TrainingRun.objects.filter(pk=run.pk, status=Status.CANCELLED)
    if rows.update(checkpoint_step=0):
        folder = local_path(f"{run.folder_key}/state")
        transaction.on_commit(lambda: shutil.rmtree(folder, ignore_errors=True), robust=True)
