"""Filters, order and columns of the run table, from the query string."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Q, QuerySet
from django.http import HttpRequest

from labeling.models import Project
from slmstudio.runs.models import ACTIVE, Status
from slmstudio.web.requests import query_param
from training.hyperparameters.definitions import METHODS
from training.models import BaseModel, TrainingRun
from training.run_table.columns import DEFAULT_COLUMNS, known_columns, metrics_of, order_of

STATES = {"live": ACTIVE, "done": (Status.DONE,), "failed": (Status.FAILED, Status.CANCELLED)}
#: key of the session: the columns that a person chose last
_SESSION_KEY = "training_columns"


@dataclass(frozen=True)
class TableQuery:
    """What a page of the run table shows. ``sort``: a column, with ``-`` in front for the largest first."""

    state: str = ""
    q: str = ""
    tag: str = ""
    method: str = ""
    base_model: str = ""
    archived: bool = False
    sort: str = ""
    columns: tuple[str, ...] = DEFAULT_COLUMNS

    @property
    def is_filtered(self) -> bool:
        """Whether a filter other than the archive is set."""
        return any((self.state, self.q, self.tag, self.method, self.base_model))

    @property
    def sort_name(self) -> str:
        """The column that the table is sorted by."""
        return self.sort.removeprefix("-")

    @property
    def is_falling(self) -> bool:
        """Whether the largest come first."""
        return self.sort.startswith("-")

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that are shown or sorted by."""
        return metrics_of(dict.fromkeys((*self.columns, self.sort_name)))


def table_query(request: HttpRequest) -> TableQuery:
    """The filters of a request; invalid ones are ignored. Columns: those of the URL, else those chosen last."""
    state, method, sort = (query_param(request, name) for name in ("state", "method", "sort"))
    return TableQuery(
        state=state if state in STATES else "",
        q=query_param(request, "q"),
        tag=query_param(request, "tag"),
        method=method if method in METHODS else "",
        base_model=query_param(request, "base_model"),
        archived=query_param(request, "archived") == "1",
        sort=sort if order_of(sort.removeprefix("-")) is not None else "",
        columns=_columns(request),
    )


def _columns(request: HttpRequest) -> tuple[str, ...]:
    """The columns of the URL, which the session keeps; without any there, those that it has."""
    asked: Sequence[str] = [name for value in request.GET.getlist("columns") for name in value.split(",")]
    if not asked:
        return known_columns(request.session.get(_SESSION_KEY, ())) or DEFAULT_COLUMNS
    chosen = known_columns(asked) or DEFAULT_COLUMNS
    if request.session.get(_SESSION_KEY) != list(chosen):
        request.session[_SESSION_KEY] = list(chosen)
    return chosen


def matching_runs(project: Project, query: TableQuery) -> QuerySet[TrainingRun]:
    """The runs of a project that match, in order, with all that the table shows."""
    runs: QuerySet[TrainingRun] = TrainingRun.objects.for_table(project, query.metrics)
    runs = runs.filter(archived_at__isnull=not query.archived)
    if query.state:
        runs = runs.filter(status__in=STATES[query.state])
    if query.q:
        runs = runs.filter(_text(query.q))
    if query.tag:
        runs = runs.filter(tags__contains=[query.tag])
    if query.method:
        runs = runs.filter(hyperparameters__method=query.method)
    if query.base_model:
        runs = runs.filter(base_model__slug=query.base_model)
    if query.sort:
        order: Any = order_of(query.sort_name)
        runs = runs.order_by(order.desc(nulls_last=True) if query.is_falling else order.asc(nulls_last=True), "-number")
    return runs


def _text(text: str) -> Q:
    """Name, notes or tags contain a text, or it is the number of a run."""
    contains = Q(name__icontains=text) | Q(notes__icontains=text) | Q(tags__icontains=text)
    return contains | Q(number=int(text)) if text.isdecimal() and len(text) < 10 else contains


def choices(project: Project) -> dict[str, Any]:
    """The choices of the filters, and the number of archived runs."""
    runs = TrainingRun.objects.of_project(project)
    tags = runs.exclude(tags=[]).values_list("tags", flat=True)
    return {
        "tags": sorted({tag for run_tags in tags for tag in run_tags}),
        "methods": [("lora", "LoRA"), ("qlora", "QLoRA"), ("full", "Full fine-tuning")],
        "models": BaseModel.objects.filter(training_runs__project=project).distinct().order_by("name"),
        "archived_count": runs.filter(archived_at__isnull=False).count(),
    }
