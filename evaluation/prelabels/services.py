"""Runs of pre-labels: choosing documents, starting, cancelling, and keeping what a model says.

What comes out are Predictions: they fill forms, and a person submits what they stand for. Hold-out documents are never
chosen, and one that moves there meanwhile gets none.
"""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Avg, Case, Count, Exists, OuterRef, Q, QuerySet, Sum, When

from evaluation.audit import services as audit_services
from evaluation.inference import endpoints
from evaluation.inference.answers import ANSWERED, USABLE, WORDS, Outcome
from evaluation.models import Endpoint, PrelabelItem, PrelabelRun
from evaluation.runs.batch_writer import BatchWriter
from evaluation.runs.services import next_number
from labeling.annotation import predictions
from labeling.datasets import queries as dataset_queries
from labeling.documents.list import filters as listed
from labeling.documents.list.search import matching
from labeling.form.codec import Parsed
from labeling.form.validation import check
from labeling.integrations import webhooks
from labeling.models import DatasetVersion, Document, DocumentState, Prediction, Project, SchemaVersion, Split
from labeling.models.documents import LABELLED
from slmstudio import quotas
from slmstudio.contract.scoring.scorer import wilson
from slmstudio.errors import Refused
from slmstudio.runs.models import Status
from training.models import ModelVersion

MOST_DOCUMENTS = 10_000
MOST_EXAMPLES = 5
#: so many times as many examples are drawn as are shown
_SPARE = 4


@dataclass(frozen=True)
class Choice:
    """Documents that may be pre-labelled. ``words`` says which were asked for."""

    rows: QuerySet[Document]
    words: str


