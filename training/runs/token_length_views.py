"""Token lengths of a dataset version on its page: one report per base model, and the documents over the limit."""

import json
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from labeling.models import DatasetVersion
from slmstudio.access import Action, object_for
from slmstudio.errors import Refused
from slmstudio.runs.models import Status
from slmstudio.storage.artifacts import local_path
from slmstudio.web.requests import SignedInRequest
from slmstudio.workers.live_workers import no_worker_message
from training.base_models.services import find_base_model
from training.hyperparameters.definitions import Hyperparameters
from training.models import LengthReport
from training.runs import queries
from training.runs.charts import histogram
from training.runs.services import measure_lengths

#: listed ids of documents that are too long
MAX_LISTED = 5


def lengths_context(dataset: DatasetVersion, limit: int | None = None) -> dict[str, Any]:
    """The context of the panel. ``limit`` in tokens; the default sequence length where none is given."""
    limit = limit or Hyperparameters().max_length
    reports, models = queries.length_reports(dataset)
    live = [report for report in reports if report.is_live]
    return {
        "dataset": dataset,
        "limit": limit,
        "reports": [_summary(report, limit) for report in reports if report.is_current],
        "live": live,
        "failed": [report for report in reports if report.status == Status.FAILED],
        "models": models,
        "no_worker": no_worker_message("default") if live else "",
        "empty": not dataset.counts["splits"].get("train"),
    }


def _summary(report: LengthReport, limit: int) -> dict[str, Any]:
    """A current report: its histogram, and the documents over the limit, within the model's context. ``limit_x`` is
    where that is drawn; ``sample``: the first training document as the model reads it: {id, prompt, completion}.
    """
    limit = min(limit, report.base_model.context or limit)
    over = report.too_long(limit)
    drawn = histogram(tokens for _, tokens in report.totals())
    return {
        "report": report,
        "histogram": drawn,
        "limit": limit,
        "limit_x": round(min(limit / drawn["scale"], 1) * drawn["width"], 2) if drawn else 0,
        "over": len(over),
        "listed": over[:MAX_LISTED],
        "sample": _sample_row(report),
    }


def _sample_row(report: LengthReport) -> dict[str, str] | None:
    try:
        samples: dict[str, dict[str, str]] = json.loads(local_path(report.sample_key).read_text())
    except (OSError, ValueError):
        return None
    return samples.get("train")


@require_http_methods(["GET", "HEAD", "POST"])
def dataset_lengths(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """The panel alone; ``?limit=`` sets the sequence length in question. POST requests a measurement."""
    action = Action.RUN if request.method == "POST" else Action.READ
    project, dataset = object_for(request.user, slug, action, DatasetVersion, number=number)
    problem = ""
    if request.method == "POST":
        try:
            base_model = find_base_model(request.POST.get("base_model", ""))
            measure_lengths(dataset=dataset, base_model=base_model, user=request.user)
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
