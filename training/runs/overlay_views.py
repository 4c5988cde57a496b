"""Two to five runs over one another: curves, final figures, and what their specs differ in."""

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlencode

from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_safe

from slmstudio.access import Action, project_for
from slmstudio.web.requests import SignedInRequest
from training.http import is_htmx, whole
from training.models import TrainingRun
from training.runs.curves import finals
from training.runs.difference_queries import differences_of

MOST = 5


@require_safe
def overlay(request: SignedInRequest, slug: str) -> HttpResponse:
    """The runs named by ``?runs=3,5``; the address is the link to share. What cannot be shown is said."""
    project = project_for(request.user, slug, Action.READ)
    asked = request.GET.getlist("runs")
    if len(asked) > 1:  # as boxes that were ticked send it
        together = urlencode({"runs": ",".join(filter(None, asked))}, safe=",")
        return redirect(f"{reverse('training_overlay', args=[slug])}?{together}")
    numbers, said = _numbers((asked or [""])[0].split(","))
    everything: Any = TrainingRun.objects.filter(project=project)
    related = ("dataset__schema_version", "base_model", "project")
    found = {run.number: run for run in everything.filter(number__in=numbers).select_related(*related)}
    missing = [number for number in numbers if number not in found]
    if missing:
        said.append(f"There is no run {_listed(missing)} in this project.")
    runs = [found[number] for number in numbers if number in found]
    if len(runs) > MOST:
        left, verb = _listed(run.number for run in runs[MOST:]), "is" if len(runs) == MOST + 1 else "are"
        said.append(f"At most {MOST} runs are laid over one another; {left} {verb} left out.")
        runs = runs[:MOST]
    context: dict[str, Any] = {
        "project": project,
        "runs": runs,
        "said": said,
        "lines": [
            {"run": run, "final": final, "place": place, "without": _joined(one for one in runs if one is not run)}
            for place, (run, final) in enumerate(zip(runs, finals(runs), strict=True))
        ],
        "live": any(run.is_live for run in runs),
        "joined": _joined(runs),
    }
    if is_htmx(request):
        return render(request, "training/runs/overlay.html#finals", context)
    context |= {
        "differences": differences_of(runs) if len(runs) > 1 else [],
        "others": everything.exclude(number__in=[run.number for run in runs]).order_by("-number")[:50]
        if len(runs) < MOST
        else [],
    }
    return render(request, "training/runs/overlay.html", context)


def _numbers(words: Iterable[str]) -> tuple[list[int], list[str]]:
    """The numbers among some words, each once, and what is to be said about the rest."""
    numbers: list[int] = []
    strange: list[str] = []
    for word in (word.strip() for word in words):
        number = whole(word)
        if number and number not in numbers:
            numbers.append(number)
        elif word and not number:
            strange.append(word)
    quoted = ", ".join(f"“{word[:20]}”" for word in strange[:5])
    said = [f"{quoted} is not the number of a run."] if strange else []
    return numbers[: 4 * MOST], said


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(str(number) for number in numbers)


def _joined(runs: Iterable[TrainingRun]) -> str:
    return ",".join(str(run.number) for run in runs)
