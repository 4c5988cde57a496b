"""One pass of the loop as a unit: benchmark the base model, fine-tune, evaluate, compare, gate.

Every stage is an ordinary run on the ordinary queue; the loop only knows which rows belong together. Whatever ends asks
``advance`` to look again, and the one that finds everything done compares and judges.
"""

from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from evaluation.comparison.services import compare_runs
from evaluation.gates.services import make_report, opponent
from evaluation.gates.verdicts import GateError
from evaluation.models import EvalRun, LoopRun
from evaluation.runs.services import start_evaluation
from labeling.models import DatasetVersion, Project, Split
from slmstudio.errors import Refused
from slmstudio.runs.models import BackgroundRun, Status
from training.models import BaseModel
from training.runs.presets import Knobs
from training.runs.services import start_training


@dataclass(frozen=True)
class Stage:
    """One stage of a loop: its name, the run that does it, and its row's state."""

    name: str
    run: BackgroundRun


@transaction.atomic
def start_loop(
    *,
    project: Project,
    user: User,
    dataset: DatasetVersion,
    base_model: BaseModel,
    knobs: Knobs,
    name: str = "",
    with_free: bool = False,
) -> LoopRun:
    """Queues all stages, in order, on the one queue of the GPU worker.

    ``with_free`` evaluates both models a second time without the schema's constraint.

    Raises:
        Refused: as ``start_training`` and ``start_evaluation`` refuse; nothing is queued then.
    """

    def evaluate(mode: str, **subject: Any) -> EvalRun:
        return start_evaluation(project=project, user=user, dataset=dataset, split=Split.HOLDOUT, mode=mode, **subject)

    base = evaluate(EvalRun.Mode.CONSTRAINED, base_model=base_model)
    base_free = evaluate(EvalRun.Mode.FREE, base_model=base_model) if with_free else None
    training_run = start_training(
        project=project, user=user, dataset=dataset, base_model=base_model, knobs=knobs, name=name
    )
    tuned = evaluate(EvalRun.Mode.CONSTRAINED, training_run=training_run)
    tuned_free = evaluate(EvalRun.Mode.FREE, training_run=training_run) if with_free else None
    return LoopRun.objects.create(
        project=project,
        dataset=dataset,
        created_by=user,
        # It has no process of its own, so it is running from the start and never beats: the sweep leaves it alone.
        status=Status.RUNNING,
        started_at=timezone.now(),
        stage="benchmark of the base model",
        progress_total=5 if with_free else 3,
        base=base,
        base_free=base_free,
        training_run=training_run,
        tuned=tuned,
        tuned_free=tuned_free,
    )


def stages(loop: LoopRun) -> list[Stage]:
    """The loop's runs in the order they are worked."""
    rows = [
        ("benchmark of the base model", loop.base),
        ("benchmark of the base model, free", loop.base_free),
        ("fine-tuning", loop.training_run),
        ("evaluation of the tuned model", loop.tuned),
        ("evaluation of the tuned model, free", loop.tuned_free),
    ]
    return [Stage(name, run) for name, run in rows if run is not None]


def newest_loop(project: Project) -> dict[str, Any] | None:
    """The newest loop of a project with its stages, as its panel shows it."""
    rows = LoopRun.objects.filter(project=project).order_by("-pk")
    loop = rows.select_related("dataset", "training_run", "comparison", "gate_report").first()
    if loop is None:
        return None
    # All its runs at once: to plan a join of every run with all that it names takes longer than the page.
    names = ("base", "base_free", "tuned", "tuned_free")
    keys = {name: getattr(loop, f"{name}_id") for name in names}
    runs = EvalRun.objects.with_subject().in_bulk([key for key in keys.values() if key is not None])
    for name, key in keys.items():
        if key is not None:
            setattr(loop, name, runs[key])
    return {"project": project, "loop": loop, "stages": stages(loop)}


def eval_ended(run: EvalRun) -> None:
    """Called when an evaluation has ended, however: moves the loops it belongs to on."""
    rows = LoopRun.objects.live().filter(project_id=run.project_id)
    for pk in rows.values_list("pk", flat=True):
        advance(pk)


def advance(pk: int) -> LoopRun | None:
    """Looks where a loop stands and takes the step that is due. Safe to call at any time, by several at once."""
    with transaction.atomic():
        loop = (
            LoopRun.objects.select_for_update(of=("self",))
            .select_related("base", "base_free", "training_run", "tuned", "tuned_free")
            .filter(pk=pk)
            .first()
        )
        if loop is None or not loop.is_live:
            return loop
        parts = stages(loop)
        broken = [part for part in parts if part.run.status in (Status.FAILED, Status.CANCELLED)]
        if broken:
            first = broken[0]
            loop.fail(f"The {first.name} {first.run.get_status_display()}: {first.run.error or 'by request'}")
            _cancel_stages(parts)
            return loop
        open_parts = [part for part in parts if part.run.status != Status.DONE]
        if open_parts:
            loop.record(progress_done=len(parts) - len(open_parts), stage=open_parts[0].name)
            return loop
        _conclude(loop)
        return loop


def advance_live() -> None:
    """Looks at every live loop: what ended without saying so, because its worker died, is noticed here."""
    for pk in LoopRun.objects.live().values_list("pk", flat=True):
        advance(pk)


def abandon(loop: LoopRun) -> None:
    """Ends a loop that nobody waits for any more, and the stages that have not ended."""
    loop.fail("It was stopped before its end.")
    _cancel_stages(stages(loop))


def _cancel_stages(parts: list[Stage]) -> None:
    for part in parts:
        part.run.cancel()


def _conclude(loop: LoopRun) -> None:
    """Compares and judges; both are idempotent by their own unique rows. What cannot be judged ends the loop."""
    try:
        with transaction.atomic():
            comparison = compare_runs(a=loop.base, b=loop.tuned)
            report = make_report(eval_run=loop.tuned, baseline=opponent(loop.tuned), user=loop.created_by)
    except (Refused, GateError) as error:
        loop.fail(f"Everything ran, but it cannot be judged: {error}")
        return
    loop.finish(progress_done=loop.progress_total, comparison=comparison, gate_report=report)
