"""Pre-label runs: select documents, start, cancel, and store the answers.

Their results are Predictions, which fill forms; a person submits the annotation. Hold-out documents are never selected,
and a document that moves to the hold-out during a run gets none.
"""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Avg, Case, Count, Exists, OuterRef, Q, QuerySet, Sum, When
from django.utils.translation import ngettext

from evaluation.audit import services as audit_services
from evaluation.endpoints.permits import require_permit
from evaluation.inference.backends import check_schema
from evaluation.inference.completion import ANSWERED, STATUS_LABELS, USABLE, Completion, ResponseStatus
from evaluation.inference.endpoint_keys import endpoint_config
from evaluation.models import Endpoint, PrelabelItem, PrelabelRun
from evaluation.runs.outputs import BatchWriter
from labeling.annotation import predictions
from labeling.datasets import queries as dataset_queries
from labeling.documents.list import filters as listed
from labeling.documents.list.search import matching_documents
from labeling.form.codec import Parsed
from labeling.form.validation import check
from labeling.integrations import events
from labeling.models import DatasetVersion, Document, DocumentState, Prediction, Project, SchemaVersion, Split
from labeling.models.documents import LABELED_STATES
from slmstudio import quotas
from slmstudio.access import Action, require
from slmstudio.contract.scoring.scorer import wilson
from slmstudio.errors import Refused
from slmstudio.runs.models import Status
from training.models import ModelVersion

MAX_DOCUMENTS = 10_000
MAX_EXAMPLES = 5
#: candidates per few-shot example: some may be in the hold-out now
_EXTRA_CANDIDATES = 4


@dataclass(frozen=True)
class DocumentSelection:
    """Documents that can be pre-labeled. ``description``: which were selected."""

    rows: QuerySet[Document]
    description: str


def select_documents(*, project: Project, query: str = "", again: bool = False) -> DocumentSelection:
    """The documents outside the hold-out that a run can pre-label.

    ``query``: the query string of a list of documents; without one, the unlabeled documents. ``again``: also those that
    have a pre-label that can fill a form.

    Raises:
        Refused: ``field`` is ``query``; the list's filters are invalid.
    """
    schema_version = project.schema_version
    if query:
        filters = listed.read_query(query, schema_version.compiled)
        if filters.errors:
            raise Refused(" ".join(filters.errors), field="query")
        rows = matching_documents(project, filters)
        description = f"documents in the list “{filters.query()}”" if filters.active else "all documents"
    else:
        rows = Document.objects.filter(project=project, state=DocumentState.NEW)
        description = "unlabeled documents"
    rows = rows.filter(holdout=False)
    if not again:
        rows = rows.filter(~Exists(_usable(schema_version).filter(document=OuterRef("pk"))))
        description += " without a pre-label"
    return DocumentSelection(rows, description[:300])


def _usable(schema_version: SchemaVersion) -> QuerySet[Prediction]:
    return Prediction.objects.filter(schema_version=schema_version, value__isnull=False)


