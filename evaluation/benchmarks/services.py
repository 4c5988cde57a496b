"""Benchmarks: drawing the documents that judge, starting an eval run for each model and mode, and ending.

What judges is real and was labelled by people without a pre-label, and it is never held out: documents of the newest
dataset version, validation first, because nothing is trained on those. The two solved examples that base models are
shown are the ones of every other evaluation of theirs, and neither they nor what resembles them judges.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import User
from django.db import OperationalError, transaction
from django.db.models import Count
from django.utils import timezone

from evaluation.audit import services as audit_services
from evaluation.benchmarks import results
from evaluation.inference import endpoints
from evaluation.models import Benchmark, Endpoint, EvalRun
from evaluation.runs import model_under_test
from evaluation.runs.services import next_number, start_evaluation
from labeling.datasets import near_duplicates, splits
from labeling.datasets import queries as dataset_queries
from labeling.models import DatasetItem, DatasetVersion, Document, Project, Split
from slmstudio.errors import Refused
from slmstudio.runs.models import LIVE, Status
from training.models import BaseModel, ModelVersion
from training.runs.services import unfetched

logger = logging.getLogger(__name__)

LEAST, MOST, USUAL = 20, 50, 30
MOST_CANDIDATES = 6
#: looked at for one that judges, at first: near-duplicates fall away
_WINDOW = 4
#: looked at in all, which is a second or two
_MOST_LOOKED_AT = 2000
#: documents that candidates learned from, the newest, which nothing that judges may resemble: seconds
_MOST_LEARNED = 10_000

Subject = BaseModel | ModelVersion | Endpoint


@dataclass(frozen=True)
class Stock:
    """What could judge: documents of ``dataset`` by split, without the examples; None where nothing is frozen."""

    dataset: DatasetVersion | None
    validation: int = 0
    train: int = 0
    not_by_people: int = 0

    @property
    def count(self) -> int:
        """How many documents there are to draw from."""
        return self.validation + self.train

    @property
    def missing(self) -> int:
        """How many are missing to the least that a benchmark takes."""
        return max(0, LEAST - self.count)


@dataclass(frozen=True)
class Drawn:
    """Keys of the documents that judge and of the examples.

    ``looked_at`` of the ``there`` that could judge were compared with each other: not all where there are very many.
    """

    documents: list[int]
    examples: list[int]
    looked_at: int
    there: int


def newest_dataset(project: Project) -> DatasetVersion | None:
    """The newest version under the present schema."""
    rows = DatasetVersion.objects.filter(project=project, schema_version=project.schema_version)
    return rows.select_related("schema_version").order_by("-number").first()


def stock(project: Project) -> Stock:
    """What there is to draw from, counted by the database."""
    dataset = newest_dataset(project)
    if dataset is None:
        return Stock(None)
    rows = _may_judge(dataset).values_list("split", "origin").annotate(count=Count("pk")).order_by()
    counts = {Split.VALIDATION: 0, Split.TRAIN: 0}
    others = 0
    for split, origin, count in rows:
        if origin in splits.PEOPLE_MADE:
            counts[split] += count
        else:
            others += count
    # The examples are drawn from the training split, whoever labelled them.
    train = max(0, counts[Split.TRAIN] - model_under_test.EXAMPLES)
    return Stock(dataset, counts[Split.VALIDATION], train, others)


def _may_judge(dataset: DatasetVersion) -> Any:
    """Items of a version outside every hold-out, now and in any version."""
    held_out = DatasetItem.objects.filter(dataset__project=dataset.project_id, split=Split.HOLDOUT)
    rows = dataset.items.filter(split__in=[Split.VALIDATION, Split.TRAIN], document__holdout=False)
    return rows.exclude(document__in=held_out.values("document"))


def draw(dataset: DatasetVersion, *, count: int, seed: int, seen: Sequence[DatasetVersion] = ()) -> Drawn:
    """``count`` documents drawn by the seed, validation first; fewer where there are fewer.

    ``seen``: what a candidate was trained on; nothing of that judges, nor what resembles it.
    """
    learned: list[int] = []
    examples = model_under_test.drawn_examples(dataset, Split.TRAIN)
    rows = _may_judge(dataset).filter(origin__in=splits.PEOPLE_MADE).exclude(document__in=examples)
    if seen:
        trained = DatasetItem.objects.filter(dataset__in=seen, split=Split.TRAIN)
        rows = rows.exclude(document__in=trained.values("document"))
        newest = trained.order_by("-document_id").values_list("document_id", flat=True).distinct()
        learned = list(newest[:_MOST_LEARNED])
    order = sorted(
        rows.values_list("split", "document__external_id", "document_id"),
        key=lambda row: (row[0] != Split.VALIDATION, splits.draw(seed, "benchmark", row[1].encode())),
    )
    keys, chosen, at, window = [pk for *_, pk in order], list[int](), 0, _WINDOW * count
    most = min(len(keys), _MOST_LOOKED_AT)
    while len(chosen) < count and at < most:
        chosen += _unlike(keys[at : min(most, at + window)], [*examples, *learned, *chosen])
        at = min(most, at + window)
        window *= 2
    return Drawn(chosen[:count], examples, at, len(keys))


def _unlike(ordered: Sequence[int], earlier: Sequence[int]) -> list[int]:
    """Those that resemble neither one of ``earlier`` nor one before them."""
    texts = dict(Document.objects.filter(pk__in=[*ordered, *earlier]).values_list("pk", "text"))
    together = [*earlier, *ordered]
    groups = near_duplicates.group(texts[pk] for pk in together).group
    taken = set(groups[: len(earlier)])
    kept = []
    for pk, group in zip(ordered, groups[len(earlier) :], strict=True):
        if group not in taken:
            taken.add(group)
            kept.append(pk)
    return kept


@transaction.atomic
def start_benchmark(
    *, project: Project, user: User, candidates: Sequence[Subject], modes: Sequence[str], documents: int = USUAL
) -> Benchmark:
    """Queues an eval run for each model and mode, all on the same documents.

    Base models that are not prepared yet are prepared by their job; nothing is fetched from the hub for that.

    Raises:
        Refused: ``field`` is one of models, modes, documents. Nothing is queued then.
    """
    order = [one for one in EvalRun.Mode.values if one in modes]
    _check(project, candidates, order, modes, documents)
    dataset = newest_dataset(project)
    if dataset is None:
        raise Refused("No dataset is frozen under the present schema. Freeze one first.", field="documents")
    _check_file(dataset)
    trained = [one.training_run.dataset for one in candidates if isinstance(one, ModelVersion)]
    drawn = draw(dataset, count=documents, seed=dataset.seed, seen=trained)
    if model_under_test.held_out(drawn.examples):
        raise Refused(f"A solved example of {dataset} is held out now. Freeze a new version first.", field="documents")
    if len(drawn.documents) < documents:
        raise Refused(_too_few(drawn, dataset, bool(trained)), field="documents")
    row = Benchmark(
        project=project,
        number=next_number(Benchmark, project),
        dataset=dataset,
        seed=dataset.seed,
        documents=drawn.documents,
        examples=drawn.examples,
        modes=order,
        constraints=project.contract.constraints,
        created_by=user,
        # It has no process of its own, so it is running from the start and never beats: the sweep leaves it alone.
        status=Status.RUNNING,
        started_at=timezone.now(),
        progress_total=0,
    )
    row.full_clean(exclude=["examples"])
    row.save()
    runs = [
        start_evaluation(project=project, user=user, dataset=dataset, mode=mode, benchmark=row, **_as_subject(one))
        for one in candidates
        for mode in order
        if _knows(one, mode)
    ]
    row.record(progress_total=documents * len(runs), stage="waiting for a worker")
    audit_services.record(
        project=project,
        user=user,
        action="started",
        about=str(row),
        details={"models": [str(one) for one in candidates], "modes": order, "documents": documents},
    )
    return row


def _check(
    project: Project, candidates: Sequence[Subject], order: Sequence[str], modes: Sequence[str], documents: int
) -> None:
    if not candidates:
        raise Refused("Choose at least one model.", field="models")
    if len(candidates) > MOST_CANDIDATES:
        raise Refused(f"At most {MOST_CANDIDATES} models stand side by side.", field="models")
    if len({(type(one), one.pk) for one in candidates}) < len(candidates):
        raise Refused("A model is named twice.", field="models")
    if not order or len(order) < len(set(modes)):
        raise Refused(f"Choose at least one way of decoding: {', '.join(EvalRun.Mode.values)}.", field="modes")
    if not LEAST <= documents <= MOST:
        raise Refused(f"A benchmark judges by {LEAST} to {MOST} documents.", field="documents")
    for one in candidates:
        if not isinstance(one, BaseModel) and one.project_id != project.pk:
            raise Refused(f"{one} belongs to another project.", field="models")
        if isinstance(one, Endpoint):
            _check_endpoint(one, order)
        if isinstance(one, BaseModel) and not one.here:
            raise Refused(unfetched(one).message, field="models")


def _check_file(dataset: DatasetVersion) -> None:
    """So that a file that has gone is known now, not by each evaluation."""
    try:
        dataset_queries.file_path(dataset)
    except FileNotFoundError as error:
        raise Refused(f"{error} Freeze a new version.", field="documents") from error


def _check_endpoint(endpoint: Endpoint, modes: Sequence[str]) -> None:
    if endpoint.retired_at is not None:
        raise Refused(f"The endpoint {endpoint} was removed.", field="models")
    if not any(_knows(endpoint, mode) for mode in modes):
        if endpoint.structured != Endpoint.Structured.FREE:
            raise Refused(f"The endpoint {endpoint} cannot be held to the text of each document.", field="modes")
        raise Refused(f"The endpoint {endpoint} is asked in words alone: it cannot be held to a schema.", field="modes")
    try:
        endpoints.address_of(endpoint)
    except Refused as refusal:
        raise Refused(f"{endpoint}: {refusal.message}", field="models") from refusal


def _knows(one: Subject, mode: str) -> bool:
    """Whether a model can be asked in this mode."""
    if not isinstance(one, Endpoint) or mode == EvalRun.Mode.FREE:
        return True
    return mode == EvalRun.Mode.CONSTRAINED and one.structured != Endpoint.Structured.FREE


def _as_subject(one: Subject) -> dict[str, Any]:
    if isinstance(one, BaseModel):
        return {"base_model": one}
    return {"endpoint": one} if isinstance(one, Endpoint) else {"training_run": one.training_run}


def _too_few(drawn: Drawn, dataset: DatasetVersion, trained: bool) -> str:
    unseen = " that no candidate was trained on" if trained else ""
    found = len(drawn.documents)
    if drawn.looked_at < drawn.there:
        return (
            f"{dataset} has {drawn.there:,} documents outside the hold-out that people labelled{unseen}. Of "
            f"{drawn.looked_at:,} that were looked at, only {found:,} are no near-duplicates of each other. Ask for "
            f"fewer, or label documents that differ more and freeze again; {LEAST} is the least."
        )
    return (
        f"{dataset} has {found:,} documents outside the hold-out that people labelled{unseen}, near-duplicates counted "
        f"once. Ask for fewer, or label more and freeze again; {LEAST} is the least."
    )


def cancel(*, benchmark: Benchmark, user: User | None) -> bool:
    """Cancels what waits at once and asks what runs to stop. False where it had ended already."""
    if not benchmark.cancel():
        return False
    audit_services.record(project=benchmark.project, user=user, action="cancelled", about=str(benchmark))
    for run in EvalRun.objects.filter(benchmark=benchmark).live():
        run.cancel()
    advance(benchmark.pk)
    return True


def advance(pk: int) -> None:
    """Looks where a benchmark stands, and ends it once all its runs have. Safe at any time, by several at once.

    One that cannot be ended fails with a sentence: every sweep asks for it, and jobs sweep before they begin.

    Raises:
        OperationalError: the database does not answer, which is no fault of the benchmark.
    """
    try:
        _advance(pk)
    except OperationalError:
        raise
    except Exception as error:
        logger.exception("benchmark %s cannot be ended", pk)
        broke = f"Something broke that should not ({type(error).__name__}: {error}). What was measured is kept."
        Benchmark.objects.get(pk=pk).fail(broke)


def _advance(pk: int) -> None:
    with transaction.atomic():
        row = Benchmark.objects.select_for_update(of=("self",)).select_related("project").filter(pk=pk).first()
        if row is None or not row.is_live:
            return
        runs = list(EvalRun.objects.filter(benchmark=row).with_subject().order_by("number"))
        if any(run.status in LIVE for run in runs):
            return
        _conclude(row, runs)


def advance_live() -> None:
    """Looks at every live benchmark: what ended without saying so, because its worker died, is noticed here."""
    for pk in Benchmark.objects.live().values_list("pk", flat=True):
        advance(pk)


def _conclude(row: Benchmark, runs: list[EvalRun]) -> None:
    done = [run for run in runs if run.status == Status.DONE]
    result = results.recommendation(row, done).as_dict() if done else {}
    answered = sum(run.progress_done for run in runs)
    if row.cancel_requested:
        row.cancelled(result=result, progress_done=answered)
    elif done:
        row.finish(result=result, progress_done=answered)
    else:
        first = next((run.error for run in runs if run.error), "every evaluation was cancelled.")
        row.fail(f"No model was measured: {first}", progress_done=answered)
