"""Benchmarks: sample documents, start an eval run for each model and mode, and conclude.

The documents are real, were labeled by annotators without a pre-label, and are never in the hold-out: documents of the
newest dataset version, validation first, because nothing is trained on those. A version without any real document, as
that of the demo, has synthetic ones. The few-shot examples of base models are
those of every other evaluation; they and their near-duplicates are excluded.

A base model answers as it is, a classical model is trained by its evaluation, and an encoder has a training run first,
after which its evaluation starts.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeGuard

from django.contrib.auth.models import User
from django.db import OperationalError, transaction
from django.db.models import Count
from django.utils import timezone

from evaluation.audit import services as audit_services
from evaluation.benchmarks import results
from evaluation.classical import services as classical
from evaluation.inference.backends import backend_class_of
from evaluation.inference.endpoint_keys import endpoint_config
from evaluation.inference.model_columns import ClassicalKind
from evaluation.models import Benchmark, Endpoint, EvalRun, OptimizedPrompt
from evaluation.prompts.study import searched_documents
from evaluation.runs import run_documents
from evaluation.runs.services import Model, start_evaluation
from labeling.datasets import near_duplicates, splits
from labeling.datasets import queries as dataset_queries
from labeling.documents.list.counts import gold_count
from labeling.models import DatasetItem, DatasetVersion, Document, Origin, Project, Split
from slmstudio.access import Action, require
from slmstudio.errors import Refused
from slmstudio.runs.models import ACTIVE, Status
from training.base_models.downloads import download_required
from training.estimates.services import recommended_method
from training.hyperparameters.dataset_defaults import default_hyperparameters
from training.hyperparameters.definitions import Hyperparameters
from training.models import BaseModel, ModelVersion, TrainingRun
from training.runs.services import start_training

logger = logging.getLogger(__name__)

MIN_DOCUMENTS, MAX_DOCUMENTS, DEFAULT_DOCUMENTS = 20, 50, 30
MAX_CANDIDATES = 8
#: documents compared per sampled one at first: near-duplicates are dropped
_WINDOW = 4
#: documents compared in total, a second or two
_MAX_COMPARED = 2000
#: newest training documents of candidates whose near-duplicates are excluded, a few seconds
_MAX_TRAINING_TEXTS = 10_000

#: a training run may still be queued: it is evaluated after it
Candidate = BaseModel | TrainingRun | ModelVersion | Endpoint | ClassicalKind | OptimizedPrompt


@dataclass(frozen=True)
class AvailableDocuments:
    """Documents of ``dataset`` that can be sampled, by split, without the examples; None where nothing is frozen.
    ``gold``: where documents are missing, the gold labels that a new version would have.
    """

    dataset: DatasetVersion | None
    validation: int = 0
    train: int = 0
    not_by_people: int = 0
    gold: int = 0

    @property
    def count(self) -> int:
        """How many documents are available."""
        return self.validation + self.train

    @property
    def missing(self) -> int:
        """How many documents are missing to the minimum."""
        return max(0, MIN_DOCUMENTS - self.count)

    @property
    def can_freeze(self) -> bool:
        """Whether a new version would have enough documents, as far as the number of gold labels tells."""
        frozen = self.dataset.counts["documents"] if self.dataset is not None else 0
        return self.gold - frozen >= self.missing


@dataclass(frozen=True)
class BenchmarkSample:
    """Keys of the sampled documents and of the few-shot examples. ``compared`` of the ``available`` documents were
    searched for near-duplicates: not all where there are very many.
    """

    documents: list[int]
    examples: list[int]
    compared: int
    available: int


def newest_dataset(project: Project) -> DatasetVersion | None:
    """The newest version of the current schema."""
    rows = DatasetVersion.objects.filter(project=project, schema_version__sha256=project.schema_version.sha256)
    return rows.select_related("schema_version").order_by("-number").first()


def available_documents(project: Project) -> AvailableDocuments:
    """The documents that can be sampled, counted by the database."""
    dataset = newest_dataset(project)
    if dataset is None:
        return AvailableDocuments(None, gold=gold_count(project).number)
    rows = _eligible_items(dataset).values_list("split", "origin").annotate(count=Count("pk")).order_by()
    origins = _origins(dataset)
    counts = {Split.VALIDATION: 0, Split.TRAIN: 0}
    others = 0
    for split, origin, count in rows:
        if origin in origins:
            counts[split] += count
        else:
            others += count
    # Few-shot examples come from the training split, whatever the origin of their labels.
    train = max(0, counts[Split.TRAIN] - run_documents.EXAMPLES)
    stock = AvailableDocuments(dataset, counts[Split.VALIDATION], train, others)
    return replace(stock, gold=gold_count(project).number) if stock.missing else stock


def _eligible_items(dataset: DatasetVersion) -> Any:
    """Items of a version outside the hold-out, now and in any version."""
    held_out = DatasetItem.objects.filter(dataset__project=dataset.project_id, split=Split.HOLDOUT)
    rows = dataset.items.filter(split__in=[Split.VALIDATION, Split.TRAIN], document__holdout=False)
    return rows.exclude(document__in=held_out.values("document"))


def _origins(dataset: DatasetVersion) -> frozenset[str]:
    """The origins of labels that documents can have: of people, or synthetic where all of them are."""
    only_synthetic = not dataset.items.exclude(origin=Origin.SYNTHETIC).exists()
    return frozenset({Origin.SYNTHETIC}) if only_synthetic else splits.HUMAN_ORIGINS


def sample_documents(
    dataset: DatasetVersion,
    *,
    count: int,
    seed: int,
    seen: Sequence[DatasetVersion] = (),
    searched: Sequence[int] = (),
) -> BenchmarkSample:
    """``count`` documents sampled by the seed, validation first; fewer where there are fewer.

    ``seen``: what candidates were trained on; ``searched``: keys of the documents that chose their prompts. Both are
    excluded, with their near-duplicates.
    """
    training = list(searched)
    examples = run_documents.sample_few_shot_keys(dataset, Split.TRAIN)
    rows = _eligible_items(dataset).filter(origin__in=_origins(dataset)).exclude(document__in=[*examples, *searched])
    if seen:
        trained = DatasetItem.objects.filter(dataset__in=seen, split=Split.TRAIN)
        rows = rows.exclude(document__in=trained.values("document"))
        newest = trained.order_by("-document_id").values_list("document_id", flat=True).distinct()
        training += newest[:_MAX_TRAINING_TEXTS]
    order = sorted(
        rows.values_list("split", "document__external_id", "document_id"),
        key=lambda row: (row[0] != Split.VALIDATION, splits.hash_fraction(seed, "benchmark", row[1].encode())),
    )
    keys, chosen, at, window = [pk for *_, pk in order], list[int](), 0, _WINDOW * count
    limit = min(len(keys), _MAX_COMPARED)
    while len(chosen) < count and at < limit:
        chosen += _without_near_duplicates(keys[at : min(limit, at + window)], [*examples, *training, *chosen])
        at = min(limit, at + window)
        window *= 2
    return BenchmarkSample(chosen[:count], examples, at, len(keys))


def _without_near_duplicates(ordered: Sequence[int], earlier: Sequence[int]) -> list[int]:
    """Those that are no near-duplicate of one in ``earlier`` or before them."""
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
    *,
    project: Project,
    user: User,
    candidates: Sequence[Candidate],
    modes: Sequence[str],
    documents: int = DEFAULT_DOCUMENTS,
) -> Benchmark:
    """Queues an eval run for each model and mode, all on the same documents; one for each classical model, which is
    trained on the training documents that are not among them. An untrained encoder has a training run on the training
    split with its preset, and the benchmark has no training documents then.

    Jobs prepare decoders that are not prepared; nothing is downloaded for that.

    Raises:
        Refused: ``field`` is one of models, modes, documents. Nothing is queued then.
    """
    require(project, user, Action.RUN)
    order = [mode for mode in EvalRun.Mode.values if mode in modes]
    _check(project, candidates, order, modes, documents)
    dataset = newest_dataset(project)
    if dataset is None:
        raise Refused("No dataset version of the current schema. Freeze one first.", field="documents")
    _check_file(dataset)
    trained = [candidate.training_run.dataset for candidate in candidates if isinstance(candidate, ModelVersion)]
    trained += [candidate.dataset for candidate in candidates if isinstance(candidate, TrainingRun)]
    trained += [dataset for candidate in candidates if _is_untrained_encoder(candidate)][:1]
    searched = searched_documents(candidate for candidate in candidates if isinstance(candidate, OptimizedPrompt))
    drawn = sample_documents(dataset, count=documents, seed=dataset.seed, seen=trained, searched=searched)
    if run_documents.in_holdout(drawn.examples):
        raise Refused(
            f"A few-shot example of {dataset} is in the hold-out now. Freeze a new version first.", field="documents"
        )
    if len(drawn.documents) < documents:
        raise Refused(_too_few(drawn, dataset, bool(trained)), field="documents")
    row = Benchmark(
        project=project,
        number=project.next_number(Benchmark),
        dataset=dataset,
        seed=dataset.seed,
        documents=drawn.documents,
        examples=drawn.examples,
        modes=order,
        constraints=project.contract.constraints,
        created_by=user,
        # It has no job, so it is running from the start without a heartbeat, and the reaper ignores it.
        status=Status.RUNNING,
        started_at=timezone.now(),
        progress_total=0,
    )
    row.full_clean(exclude=["examples"])
    row.save()
    models: list[Model] = []
    runs = []
    # The queue keeps this order, so the first results are there early.
    for candidate in sorted(candidates, key=_slowness):
        model = _evaluated(candidate, row)
        if model in models:
            continue
        models.append(model)
        for mode in _modes(model, order):
            runs.append(
                start_evaluation(project=project, user=user, dataset=dataset, model=model, mode=mode, benchmark=row)
            )
    row.record(progress_total=documents * len(runs), stage="waiting for a worker")
    audit_services.record(
        project=project,
        user=user,
        action="started",
        about=str(row),
        details={"models": [str(candidate) for candidate in candidates], "modes": order, "documents": documents},
    )
    return row


def _check(
    project: Project, candidates: Sequence[Candidate], order: Sequence[str], modes: Sequence[str], documents: int
) -> None:
    if not candidates:
        raise Refused("Select at least one model.", field="models")
    if len(candidates) > MAX_CANDIDATES:
        raise Refused(f"Select at most {MAX_CANDIDATES} models.", field="models")
    if len({(type(candidate), getattr(candidate, "pk", candidate)) for candidate in candidates}) < len(candidates):
        raise Refused("Select each model only once.", field="models")
    if not order or len(order) < len(set(modes)):
        raise Refused(f"Select at least one decoding mode: {', '.join(EvalRun.Mode.values)}.", field="modes")
    if not MIN_DOCUMENTS <= documents <= MAX_DOCUMENTS:
        raise Refused(f"Choose {MIN_DOCUMENTS} to {MAX_DOCUMENTS} documents.", field="documents")
    for candidate in candidates:
        if (
            isinstance(candidate, TrainingRun | ModelVersion | Endpoint | OptimizedPrompt)
            and candidate.project_id != project.pk
        ):
            raise Refused(f"{candidate} belongs to another project.", field="models")
        if isinstance(candidate, OptimizedPrompt) and candidate.endpoint is not None:
            _check_endpoint(candidate.endpoint, order)
        if isinstance(candidate, Endpoint):
            _check_endpoint(candidate, order)
        if isinstance(candidate, BaseModel) and not candidate.is_local:
            raise Refused(download_required(candidate).message, field="models")
        if _is_untrained_encoder(candidate) and not candidate.is_prepared:
            raise Refused(f"{candidate} is not prepared. Prepare it on the Base models page first.", field="models")


def _check_file(dataset: DatasetVersion) -> None:
    """Raises Refused if the file is missing, before each evaluation would fail."""
    try:
        dataset_queries.file_path(dataset)
    except FileNotFoundError as error:
        raise Refused(f"{error} Freeze a new version.", field="documents") from error


def _check_endpoint(endpoint: Endpoint, modes: Sequence[str]) -> None:
    if endpoint.retired_at is not None:
        raise Refused(f"The endpoint {endpoint} was removed.", field="models")
    if not _modes(endpoint, modes):
        if endpoint.structured != Endpoint.Structured.FREE:
            raise Refused(f"{endpoint} does not support grounded decoding.", field="modes")
        raise Refused(f"{endpoint} does not support structured output.", field="modes")
    try:
        endpoint_config(endpoint)
    except Refused as refusal:
        raise Refused(f"{endpoint}: {refusal.message}", field="models") from refusal


def _modes(model: Model, order: Sequence[str]) -> list[str]:
    """Those of the modes that a model can decode in; a model with one mode has one evaluation."""
    if isinstance(model, OptimizedPrompt):
        model = model.model
    backend = backend_class_of(model)
    only = backend.only_mode(model)
    return [only] if only else [mode for mode in order if backend.supports(model, mode)]


def _evaluated(candidate: Candidate, benchmark: Benchmark) -> Model:
    """What an evaluation of a candidate is started with."""
    if isinstance(candidate, ClassicalKind):
        return classical.get_or_create(
            project=benchmark.project,
            user=benchmark.created_by,
            dataset=benchmark.dataset,
            kind=candidate,
            excluded=classical.overlapping_training(benchmark.dataset, benchmark.documents),
        )
    if isinstance(candidate, ModelVersion) and not candidate.is_alternative:
        return candidate.training_run
    if _is_untrained_encoder(candidate):
        return _training(candidate, benchmark)
    return candidate


def _slowness(candidate: Candidate) -> tuple[int, int]:
    """Orders candidates from quick to slow: classical models, trained encoders, models that generate by their size,
    encoders that are trained first, and models that are still in training.
    """
    if isinstance(candidate, ClassicalKind):
        return 0, 0
    if isinstance(candidate, Endpoint | OptimizedPrompt):
        return 2, 0
    base = candidate if isinstance(candidate, BaseModel) else _trained_from(candidate)
    if isinstance(candidate, TrainingRun) or _is_untrained_encoder(candidate):
        return 3, base.parameters
    return (1 if base.is_encoder else 2), base.parameters


def _trained_from(model: TrainingRun | ModelVersion) -> BaseModel:
    return (model.training_run if isinstance(model, ModelVersion) else model).base_model


def _is_untrained_encoder(candidate: Candidate) -> TypeGuard[BaseModel]:
    return isinstance(candidate, BaseModel) and candidate.is_encoder


def _training(encoder: BaseModel, benchmark: Benchmark) -> TrainingRun:
    """A training run of an encoder for a benchmark: the newest equal one that has its weights, else a new one.

    Raises:
        Refused: ``field`` is models.
    """
    assert benchmark.created_by is not None
    inputs: dict[str, Any] = {"dataset": benchmark.dataset, "base_model": encoder}
    method, _ = recommended_method(**inputs)
    hyperparameters = default_hyperparameters(**inputs, method=method)
    if (equal := _equal_training(encoder, benchmark, hyperparameters)) is not None:
        return equal
    try:
        return start_training(
            project=benchmark.project,
            user=benchmark.created_by,
            hyperparameters=hyperparameters,
            name=str(benchmark).capitalize(),
            **inputs,
        )
    except Refused as refusal:
        raise Refused(f"{encoder} cannot be trained. {refusal.message}", field="models") from refusal


def _equal_training(encoder: BaseModel, benchmark: Benchmark, hyperparameters: Hyperparameters) -> TrainingRun | None:
    """The newest finished run with the same data, base model and hyperparameters that still has its weights."""
    runs = TrainingRun.objects.filter(
        project=benchmark.project_id,
        dataset=benchmark.dataset,
        base_model=encoder,
        spec__contains=encoder.sha256,
        hyperparameters=hyperparameters.as_dict(),
        status=Status.DONE,
        archived_at=None,
    ).exclude(facts__has_key="hybrid")
    versions = ModelVersion.objects.chosen().with_weights().filter(training_run__in=runs)
    newest = versions.select_related("training_run").order_by("-number").first()
    return newest.training_run if newest is not None else None


def _too_few(drawn: BenchmarkSample, dataset: DatasetVersion, trained: bool) -> str:
    unseen = " that no candidate was trained on" if trained else ""
    available = len(drawn.documents)
    if drawn.compared < drawn.available:
        return (
            f"{dataset} has {drawn.available:,} labeled documents outside the hold-out{unseen}. Of the "
            f"{drawn.compared:,} compared, only {available:,} are not near-duplicates. Choose fewer (at least "
            f"{MIN_DOCUMENTS}), or label documents that differ more and freeze a new version."
        )
    return (
        f"{dataset} has {available:,} labeled documents outside the hold-out{unseen}, without near-duplicates. Choose "
        f"fewer (at least {MIN_DOCUMENTS}), or label more and freeze a new version."
    )


def cancel(*, run: Benchmark, user: User | None) -> bool:
    """Cancels queued evaluations and asks running ones to stop. False if it had ended before."""
    require(run.project, user, Action.RUN)
    if not run.cancel():
        return False
    audit_services.record(project=run.project, user=user, action="cancelled", about=str(run))
    for evaluation in EvalRun.objects.filter(benchmark=run).live().with_model():
        evaluation.cancel()
        # Candidates that were trained before are not live: this one is trained for the benchmark.
        if evaluation.training_run is not None:
            evaluation.training_run.cancel()
    advance(run.pk)
    return True


def advance(pk: int) -> None:
    """Concludes a benchmark once all its runs have ended. Safe to call at any time, concurrently.

    One that cannot be concluded fails with a sentence: a periodic task calls this.

    Raises:
        OperationalError: the database is unreachable, which is no failure of the benchmark.
    """
    try:
        _advance(pk)
    except OperationalError:
        raise
    except Exception as error:
        logger.exception("benchmark %s cannot be ended", pk)
        broke = f"Unexpected error ({type(error).__name__}: {error}). Existing results are kept."
        Benchmark.objects.get(pk=pk).fail(broke)


def _advance(pk: int) -> None:
    with transaction.atomic():
        row = Benchmark.objects.select_for_update(of=("self",)).select_related("project").filter(pk=pk).first()
        if row is None or not row.is_live:
            return
        runs = list(EvalRun.objects.filter(benchmark=row).with_model().order_by("number"))
        if any(run.status in ACTIVE for run in runs):
            return
        _conclude(row, runs)


def advance_all() -> None:
    """Advances every live benchmark: runs that ended without notifying it, because their worker died, count here."""
    for pk in Benchmark.objects.live().values_list("pk", flat=True):
        advance(pk)


def on_evaluation_ended(run: EvalRun) -> None:
    """Advances the benchmark of an evaluation that has ended with any status."""
    if run.benchmark_id is not None:
        advance(run.benchmark_id)


def _conclude(row: Benchmark, runs: list[EvalRun]) -> None:
    done = [run for run in runs if run.status == Status.DONE]
    result = results.conclusion(row, done) if done else {}
    answered = sum(run.progress_done for run in runs)
    if row.cancel_requested:
        row.cancelled(result=result, progress_done=answered)
    elif done:
        row.finish(result=result, progress_done=answered)
    else:
        first = next((run.error for run in runs if run.error), "every evaluation was cancelled.")
        row.fail(f"No model was measured: {first}", progress_done=answered)
