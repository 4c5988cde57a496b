"""The progress page: pace, annotators, states, times, agreement."""

from datetime import UTC, datetime, time
from typing import Any

from django.http import HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from labeling.documents.list.counts import gold_count, state_counts
from labeling.models import DocumentState, Project
from labeling.review import progress as reads
from labeling.review import queries
from slmstudio.access import Action, project_for
from slmstudio.web.requests import SignedInRequest


@require_safe
def progress(request: SignedInRequest, slug: str) -> HttpResponse:
    """The progress page. ``?days=``: its time range."""
    project = project_for(request.user, slug, Action.READ)
    window = _window(request)
    start = reads.since(window)
    counts = state_counts(project)
    context: dict[str, Any] = {
        "project": project,
        "window": window,
        "windows": reads.WINDOWS,
        "total": counts.total,
        "states": _states(project),
        "waiting": counts.queued,
        "gold": gold_count(project),
        "labels_ever": reads.labels_ever(project),
    }
    if context["labels_ever"]:
        people = reads.people(project, start)
        times = reads.times(project, start)
        labels = sum(person["labels"] for person in people)
        context |= {
            "people": people,
            "labels": labels,
            "times": times,
            "work_left": reads.work_left(times, counts.queued.number),
            "field_times": reads.field_times(project, project.schema_version.compiled, start),
            "reviews": reads.reviews(project, start),
        }
    return render(request, "labeling/review/progress.html", context)


@require_safe
def days(request: SignedInRequest, slug: str) -> HttpResponse:
    """Labels and annotators per day for the chart; days as Unix seconds of midnight, as if in UTC."""
    project = project_for(request.user, slug, Action.READ)
    rows = reads.days(project, reads.since(_window(request)))
    return JsonResponse(
        {
            "days": [int(datetime.combine(day, time(), UTC).timestamp()) for day, _, _ in rows],
            "labels": [labels for _, labels, _ in rows],
            "people": [people for _, _, people in rows],
        }
    )


@require_safe
def label_quality(request: SignedInRequest, slug: str) -> HttpResponse:
    """Automation bias and agreement, as a fragment, because they take longer."""
    project = project_for(request.user, slug, Action.READ)
    bias = queries.project_automation_bias(project)
    agreement = queries.project_agreement(project)
    has_chance = any(row.kappa is not None or row.alpha is not None for row in agreement)
    context = {"project": project, "bias": bias, "agreement": agreement, "has_chance": has_chance}
    return render(request, "labeling/review/progress_quality.html", context)


def _window(request: SignedInRequest) -> int:
    value = request.GET.get("days", "")
    return int(value) if value in {str(days) for days in reads.WINDOWS} else 30


def _states(project: Project) -> list[dict[str, Any]]:
    counts = state_counts(project)
    total = counts.total.number or 1
    states = [(state, counts.get(state)) for state in DocumentState]
    return [
        {"state": state.value, "label": state.label, "count": count, "percent": count.number / total}
        for state, count in states
        if count.number
    ]