def choose(*, project: Project, query: str = "", again: bool = False) -> Choice:
    """The documents that a run may ask about, hold-out documents aside.

    ``query``: the query string of a list of documents; without one, those that nobody has begun to label. ``again``:
    also those that have a pre-label that can fill a form.

    Raises:
        Refused: ``field`` is ``query``; the list's filters are not understood.
    """
    schema_version = project.schema_version
    if query:
        wanted = listed.read_query(query, schema_version.compiled)
        if wanted.errors:
            raise Refused(" ".join(wanted.errors), field="query")
        rows = matching(project, wanted)
        words = f"documents of the list “{wanted.query()}”" if wanted.active else "all documents"
    else:
        rows = Document.objects.filter(project=project, state=DocumentState.NEW)
        words = "documents that nobody has begun to label"
    rows = rows.filter(holdout=False)
    if not again:
        rows = rows.filter(~Exists(_usable(schema_version).filter(document=OuterRef("pk"))))
        words += " and that have no pre-label yet"
    return Choice(rows, words[:300])


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

    ``examples``: how many solved training documents an endpoint is shown; ``token_budget``: tokens after which it is
    asked no more.

    Raises:
        Refused: ``field`` is one of model, query, limit, examples, token_budget. Nothing is queued then.
    """
    _check_subject(project, model_version, endpoint)
    if why := quotas.compute_problem(project):
        raise Refused(why, field="model")
    if not 1 <= limit <= MOST_DOCUMENTS:
        raise Refused(f"A run asks about 1 to {MOST_DOCUMENTS:,} documents.", field="limit")
    if token_budget is not None and token_budget < 1:
        raise Refused("A budget is at least one token.", field="token_budget")
    chosen = choose(project=project, query=query, again=again)
    documents = list(chosen.rows.order_by("pk").values_list("pk", flat=True)[:limit])
    if not documents:
        raise Refused(f"There are no {chosen.words} outside the hold-out.", field="query")
    run = PrelabelRun(
        project=project,
        number=next_number(PrelabelRun, project),
        schema_version=project.schema_version,
        instruction=_instruction(project, model_version),
        model_version=model_version,
        endpoint=endpoint,
        chosen=chosen.words,
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
        details={"model": run.subject, "documents": len(documents), "of": chosen.words},
    )
    run.enqueue()
    return run


def _check_subject(project: Project, version: ModelVersion | None, endpoint: Endpoint | None) -> None:
    if (version is None) == (endpoint is None):
        raise Refused("Choose one model: one that was trained here, or an endpoint.", field="model")
    for one in (version, endpoint):
        if one is not None and one.project_id != project.pk:
            raise Refused("That model belongs to another project.", field="model")
    if endpoint is None:
        return
    if endpoint.retired_at is not None:
        raise Refused("That endpoint was removed.", field="model")
    try:
        endpoints.address_of(endpoint)
    except Refused as refusal:
        raise Refused(refusal.message, field="model") from refusal


def _instruction(project: Project, version: ModelVersion | None) -> str:
    """A model of this studio is asked in the words it was trained with, one elsewhere in those of the contract."""
    return version.training_run.dataset.instruction if version is not None else project.contract.instruction


def _examples(project: Project, count: int) -> list[dict[str, Any]]:
    """Solved documents of the newest dataset's training split, drawn by its seed from the half of shorter rows."""
    if not 0 <= count <= MOST_EXAMPLES:
        raise Refused(f"Between 0 and {MOST_EXAMPLES} solved examples can be shown.", field="examples")
    dataset = (
        DatasetVersion.objects.filter(project=project, schema_version=project.schema_version).order_by("number").last()
    )
    if not count:
        return []
    if dataset is None:
        raise Refused(
            "Solved examples come from a frozen dataset of the newest schema; there is none yet.", field="examples"
        )
    places = dataset_queries.places(dataset, Split.TRAIN)
    half = places[: max(count, len(places) // 2)]
    drawn = dataset_queries.rows_at(dataset, random.Random(dataset.seed).sample(half, min(_SPARE * count, len(half))))
    # A document of the training split may have been held out since, by a dataset that was frozen later.
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
    """Cancels a queued run at once and asks a running one to stop. False where it had ended already."""
    with transaction.atomic():
        if not run.cancel():
            return False
        audit_services.record(project=run.project, user=user, action="cancelled", about=f"pre-labels {run.number}")
        if run.status == Status.CANCELLED:  # one that is at work tells of it when it has stopped
            tell(run)
    return True


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model said about a document; ``text`` is its JSON as written."""

    outcome: Outcome
    detail: str = ""
    text: str = ""
    confidence: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0
    tokens: int = 0
    tries: int = 1


class AnswerWriter(BatchWriter[tuple[int, Answer]]):
    """Stores answers as they come, in batches: a Prediction where there is an output, and the outcome of each document.

    A second answer for a document changes nothing.
    """

    def __init__(self, run: PrelabelRun) -> None:
        super().__init__()
        self.run = run
        self.stored = run.items.exclude(outcome=Outcome.WAITING).count()
        #: read and written by all attempts so far: the budget is the run's
        self.tokens = run.items.aggregate(read=Sum("tokens"))["read"] or 0

    def add(self, document_id: int, answer: Answer) -> None:
        """Takes one answer."""
        self.tokens += answer.tokens
        self.put((document_id, answer))

    def write(self, rows: Sequence[tuple[int, Answer]]) -> None:
        """Stores the answers of some documents, by their id."""
        answers = dict(rows)
        # Nobody who labels one of these documents waits while long texts are searched.
        looked = _looked_for(answers, self.run.schema_version)
        with transaction.atomic():
            self.stored += self._keep(answers, looked)
        self.run.record(progress_done=self.stored, stage="asking")

    def _keep(self, answers: Mapping[int, Answer], looked: Mapping[int, tuple[int, int]]) -> int:
        run = self.run
        predictions.record(
            project=run.project,
            schema_version=run.schema_version,
            proposals=[
                predictions.Proposal(pk, answer.text, answer.confidence, answer.seconds)
                for pk, answer in answers.items()
                if answer.outcome in ANSWERED
            ],
            model=run.subject,
            source=run.source,
        )
        there = dict(Document.objects.filter(pk__in=answers).values_list("pk", "holdout"))
        items = list(
            PrelabelItem.objects.select_for_update()
            .filter(run=run, document_id__in=answers, outcome=Outcome.WAITING)
            .order_by("pk")
        )
        for item in items:
            pk = item.document_id or 0
            _fill(item, answers[pk], there.get(pk), looked.get(pk, (0, 0)))
        PrelabelItem.objects.bulk_update(
            items, ["outcome", "detail", "looked_for", "found", "seconds", "tokens", "tries"]
        )
        return len(items)


def _looked_for(answers: Mapping[int, Answer], schema_version: SchemaVersion) -> dict[int, tuple[int, int]]:
    """How many values should stand in each document's text, and of these how many do."""
    compiled = schema_version.compiled
    usable = [pk for pk, answer in answers.items() if answer.outcome in USABLE]
    found = {}
    for pk, text in Document.objects.filter(pk__in=usable, holdout=False).values_list("pk", "text"):
        value, _ = compiled.check(answers[pk].text)
        checks = check(compiled, Parsed(value), text, {})
        found[pk] = (len(checks.spans) + len(checks.missing), len(checks.spans))
    return found


def _fill(item: PrelabelItem, answer: Answer, holdout: bool | None, looked: tuple[int, int]) -> None:
    """Writes an answer into a document's row. ``holdout`` is None where the document has gone."""
    item.outcome, item.detail = answer.outcome, answer.detail.replace("\0", " ")[:300]
    item.seconds, item.tokens, item.tries = answer.seconds, answer.tokens, min(answer.tries, 1000)
    if holdout is None or holdout:
        item.outcome, item.detail = (Outcome.GONE if holdout is None else Outcome.HELD_OUT), ""
    else:
        item.looked_for, item.found = looked


def waiting(run: PrelabelRun) -> QuerySet[PrelabelItem]:
    """The documents of a run that were not asked about yet, in their order."""
    rows: QuerySet[PrelabelItem] = PrelabelItem.objects.filter(run=run, outcome=Outcome.WAITING).order_by("pk")
    return rows


def items_of(run: PrelabelRun) -> QuerySet[PrelabelItem]:
    """The documents of a run, in their order. ``hidden``: the pre-label is withheld and the document not labelled yet,
    so that not even the sentence about what is wrong with it may be read: it quotes the value.
    """
    drawn = Prediction.objects.filter(document=OuterRef("document"), source=run.source, withheld=True)
    rows: QuerySet[PrelabelItem] = run.items.annotate(
        hidden=Case(When(Exists(drawn) & ~Q(document__state__in=LABELLED), then=True), default=False)
    )
    return rows.order_by("pk")


@dataclass(frozen=True)
class Figures:
    """What came out of a run so far. ``outcomes``: (name, words, count), most frequent first."""

    outcomes: list[tuple[str, str, int]]
    asked: int
    valid: dict[str, Any]
    found: dict[str, Any]
    usable: int
    withheld: int
    tokens: int
    seconds: float | None


def figures(run: PrelabelRun) -> Figures:
    """Counts what became of the documents of a run; three queries."""
    counts: dict[str, int] = dict(run.items.values_list("outcome").annotate(n=Count("pk")).order_by())
    asked = {name: n for name, n in counts.items() if name not in (Outcome.WAITING, Outcome.HELD_OUT, Outcome.GONE)}
    sums = run.items.aggregate(
        found=Sum("found"), looked_for=Sum("looked_for"), tokens=Sum("tokens"), seconds=Avg("seconds")
    )
    total = sum(asked.values())
    withheld = Prediction.objects.filter(
        document__project=run.project_id, source=run.source, withheld=True, value__isnull=False
    ).count()
    outcomes = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return Figures(
        outcomes=[(name, WORDS[Outcome(name)], n) for name, n in outcomes],
        asked=total,
        valid=wilson(asked.get(Outcome.VALID, 0), total),
        found=wilson(sums["found"] or 0, sums["looked_for"] or 0),
        usable=sum(asked.get(name, 0) for name in USABLE),
        withheld=withheld,
        tokens=sums["tokens"] or 0,
        seconds=sums["seconds"] if total else None,
    )


def tell(run: PrelabelRun) -> None:
    """Tells the project's webhooks that a run has ended; in the transaction of its end."""
    facts = {
        "prelabels": run.number,
        "status": run.status,
        "error": run.error,
        "documents": run.items.exclude(outcome=Outcome.WAITING).count(),
        "usable": run.items.filter(outcome__in=USABLE).count(),
        "url": run.get_absolute_url(),
    }
    webhooks.emit(run.project, "prelabel.finished", facts)


@transaction.atomic
def finish(run: PrelabelRun, facts: Mapping[str, Any]) -> None:
    """Ends a run well."""
    answered = run.items.exclude(outcome=Outcome.WAITING).count()
    if run.finish(facts={**run.facts, **facts}, progress_done=answered):
        tell(run)


@transaction.atomic
def stopped(run: PrelabelRun, facts: Mapping[str, Any]) -> None:
    """Ends a run that was asked to stop and has."""
    if run.cancelled(facts={**run.facts, **facts}):
        tell(run)


@transaction.atomic
def stop(run: PrelabelRun, sentence: str, facts: Mapping[str, Any]) -> None:
    """Ends a run that went wrong as a whole. What was recorded stays, and the sentence says how much that is."""
    usable = run.items.filter(outcome__in=USABLE).count()
    left = waiting(run).count()
    kept = f"{usable} document{'s have' if usable != 1 else ' has'} a pre-label"
    rest = f", {left} {'were' if left != 1 else 'was'} not asked about" if left else ""
    if run.fail(f"{sentence} {kept}{rest}.", facts={**run.facts, **facts}):
        tell(run)


def documents_of(items: Iterable[PrelabelItem]) -> dict[int, str]:
    """Document id -> text, for items that still have a document outside the hold-out."""
    ids = [item.document_id for item in items if item.document_id]
    return dict(Document.objects.filter(pk__in=ids, holdout=False).values_list("pk", "text"))
