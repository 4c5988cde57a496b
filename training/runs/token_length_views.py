"""The token lengths of a dataset version on its own page: one report for each base model, and what would not fit."""

import json
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from labeling.models import DatasetVersion
from slmstudio.access import Action, object_for
from slmstudio.errors import Refused
from slmstudio.storage.artifacts import local_path
from slmstudio.web.requests import SignedInRequest
from training.models import BaseModel, LengthReport
from training.runs import queries
from training.runs.charts import Histogram, histogram
from training.runs.presets import Knobs
from training.runs.services import measure_lengths

#: ids that are named of the documents which do not fit
NAMED = 5


@dataclass(frozen=True)
class Fit:
    """A report that is done: its histogram, and how many documents are longer than ``limit`` tokens.

    ``limit`` is the sequence length that was asked about, within the model's context. ``seen`` is the first training
    document as the model reads it: {id, prompt, completion}, where that was kept.
    """

    report: LengthReport
    histogram: Histogram | None
    limit: int
    at: float
    over: int
    named: list[str]
    seen: dict[str, str] | None


def lengths_context(dataset: DatasetVersion, limit: int | None = None) -> dict[str, Any]:
    """What the panel shows. ``limit`` in tokens; the usual sequence length where none is asked about."""
    limit = limit or Knobs().max_length
    reports = list(
        LengthReport.objects.filter(dataset=dataset).select_related("base_model").order_by("base_model__parameters")
    )
    known = {report.base_model_id for report in reports if report.current or report.is_live}
    live = [report for report in reports if report.is_live]
    return {
        "dataset": dataset,
        "limit": limit,
        "fits": [_fit(report, limit) for report in reports if report.current],
        "live": live,
        "failed": [report for report in reports if report.status == "failed"],
        "models": [model for model in BaseModel.objects.order_by("parameters", "name") if model.pk not in known],
        "nobody": queries.nobody_works("default") if live else "",
        "empty": not dataset.counts["splits"].get("train"),
    }


def _fit(report: LengthReport, limit: int) -> Fit:
    context = report.base_model.context
    limit = min(limit, context) if context else limit
    over = report.too_long(limit)
    drawn = histogram(tokens for _, tokens in report.totals())
    at = min(limit / drawn.scale, 1) * drawn.width if drawn else 0
    return Fit(report, drawn, limit, round(at, 2), len(over), over[:NAMED], _seen(report))


def _seen(report: LengthReport) -> dict[str, str] | None:
    try:
        found: dict[str, dict[str, str]] = json.loads(local_path(report.seen_key).read_text())
    except (OSError, ValueError):
        return None
    return found.get("train")


@require_http_methods(["GET", "HEAD", "POST"])
def dataset_lengths(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """The panel by itself; ``?limit=`` asks about another sequence length. POST has a base model measured."""
    action = Action.RUN if request.method == "POST" else Action.READ
    project, dataset = object_for(request.user, slug, action, DatasetVersion, number=number)
    problem = ""
    if request.method == "POST":
        slug_of_model = request.POST.get("base_model", "").replace("\0", "")
        model = BaseModel.objects.filter(slug=slug_of_model).first()
        try:
            if model is None:
                problem = "Choose a base model."
            else:
                measure_lengths(dataset=dataset, base_model=model, user=request.user)
        except Refused as refusal:
            problem = refusal.message
    if not request.htmx:  # type: ignore[attr-defined]
        if problem:
            messages.error(request, problem)
        return redirect(dataset)
    text = request.GET.get("limit", "")
    limit = int(text) if text.isdecimal() and len(text) < 8 else None
    context = {"project": project, "problem": problem, **lengths_context(dataset, limit)}
    return render(request, "training/runs/token_lengths.html", context, status=422 if problem else 200)
