"""From corrected gold to corrected figures: a new dataset version, and the evaluations that are scored against it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from django.contrib.auth.models import User

from evaluation.models import EvalRun, GoldQuestion
from evaluation.runs import rescoring
from labeling.datasets import freeze as freeze_module
from labeling.documents.list.counts import gold_count
from labeling.models import DatasetItem, DatasetVersion, FreezeRun, Gold, Project, Review
from slmstudio.errors import Refused

__all__ = ["Standing", "freeze", "score_again", "standing"]


@dataclass(frozen=True)
class Standing:
    """Where corrections stand. ``waiting``: documents whose corrected gold a new version would have and ``newest`` has
    not; ``frozen``: those with it in ``newest``; ``behind``: evaluations that answered one and are scored by an older
    version. What the rules of ``newest`` leave out, whatever its label, is neither.
    """

    newest: DatasetVersion | None
    waiting: list[int] = field(default_factory=list)
    frozen: list[int] = field(default_factory=list)
    behind: list[EvalRun] = field(default_factory=list)


def standing(project: Project) -> Standing:
    """Which corrections are in the newest version, and which evaluations do not know them yet."""
    newest = DatasetVersion.objects.filter(project=project).order_by("-number").first()
    corrected = GoldQuestion.objects.filter(project=project, answer=GoldQuestion.Answer.CORRECTED)
    keys = sorted(set(corrected.values_list("document_id", flat=True)))
    if newest is None or not keys:
        return Standing(newest)
    counts = dict(Gold.objects.current(project).filter(document__in=keys).values_list("document_id", "revision_id"))
    items = DatasetItem.objects.filter(dataset=newest, document__in=keys)
    frozen_as = dict(items.values_list("document_id", "revision_id"))
    was_aside = _aside_at(newest, [key for key in counts if key not in frozen_as])
    waiting = [key for key, now in counts.items() if (frozen_as[key] != now if key in frozen_as else key in was_aside)]
    frozen = [key for key, revision in counts.items() if frozen_as.get(key) == revision]
    return Standing(newest, sorted(waiting), sorted(frozen), rescoring.outdated_runs(project, newest, frozen))


def _aside_at(dataset: DatasetVersion, documents: list[int]) -> set[int]:
    """Which documents had been sent back when a version was frozen, and are missing from it for that."""
    if not documents:
        return set()
    rows = Review.objects.filter(document__in=documents, created_at__lte=dataset.created_at)
    newest = rows.order_by("document_id", "-pk").distinct("document_id").values_list("document_id", "decision")
    return {key for key, decision in newest if decision == Review.Decision.REJECT}


def freeze(*, project: Project, user: User) -> DatasetVersion | FreezeRun:
    """Freezes a version with the corrections, drawn by the rules of the newest one; a large project by a job.

    Raises:
        Refused: nothing is frozen yet, or the freeze refuses.
    """
    newest = DatasetVersion.objects.filter(project=project).order_by("-number").first()
    if newest is None:
        raise Refused("Nothing is frozen yet, so there is nothing to correct. Freeze a first version.", field="form")
    # Versions from before rules were kept have none: the usual ones then.
    shares = {
        name: float(newest.rules.get(name, usual))
        for name, usual in (("validation_share", 0.1), ("holdout_share", 0.2))
    }
    knobs: dict[str, Any] = {"seed": newest.seed, "rules": freeze_module.rules_of(newest.rules), **shares}
    try:
        if gold_count(project).number > freeze_module.BACKGROUND_THRESHOLD:
            return freeze_module.start_freeze(project=project, user=user, **knobs)
        return freeze_module.freeze(project=project, user=user, **knobs)
    except Refused as refused:
        raise Refused(refused.message, field="form") from refused


def score_again(*, project: Project, numbers: Iterable[int], user: User) -> tuple[list[EvalRun], list[str]]:
    """Scores evaluations, by their numbers, against the newest version: those that are queued, and why others are not.

    Raises:
        Refused: there is no such evaluation, or none can be scored so.
    """
    newest = DatasetVersion.objects.filter(project=project).order_by("-number").first()
    wanted = sorted(set(numbers))
    runs = EvalRun.objects.filter(project=project, number__in=wanted).with_model().order_by("number")
    found = list(runs.select_related("project", "rescored_from"))
    if newest is None or len(found) != len(wanted) or not found:
        raise Refused("Tick the evaluations that are to be scored again.", field="runs")
    made: list[EvalRun] = []
    refusals: list[str] = []
    for run in found:
        try:
            made.append(rescoring.rescore(run=run, dataset=newest, user=user))
        except Refused as refusal:
            refusals.append(refusal.message)
    if not made:
        raise Refused(" ".join(dict.fromkeys(refusals)), field="runs")
    return made, refusals