@transaction.atomic
def start_prelabels(
    *,
    project: Project,
    user: User,
    model_version: ModelVersion | None = None,
    endpoint: Endpoint | None = None,
    query: str = "",
    limit: int = 200,
    again: bool = False,
    examples: int = 0,
    token_budget: int | None = None,
) -> PrelabelRun:
    """Queues a run over at most ``limit`` documents, in the order they came in.

    ``examples``: few-shot examples for an endpoint; ``token_budget``: tokens after which it gets no more documents.

    Raises:
        Refused: ``field`` is one of model, query, limit, examples, token_budget. Nothing is queued then.
    """
    require(project, user, Action.RUN)
    _check_model(project, model_version, endpoint)
    if problem := quotas.compute_problem(project):
        raise Refused(problem, field="model", code="quota")
    if not 1 <= limit <= MAX_DOCUMENTS:
        raise Refused(f"Choose 1 to {MAX_DOCUMENTS:,} documents.", field="limit")
    if token_budget is not None and token_budget < 1:
        raise Refused("The budget must be at least one token.", field="token_budget")
    selection = select_documents(project=project, query=query, again=again)
    documents = list(selection.rows.order_by("pk").values_list("pk", flat=True)[:limit])
    if not documents:
        raise Refused(f"There are no {selection.description} outside the hold-out.", field="query")
    if endpoint is not None:
        require_permit(endpoint, user, "model")
    run = PrelabelRun(
        project=project,
        number=project.next_number(PrelabelRun),
        schema_version=project.schema_version,
        instruction=_instruction(project, model_version),
        model_version=model_version,
        endpoint=endpoint,
        chosen=selection.description,
        examples=_examples(project, examples) if endpoint is not None else [],
        token_budget=token_budget if endpoint is not None else None,
        created_by=user,
        progress_total=len(documents),
    )
    run.full_clean()
    run.save()
    PrelabelItem.objects.bulk_create([PrelabelItem(run=run, document_id=pk) for pk in documents], batch_size=1000)
    audit_services.record(
        project=project,
        user=user,
        action="started",
        about=f"pre-labels {run.number}",
        details={"model": run.model_label, "documents": len(documents), "of": selection.description},
    )
    run.enqueue()
    return run


def _check_model(project: Project, version: ModelVersion | None, endpoint: Endpoint | None) -> None:
    if (version is None) == (endpoint is None):
        raise Refused("Choose one model: a fine-tuned model or an endpoint.", field="model")
    for model in (version, endpoint):
        if model is not None and model.project_id != project.pk:
            raise Refused("That model belongs to another project.", field="model")
    if version is not None:
        if version.weights_deleted_at is not None:
            raise Refused(f"The weights of {version} were deleted. Train the model again.", field="model")
        check_schema(version, project.schema_version)
    if endpoint is None:
        return
    if endpoint.retired_at is not None:
        raise Refused("That endpoint was removed.", field="model")
    try:
        endpoint_config(endpoint)
    except Refused as refusal:
        raise Refused(refusal.message, field="model") from refusal


def _instruction(project: Project, version: ModelVersion | None) -> str:
    """A fine-tuned model gets the instruction that it was trained with, an endpoint that of the contract."""
    return version.training_run.dataset.instruction if version is not None else project.contract.instruction


