"""Comparison of two to five runs: curves, final metrics, and differences between their specs."""

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlencode

from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_safe

from slmstudio.access import Action, project_for
from slmstudio.web.requests import SignedInRequest, is_htmx, positive_int
from training.models import TrainingRun
from training.runs import queries
from training.runs.curves import final_metrics
from training.runs.differences import differences_of

MAX_RUNS = 5


@require_safe
def overlay(request: SignedInRequest, slug: str) -> HttpResponse:
    """The runs named by ``?runs=3,5``; numbers that cannot be shown are listed as problems."""
    project = project_for(request.user, slug, Action.READ)
    values = request.GET.getlist("runs")
    if len(values) > 1:  # a form with checkboxes sends one value per box
        query = urlencode({"runs": ",".join(filter(None, values))}, safe=",")
        return redirect(f"{reverse('training_overlay', args=[slug])}?{query}")
    numbers, problems = _parse_numbers((values or [""])[0].split(","))
    runs = queries.runs_to_compare(project, numbers)
    if missing := sorted({*numbers} - {run.number for run in runs}):
        problems.append(f"Not found in this project: run {_number_list(missing)}.")
    if ignored := runs[MAX_RUNS:]:
        problems.append(
            f"At most {MAX_RUNS} runs can be compared; ignored: {_number_list(run.number for run in ignored)}."
        )
        runs = runs[:MAX_RUNS]
    context: dict[str, Any] = {
        "project": project,
        "runs": runs,
        "problems": problems,
        "lines": [
            {"run": run, "final": final, "without": _joined_numbers(other for other in runs if other is not run)}
            for run, final in zip(runs, final_metrics(runs), strict=True)
        ],
        "live": any(run.is_live for run in runs),
        "joined": _joined_numbers(runs),
    }
    if is_htmx(request):
        return render(request, "training/runs/overlay.html#finals", context)
    shown = [run.number for run in runs]
    context |= {
        "differences": differences_of(runs) if len(runs) > 1 else [],
        "others": queries.other_runs(project, shown) if len(runs) < MAX_RUNS else [],
    }
    return render(request, "training/runs/overlay.html", context)


def _parse_numbers(texts: Iterable[str]) -> tuple[list[int], list[str]]:
    """The run numbers among some texts, each once, and a message about the rest."""
    numbers: list[int] = []
    invalid: list[str] = []
    for text in (text.strip() for text in texts):
        number = positive_int(text)
        if number and number not in numbers:
            numbers.append(number)
        elif text and not number:
            invalid.append(text)
    quoted = ", ".join(f"“{text[:20]}”" for text in invalid[:5])
    return numbers[: 4 * MAX_RUNS], [f"Not a run number: {quoted}."] if invalid else []


def _number_list(numbers: Iterable[int]) -> str:
    return ", ".join(str(number) for number in numbers)


def _joined_numbers(runs: Iterable[TrainingRun]) -> str:
    return ",".join(str(run.number) for run in runs)
