"""Label corrections: a new dataset version with them, and the re-scoring of evaluations."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from django.contrib.auth.models import User

from evaluation.models import EvalRun, LabelChallenge
from evaluation.runs import rescoring
from labeling.datasets import freeze as freeze_module
from labeling.datasets.freeze_rules import rules_of
from labeling.form.merge import same
from labeling.models import DatasetItem, DatasetVersion, FreezeRun, Gold, Project, Review
from slmstudio.access import Action, require
from slmstudio.errors import Refused

__all__ = ["CorrectionStatus", "correction_status", "freeze", "rescore_all"]


@dataclass(frozen=True)
class CorrectionStatus:
    """The status of label corrections. ``waiting``: documents whose corrected label is not in the ``newest`` version;
    ``frozen``: those whose label is; ``behind``: evaluations of one of these that are scored with an older version.
    Documents that the rules of ``newest`` exclude are in neither.
    """

    newest: DatasetVersion | None
    waiting: list[int] = field(default_factory=list)
    frozen: list[int] = field(default_factory=list)
    behind: list[EvalRun] = field(default_factory=list)


def correction_status(project: Project) -> CorrectionStatus:
    """Which corrections are in the newest version, and which evaluations must be re-scored."""
    newest = DatasetVersion.objects.filter(project=project).order_by("-number").first()
    corrected = LabelChallenge.objects.filter(project=project, answer=LabelChallenge.Answer.CORRECTED)
    keys = sorted(set(corrected.values_list("document_id", flat=True)))
    if newest is None or not keys:
        return CorrectionStatus(newest)
    golds = Gold.objects.current(project).filter(document__in=keys)
    counts = dict(golds.values_list("document_id", "revision__value"))
    items = DatasetItem.objects.filter(dataset=newest, document__in=keys)
    frozen_as = dict(items.values_list("document_id", "revision__value"))
    rejected = _rejected_at_freeze(newest, [key for key in counts if key not in frozen_as])
    frozen = [key for key, now in counts.items() if key in frozen_as and same(frozen_as[key], now)]
    waiting = [key for key in counts if (key not in frozen if key in frozen_as else key in rejected)]
    included = sorted(frozen)
    return CorrectionStatus(newest, sorted(waiting), included, rescoring.outdated_runs(project, newest, included))


def _rejected_at_freeze(dataset: DatasetVersion, documents: list[int]) -> set[int]:
    """Documents whose annotation was rejected when a version was frozen, so that they are missing in it."""
    if not documents:
        return set()
    rows = Review.objects.filter(document__in=documents, created_at__lte=dataset.created_at)
    newest = rows.order_by("document_id", "-pk").distinct("document_id").values_list("document_id", "decision")
    return {key for key, decision in newest if decision == Review.Decision.REJECT}


def freeze(*, project: Project, user: User) -> DatasetVersion | FreezeRun:
    """Freezes a version with the corrections and the rules of the newest one; in the background for a large project.

    Raises:
        Refused: there is no version, or none can be frozen.
    """
    require(project, user, Action.CURATE)
    newest = DatasetVersion.objects.filter(project=project).order_by("-number").first()
    if newest is None:
        raise Refused("The project has no dataset version. Freeze one.", field="form")
    # Old versions have no stored rules: the default ones then.
    shares = {
        name: float(newest.rules.get(name, default))
        for name, default in (("validation_share", 0.1), ("holdout_share", 0.2))
    }
    options: dict[str, Any] = {"seed": newest.seed, "rules": rules_of(newest.rules), **shares}
    try:
        if freeze_module.needs_job(project, options["rules"]):
            return freeze_module.start_freeze(project=project, user=user, **options)
        return freeze_module.freeze(project=project, user=user, **options)
    except Refused as refused:
        raise Refused(refused.message, field="form") from refused


def rescore_all(
    *, project: Project, numbers: Iterable[int], user: User, confirm_holdout: bool = False
) -> tuple[list[EvalRun], list[str]]:
    """Re-scores evaluations, by number, on the newest version: the queued ones, and error messages for others.

    Raises:
        Refused: there is no such evaluation, or none can be re-scored.
    """
    require(project, user, Action.RUN)
    newest = DatasetVersion.objects.filter(project=project).order_by("-number").first()
    requested = sorted(set(numbers))
    runs = EvalRun.objects.filter(project=project, number__in=requested).with_model().order_by("number")
    selected = list(runs.select_related("project", "rescored_from"))
    if newest is None or len(selected) != len(requested) or not selected:
        raise Refused("Select the evaluations to re-score.", field="runs")
    queued: list[EvalRun] = []
    errors: list[str] = []
    for run in selected:
        try:
            queued.append(rescoring.rescore(run=run, dataset=newest, user=user, confirm_holdout=confirm_holdout))
        except Refused as error:
            errors.append(error.message)
    if not queued:
        raise Refused(" ".join(dict.fromkeys(errors)), field="runs")
    return queued, errors