def _examples(project: Project, count: int) -> list[dict[str, Any]]:
    """Few-shot examples from the newest dataset's training split, drawn by its seed from the shorter half."""
    if not 0 <= count <= MAX_EXAMPLES:
        raise Refused(f"Choose 0 to {MAX_EXAMPLES} few-shot examples.", field="examples")
    dataset = (
        DatasetVersion.objects.filter(project=project, schema_version=project.schema_version).order_by("number").last()
    )
    if not count:
        return []
    if dataset is None:
        raise Refused(
            "Few-shot examples need a dataset version of the current schema. Freeze one first.", field="examples"
        )
    places = dataset_queries.row_offsets(dataset, Split.TRAIN)
    half = places[: max(count, len(places) // 2)]
    drawn = dataset_queries.rows_at(
        dataset, random.Random(dataset.seed).sample(half, min(_EXTRA_CANDIDATES * count, len(half)))
    )
    # A later dataset version may have moved a training document to the hold-out.
    names = [str(row["id"]) for row in drawn]
    held = set(
        Document.objects.filter(project=project, holdout=True, external_id__in=names).values_list(
            "external_id", flat=True
        )
    )
    shown = [row for row in drawn if str(row["id"]) not in held][:count]
    compiled = dataset.schema_version.compiled
    return [{"text": row["text"], "answer": compiled.canonical(row["gold"])} for row in shown]


def cancel(*, run: PrelabelRun, user: User) -> bool:
    """Cancels a queued run at once and asks a running one to stop. False if it has already ended."""
    require(run.project, user, Action.RUN)
    with transaction.atomic():
        if not run.cancel():
            return False
        audit_services.record(project=run.project, user=user, action="cancelled", about=f"pre-labels {run.number}")
        if run.status == Status.CANCELLED:  # a running one notifies when it has stopped
            notify_webhooks(run)
    return True


class PrelabelWriter(BatchWriter[tuple[int, Completion]]):
    """Stores completions in batches: a Prediction where there is an output, and the status of every document. Adding a
    document again changes nothing.
    """

    def __init__(self, run: PrelabelRun) -> None:
        super().__init__()
        self.run = run
        self.stored = run.items.exclude(outcome=ResponseStatus.WAITING).count()
        #: prompt and output tokens of all attempts: the budget is the run's
        self.tokens = run.items.aggregate(total=Sum("tokens"))["total"] or 0

    def add(self, document_id: int, completion: Completion) -> None:
        """Takes one completion."""
        self.tokens += completion.tokens
        self.put((document_id, completion))

    def write(self, rows: Sequence[tuple[int, Completion]]) -> None:
        """Stores completions by document, and the progress."""
        completions = dict(rows)
        # Before the transaction: annotators do not wait while long texts are searched.
        evidence = _evidence_counts(completions, self.run.schema_version)
        with transaction.atomic():
            self.stored += self._store(completions, evidence)
        self.run.record(progress_done=self.stored, stage=self.run.backend.stage)

    def _store(self, completions: Mapping[int, Completion], evidence: Mapping[int, tuple[int, int]]) -> int:
        run = self.run
        predictions.record(
            project=run.project,
            schema_version=run.schema_version,
            proposals=[
                predictions.PredictionInput(pk, completion.text, completion.confidence, completion.seconds)
                for pk, completion in completions.items()
                if completion.status in ANSWERED
            ],
            model=run.model_label,
            source=run.source,
        )
        in_holdout = dict(Document.objects.filter(pk__in=completions).values_list("pk", "holdout"))
        items = list(
            PrelabelItem.objects.select_for_update()
            .filter(run=run, document_id__in=completions, outcome=ResponseStatus.WAITING)
            .order_by("pk")
        )
        for item in items:
            pk = item.document_id or 0
            _fill(item, completions[pk], in_holdout.get(pk), evidence.get(pk, (0, 0)))
        PrelabelItem.objects.bulk_update(
            items, ["outcome", "detail", "evidence_needed", "evidence_found", "seconds", "tokens", "tries"]
        )
        return len(items)


def _evidence_counts(
    completions: Mapping[int, Completion], schema_version: SchemaVersion
) -> dict[int, tuple[int, int]]:
    """For each document, how many values need evidence in its text, and how many have it."""
    compiled = schema_version.compiled
    usable = [pk for pk, completion in completions.items() if completion.status in USABLE]
    counts = {}
    for pk, text in Document.objects.filter(pk__in=usable, holdout=False).values_list("pk", "text"):
        value, _ = compiled.check(completions[pk].text)
        checks = check(compiled, Parsed(value), text, {})
        counts[pk] = (len(checks.spans) + len(checks.missing), len(checks.spans))
    return counts


def _fill(item: PrelabelItem, completion: Completion, in_holdout: bool | None, evidence: tuple[int, int]) -> None:
    """Writes a completion into a document's row. ``in_holdout`` is None if the document was deleted."""
    item.outcome, item.detail = completion.status, completion.detail.replace("\0", " ")[:300]
    item.seconds, item.tokens, item.tries = completion.seconds, completion.tokens, min(completion.attempts, 1000)
    if in_holdout is None or in_holdout:
        item.outcome, item.detail = (ResponseStatus.GONE if in_holdout is None else ResponseStatus.HELD_OUT), ""
    else:
        item.evidence_needed, item.evidence_found = evidence


def pending_items(run: PrelabelRun) -> QuerySet[PrelabelItem]:
    """The pending documents of a run, in order."""
    rows: QuerySet[PrelabelItem] = PrelabelItem.objects.filter(run=run, outcome=ResponseStatus.WAITING).order_by("pk")
    return rows


def items_of(run: PrelabelRun) -> QuerySet[PrelabelItem]:
    """The documents of a run, in order. ``hidden``: the pre-label is withheld and the document not labeled yet, so not
    even its error message is shown: it quotes the value.
    """
    drawn = Prediction.objects.filter(document=OuterRef("document"), source=run.source, withheld=True)
    rows: QuerySet[PrelabelItem] = run.items.annotate(
        hidden=Case(When(Exists(drawn) & ~Q(document__state__in=LABELED_STATES), then=True), default=False)
    )
    return rows.order_by("pk")


@dataclass(frozen=True)
class RunStatistics:
    """The results of a run so far. ``outcomes``: (status, label, count), most frequent first."""

    outcomes: list[tuple[str, str, int]]
    requested: int
    valid: dict[str, Any]
    with_evidence: dict[str, Any]
    usable: int
    withheld: int
    tokens: int
    seconds: float | None


def run_statistics(run: PrelabelRun) -> RunStatistics:
    """Counts the results of a run in three queries."""
    counts: dict[str, int] = dict(run.items.values_list("outcome").annotate(n=Count("pk")).order_by())
    requested = {
        name: n
        for name, n in counts.items()
        if name not in (ResponseStatus.WAITING, ResponseStatus.HELD_OUT, ResponseStatus.GONE)
    }
    sums = run.items.aggregate(
        found=Sum("evidence_found"), needed=Sum("evidence_needed"), tokens=Sum("tokens"), seconds=Avg("seconds")
    )
    total = sum(requested.values())
    withheld = Prediction.objects.filter(
        document__project=run.project_id, source=run.source, withheld=True, value__isnull=False
    ).count()
    outcomes = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return RunStatistics(
        outcomes=[(name, STATUS_LABELS[ResponseStatus(name)], n) for name, n in outcomes],
        requested=total,
        valid=wilson(requested.get(ResponseStatus.VALID, 0), total),
        with_evidence=wilson(sums["found"] or 0, sums["needed"] or 0),
        usable=sum(requested.get(name, 0) for name in USABLE),
        withheld=withheld,
        tokens=sums["tokens"] or 0,
        seconds=sums["seconds"] if total else None,
    )


def notify_webhooks(run: PrelabelRun) -> None:
    """Notifies the project's webhooks that a run has ended, in the transaction of its end."""
    facts = {
        "prelabels": run.number,
        "status": run.status,
        "error": run.error,
        "documents": run.items.exclude(outcome=ResponseStatus.WAITING).count(),
        "usable": run.items.filter(outcome__in=USABLE).count(),
        "url": run.get_absolute_url(),
    }
    events.emit(run.project, "prelabel.finished", facts)


@transaction.atomic
def complete(run: PrelabelRun, facts: Mapping[str, Any]) -> None:
    """Marks a run as done."""
    answered = run.items.exclude(outcome=ResponseStatus.WAITING).count()
    if run.finish(facts={**run.facts, **facts}, progress_done=answered):
        notify_webhooks(run)


@transaction.atomic
def mark_cancelled(run: PrelabelRun, facts: Mapping[str, Any]) -> None:
    """Marks a run as cancelled after it has stopped."""
    if run.cancelled(facts={**run.facts, **facts}):
        notify_webhooks(run)


@transaction.atomic
def mark_failed(run: PrelabelRun, error: str, facts: Mapping[str, Any]) -> None:
    """Marks a run as failed. Stored pre-labels stay, and the message says how many there are."""
    usable = run.items.filter(outcome__in=USABLE).count()
    pending = pending_items(run).count()
    kept = ngettext("%d document has a pre-label", "%d documents have a pre-label", usable) % usable
    rest = ngettext(", %d is pending", ", %d are pending", pending) % pending if pending else ""
    if run.fail(f"{error.rstrip('.')}. {kept}{rest}.", facts={**run.facts, **facts}):
        notify_webhooks(run)


def documents_of(items: Iterable[PrelabelItem]) -> dict[int, str]:
    """Document id -> text, for items that still have a document outside the hold-out."""
    ids = [item.document_id for item in items if item.document_id]
    return dict(Document.objects.filter(pk__in=ids, holdout=False).values_list("pk", "text"))
