"""Where the labeling stands: pace, people, states, times, agreement."""

from datetime import UTC, datetime, time
from typing import Any

from django.http import HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from labeling.annotation import predictions
from labeling.documents.list.counts import state_counts
from labeling.models import DocumentState, Project
from labeling.panels import waiting
from labeling.review import agreement_queries
from labeling.review import progress as reads
from slmstudio.access import Action, project_for
from slmstudio.web.requests import SignedInRequest


@require_safe
def progress(request: SignedInRequest, slug: str) -> HttpResponse:
    """The page. ``days`` in the address: how far it looks back."""
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
        "waiting": waiting(counts),
        "labels_ever": reads.labels_ever(project),
    }
    if context["labels_ever"]:
        people = reads.people(project, start)
        labels = sum(person.labels for person in people)
        context |= {
            "people": people,
            "labels": labels,
            "per_day": labels / window,
            "days_left": counts.get(*DocumentState.values).number
            and _days_left(waiting(counts).number, labels, window),
            "times": reads.times(project, start),
            "field_times": reads.field_times(project, project.schema_version.compiled, start),
            "reviews": reads.reviews(project, start),
        }
    return render(request, "labeling/review/progress.html", context)


@require_safe
def days(request: SignedInRequest, slug: str) -> HttpResponse:
    """Labels and people per day, for the curve: days as seconds from 1970 to their midnight, as if in UTC."""
    project = project_for(request.user, slug, Action.READ)
    rows = reads.days(project, reads.since(_window(request)))
    return JsonResponse(
        {
            "days": [int(datetime.combine(row.day, time(), UTC).timestamp()) for row in rows],
            "labels": [row.labels for row in rows],
            "people": [row.people for row in rows],
        }
    )


@require_safe
def quality(request: SignedInRequest, slug: str) -> HttpResponse:
    """What takes a moment longer, as a fragment: do people look at pre-labels, and do they agree."""
    project = project_for(request.user, slug, Action.READ)
    honesty = predictions.honesty(project)
    context = {"project": project, "honesty": honesty, "agreement": agreement_queries.of_project(project)}
    return render(request, "labeling/review/progress_quality.html", context)


def _window(request: SignedInRequest) -> int:
    given = request.GET.get("days", "")
    return int(given) if given in {str(days) for days in reads.WINDOWS} else 30


def _states(project: Project) -> list[dict[str, Any]]:
    counts = state_counts(project)
    total = counts.total.number or 1
    found = [(state, counts.get(state)) for state in DocumentState]
    return [
        {"state": state.value, "label": state.label, "count": count, "percent": count.number / total}
        for state, count in found
        if count.number
    ]


def _days_left(waiting: int, labels: int, window: int) -> int | None:
    """Days until nothing waits, at the pace of the window; None where there is no pace."""
    return -(-waiting * window // labels) if labels and waiting else None
