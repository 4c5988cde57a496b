"""What people do with cases: doubt their gold, score again once it is corrected, queue documents that are like them."""

from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Count
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from evaluation.http import query_param, set_project
from evaluation.label_issues import challenges, corrections, lookalikes
from evaluation.label_issues.forms import PARTS, LookalikeForm, QuestionForm, part_of
from evaluation.models import AuditEntry, EvalOutput, EvalRun, GoldQuestion
from evaluation.runs import rescoring
from evaluation.scores.display import score_rows
from labeling.models import DatasetVersion, FreezeRun
from slmstudio.access import Action, object_for, project_for
from slmstudio.errors import Refused
from slmstudio.web.requests import SignedInRequest

PAGE = 25
_MOST_NUMBER = 2**31 - 1


# -- gold is wrong -----------------------------------------------------------------------------------------------------


@require_http_methods(["GET", "HEAD", "POST"])
def question(request: SignedInRequest, slug: str, number: int, document: int) -> HttpResponse:
    """Says that the gold of a case is wrong. ``?field=`` chooses the value that is doubted beforehand."""
    runs = EvalRun.objects.with_model()
    project, run = object_for(request.user, slug, Action.LABEL, runs, number=number)
    if not run.outputs_visible:
        raise Http404("What an evaluation answers on the hold-out is shown once it is done.")
    rows = EvalOutput.objects.select_related("document")
    output = get_object_or_404(rows, eval_run=run, document_id=document)
    output.eval_run, output.document.project = run, project
    challenges.look_at(project)
    waiting = GoldQuestion.objects.open().filter(document=document).select_related("created_by").first()
    wanted = query_param(request, "field")
    form = QuestionForm(
        request.POST if request.method == "POST" else None, output=output, initial={"field": wanted} if wanted else {}
    )
    if request.method == "POST" and form.is_valid():
        data = form.cleaned_data
        try:
            made = challenges.ask(output=output, user=request.user, path=data["field"], reason=data["reason"])
        except Refused as refusal:
            form.add_error(refusal.field if refusal.field in form.fields else None, refusal.message)
        else:
            _say_asked(request, made)
            return redirect("gold_questions", slug)
    context = {
        "project": project,
        "run": run,
        "output": output,
        "form": form,
        "waiting": waiting,
        "rows": [row for row in score_rows(output.score) if not row.right],
    }
    return render(request, "evaluation/label_issues/challenge.html", context, status=422 if form.errors else 200)


def _say_asked(request: SignedInRequest, made: GoldQuestion) -> None:
    if made.created_by_id != request.user.pk:
        messages.info(request, f"Somebody doubts the label of {made.document.external_id} already.")
        return
    messages.success(
        request, f"The label of {made.document.external_id} is doubted. It counts as before until a reviewer decides."
    )


@require_safe
def gold_questions(request: SignedInRequest, slug: str) -> HttpResponse:
    """Every doubt of the project, those that wait first, and what the corrections still have to reach."""
    project = project_for(request.user, slug, Action.READ)
    challenges.look_at(project)
    rows = GoldQuestion.objects.filter(project=project).select_related(
        "document", "created_by", "answered_by", "eval_run__base_model", "eval_run__model_version",
        "eval_run__training_run", "eval_run__endpoint",
    )  # fmt: skip
    rows = rows.defer("document__text", "document__metadata").order_by("-answer", "-pk")
    found = corrections.standing(project)
    set_project(project, found.newest, *found.behind)
    page = Paginator(rows, PAGE).get_page(request.GET.get("page"))
    counted = GoldQuestion.objects.filter(project=project).values_list("answer").annotate(count=Count("pk"))
    context = {"project": project, "page": page, "standing": found, "counts": dict(counted)}
    return render(request, "evaluation/label_issues/challenges.html", context)


