"""Pages of label checks: one check with its suspect labels, and challenging them."""

from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import ngettext
from django.views.decorators.http import require_POST, require_safe

from evaluation.label_issues import label_checks
from evaluation.label_issues.forms import ChallengeSuspectsForm, LabelCheckForm
from evaluation.models import LabelCheckRun, SuspectLabel
from evaluation.scores.display import text_of
from slmstudio.access import Action, object_for, project_for
from slmstudio.errors import Refused
from slmstudio.web.requests import SignedInRequest, is_htmx

PAGE_SIZE = 30


@require_POST
def start(request: SignedInRequest, slug: str) -> HttpResponse:
    """Starts a check."""
    project = project_for(request.user, slug, Action.CURATE)
    form = LabelCheckForm(request.POST, project=project)
    if not form.is_valid():
        messages.error(request, "Choose what the labels are compared with.")
        return redirect("challenges", slug)
    try:
        run = label_checks.start_label_check(project=project, user=request.user, **form.options())
    except Refused as error:
        messages.error(request, error.message)
        return redirect("challenges", slug)
    return redirect(run)


@require_safe
def label_check(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """One check: its progress while it is live, then the suspect labels, the most suspect first."""
    runs = LabelCheckRun.objects.select_related("schema_version", "created_by", "eval_run__dataset")
    project, run = object_for(request.user, slug, Action.READ, runs, number=number)
    if is_htmx(request) and request.GET.get("part") == "live" and not run.is_live:
        return HttpResponse(headers={"HX-Refresh": "true"})
    rows = SuspectLabel.objects.filter(run=run).select_related("document").order_by("place")
    page = Paginator(rows.defer("document__text", "document__metadata"), PAGE_SIZE).get_page(request.GET.get("page"))
    challenged = label_checks.challenged(page.object_list)
    context: dict[str, Any] = {
        "project": project,
        "run": run,
        "page": page,
        "rows": [
            (one, text_of(one.gold), text_of(one.predicted), challenged.get(one.document_id))
            for one in page.object_list
        ],
        "form": ChallengeSuspectsForm(total=page.paginator.count),
    }
    return render(request, "evaluation/label_issues/label_check.html", context)


@require_POST
def challenge_first(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Sends the labels of the first suspects to adjudication."""
    project, run = object_for(request.user, slug, Action.CURATE, LabelCheckRun, number=number)
    form = ChallengeSuspectsForm(request.POST, total=SuspectLabel.objects.filter(run=run).count())
    if not form.is_valid():
        messages.error(request, "Enter how many of the suspect labels to challenge.")
        return redirect(run)
    sent, skipped = label_checks.challenge_first(run=run, user=request.user, count=form.cleaned_data["count"])
    text = ngettext("{n} label sent to adjudication.", "{n} labels sent to adjudication.", sent).format(n=sent)
    if skipped:
        text += " " + ngettext(
            "{n} was skipped: challenged or changed already.",
            "{n} were skipped: challenged or changed already.",
            skipped,
        ).format(n=skipped)
    (messages.success if sent else messages.info)(request, text)
    return redirect("challenges", project.slug) if sent else redirect(run)
