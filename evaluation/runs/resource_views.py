"""Resource measurements on the pages of an evaluation and of a gate report: the button and its progress."""

from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from evaluation.models import EvalRun, GateReport
from evaluation.runs import resources
from slmstudio.access import Action, object_for
from slmstudio.errors import Refused
from slmstudio.runs import controls
from slmstudio.runs.models import Status
from slmstudio.web.requests import SignedInRequest, is_htmx, positive_int, redirect_to


def context_of(run: EvalRun, report: GateReport | None = None) -> dict[str, Any]:
    """What the fragment shows. ``fresh``: the newest measurement, where the report does not use it yet."""
    found = resources.page(run)
    done = next((row for row in found["rows"] if row.status == Status.DONE), None) if report else None
    rests_on = report.measurement_id if report is not None else None
    fresh = done if done is not None and done.pk != rests_on else None
    return {"run": run, "report": report, "measurements": found, "fresh": fresh}


@require_http_methods(["GET", "HEAD", "POST"])
def measure(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Starts a measurement and shows its progress. ``?report=2``: for the page of that gate report."""
    needed = Action.RUN if request.method == "POST" else Action.READ
    project, run = object_for(request.user, slug, needed, EvalRun.objects.with_model(), number=number)
    run.project = project
    wanted = positive_int(request.GET.get("report"))
    report = GateReport.objects.filter(project=project, eval_run=run, number=wanted).first() if wanted else None
    if report is not None:
        report.project = project
    page = f"{report.get_absolute_url() if report is not None else run.get_absolute_url()}#resources"
    if request.method == "POST":
        try:
            resources.start_measurement(run=run, user=request.user)
        except Refused as refusal:
            messages.error(request, refusal.message)
        return redirect_to(request, page)
    if not is_htmx(request):
        return redirect(page)
    context = {"project": project, **context_of(run, report)}
    return render(request, "evaluation/runs/resources.html", context)


@require_POST
def cancel(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Cancels the running measurement."""
    project, run = object_for(request.user, slug, Action.RUN, EvalRun, number=number)
    run.project = project
    live = resources.page(run)["live"]
    if live is None or not controls.cancel(run=live, user=request.user):
        messages.info(request, "The measurement has already ended.")
    return redirect(f"{run.get_absolute_url()}#resources")