@require_POST
def freeze(request: SignedInRequest, slug: str) -> HttpResponse:
    """Freezes a version with the corrections."""
    project = project_for(request.user, slug, Action.CURATE)
    before = corrections.standing(project)
    try:
        made = corrections.freeze(project=project, user=request.user)
    except Refused as refusal:
        messages.error(request, refusal.message)
        return redirect("gold_questions", slug)
    if isinstance(made, FreezeRun):
        messages.info(request, "The new version is being frozen. Come back to score evaluations again by it.")
        return redirect(made)
    if before.newest is not None and made.pk == before.newest.pk:
        messages.info(request, f"Nothing has changed since {made}, so no new version was made.")
    else:
        count = len(set(before.waiting).intersection(corrections.standing(project).frozen))
        messages.success(request, f"{made} has {count} corrected label{'' if count == 1 else 's'}. Score again by it.")
    return redirect("gold_questions", slug)


@require_POST
def score_again(request: SignedInRequest, slug: str) -> HttpResponse:
    """Scores the ticked evaluations against the newest version."""
    project = project_for(request.user, slug, Action.RUN)
    numbers = [int(text) for text in request.POST.getlist("runs") if _is_number(text)]
    try:
        made, refusals = corrections.score_again(project=project, numbers=numbers, user=request.user)
    except Refused as refusal:
        messages.error(request, refusal.message)
        return redirect("gold_questions", slug)
    names = ", ".join(str(run.number) for run in made)
    messages.success(request, f"Scored again as evaluation{'s' if len(made) > 1 else ''} {names}; the old scores stay.")
    if refusals:
        messages.warning(request, " ".join(dict.fromkeys(refusals)))
    return redirect(made[0]) if len(made) == 1 else redirect("gold_questions", slug)


@require_POST
def rescore(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Scores one evaluation against a dataset version: ``dataset`` is its number."""
    project, run = object_for(request.user, slug, Action.RUN, EvalRun, number=number)
    wanted = request.POST.get("dataset", "")
    versions = DatasetVersion.objects.filter(project=project, number=int(wanted) if _is_number(wanted) else 0)
    dataset = versions.first()
    if dataset is None:
        messages.error(request, "Choose a dataset version.")
        return redirect("eval_run", slug, number)
    try:
        made = rescoring.rescore(run=run, dataset=dataset, user=request.user)
    except Refused as refusal:
        messages.error(request, refusal.message)
        return redirect("eval_run", slug, number)
    return redirect("eval_run", slug, made.number)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 11 and int(text) <= _MOST_NUMBER


# -- look-alikes -------------------------------------------------------------------------------------------------------


@require_http_methods(["GET", "HEAD", "POST"])
def queue_lookalikes(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Queues documents that look like those a part of an evaluation fails on; the address names it as its page does."""
    runs = EvalRun.objects.with_model()
    project, run = object_for(request.user, slug, Action.CURATE, runs, number=number)
    if not run.outputs_visible:
        raise Http404("What an evaluation answers on the hold-out is shown once it is done.")
    part = part_of(request.GET)
    form = LookalikeForm(request.POST if request.method == "POST" else None, project=project, user=request.user)
    if request.method == "POST" and form.is_valid():
        try:
            made = lookalikes.find_and_queue(run=run, part=part, user=request.user, **form.order())
        except Refused as refusal:
            form.add_error(refusal.field if refusal.field in form.fields else None, refusal.message)
        else:
            return redirect("lookalikes_queued", slug, made.pk)
    query = urlencode({name: value for name in PARTS if (value := getattr(part, name))})
    context = {
        "project": project,
        "run": run,
        "words": part.words,
        "failing": lookalikes.failing(run, part).count(),
        "form": form,
        "address": reverse("lookalikes", args=[slug, number]) + (f"?{query}" if query else ""),
        "earlier": lookalikes.queued(run),
    }
    return render(request, "evaluation/label_issues/lookalikes.html", context, status=422 if form.errors else 200)


@require_safe
def lookalikes_queued(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """What was queued, and how far it is."""
    entries = AuditEntry.objects.filter(action=lookalikes.QUEUED).select_related("user")
    project, entry = object_for(request.user, slug, Action.READ, entries, pk=pk)
    rows = lookalikes.queued_documents(entry)
    context: dict[str, Any] = {"project": project, "entry": entry, "rows": rows}
    context["labelled"] = sum(row.document.state in ("submitted", "approved") for row in rows)
    return render(request, "evaluation/label_issues/lookalikes_queued.html", context)
