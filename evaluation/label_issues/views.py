"""The pages of label challenges, label corrections and lookalikes."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.auth.models import User
from django.core.paginator import Paginator
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.translation import ngettext
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from evaluation.http import set_project
from evaluation.label_issues import challenges, corrections, label_checks, lookalikes
from evaluation.label_issues.challenges import MAX_REASON_LENGTH, challengeable_fields
from evaluation.label_issues.label_checks import LABEL_CHECK
from evaluation.label_issues.lookalikes import DEFAULT_COUNT, MAX_COUNT, OutputFilter
from evaluation.models import EvalOutput, EvalRun, LabelChallenge
from evaluation.runs import rescoring
from evaluation.scores.display import score_rows, text_of
from evaluation.widgets import narrow_number_input, textarea
from labeling.models import FreezeRun, Project
from slmstudio.access import Action, project_for
from slmstudio.web.forms import BootstrapForm, FieldErrors, RefusalMessage
from slmstudio.web.requests import SignedInRequest, positive_int, query_param

PAGE_SIZE = 25
#: query parameters of a filter of outputs, as on the page of an evaluation
FILTERS = tuple(field.name for field in fields(OutputFilter))
_MAX_PREVIEW_LENGTH = 60


class ChallengeForm(BootstrapForm):
    """The field and the reason of a label challenge."""

    field = forms.ChoiceField(label="Field", required=False)
    reason = forms.CharField(
        label="Reason",
        required=False,
        max_length=MAX_REASON_LENGTH,
        widget=textarea(3),
        help_text="Shown to the reviewer.",
    )

    def __init__(self, data: Any = None, *, output: EvalOutput, initial: dict[str, Any] | None = None) -> None:
        paths = challengeable_fields(output)
        super().__init__(data, initial={"field": paths[0] if paths else "", **(initial or {})})
        rows = {row["path"]: row for row in (output.score or {}).get("fields", [])}
        choices = [("", "The whole label"), *((path, _preview(path, rows[path])) for path in paths)]
        self.fields["field"].choices = choices  # type: ignore[attr-defined]


def _preview(path: str, row: Mapping[str, Any]) -> str:
    """A field with its gold value."""
    gold = text_of(row.get("gold")) or "none"
    return f"{path}: {gold[:_MAX_PREVIEW_LENGTH]}{'…' if len(gold) > _MAX_PREVIEW_LENGTH else ''}"


class LookalikeForm(BootstrapForm):
    """How many lookalikes are queued, and for whom."""

    count = forms.IntegerField(
        label="Documents",
        min_value=1,
        max_value=MAX_COUNT,
        initial=DEFAULT_COUNT,
        widget=narrow_number_input(),
        help_text=f"The most similar first, at most {MAX_COUNT}.",
    )
    people = forms.MultipleChoiceField(
        label="Annotators",
        widget=forms.CheckboxSelectMultiple(attrs={"class": "form-check-input"}),
        help_text="Assigned round robin, at the front of their queues.",
        error_messages={"required": "Select at least one annotator."},
    )

    def __init__(self, data: Any = None, *, project: Project, user: User) -> None:
        members = project.memberships.select_related("user").order_by("user__username")
        self.members = {str(row.user_id): row.user for row in members}
        annotators = [str(row.user_id) for row in members if row.role == "annotator"]
        super().__init__(data, initial={"people": annotators or [str(user.pk)]})
        choices = [
            (str(row.user_id), f"{row.user.get_username()} ({row.get_role_display().lower()})") for row in members
        ]
        self.fields["people"].choices = choices  # type: ignore[attr-defined]

    def options(self) -> dict[str, Any]:
        """The count and the annotators, for the service."""
        return {
            "count": self.cleaned_data["count"],
            "people": [self.members[key] for key in self.cleaned_data["people"]],
        }


def parse_output_filter(values: Mapping[str, str]) -> OutputFilter:
    """The filter of outputs in query parameters."""

    def value(name: str) -> str:
        return str(values.get(name, "")).replace("\0", "").strip()[:300]

    return OutputFilter(**{name: value(name) for name in FILTERS})


def _run_of(request: SignedInRequest, slug: str, number: int, action: Action) -> tuple[Any, EvalRun]:
    project = project_for(request.user, slug, action)
    run = get_object_or_404(project.eval_runs.with_model(), number=number)
    set_project(project, run)
    return project, run


# -- label challenges ------------------------------------------------------------------------------------------


@require_http_methods(["GET", "HEAD", "POST"])
def challenge(request: SignedInRequest, slug: str, number: int, document: int) -> HttpResponse:
    """Challenges the gold label of an output. ``?field=`` preselects a field."""
    project, run = _run_of(request, slug, number, Action.LABEL)
    if not run.outputs_visible:
        raise Http404("The outputs of this hold-out evaluation are not open.")
    output = get_object_or_404(run.outputs.select_related("document"), document_id=document)
    output.eval_run, output.document.project = run, project
    challenges.resolve_project(project)
    existing = project.label_challenges.open_for(document)
    field = query_param(request, "field")
    form = ChallengeForm(
        request.POST if request.method == "POST" else None, output=output, initial={"field": field} if field else {}
    )
    if request.method == "POST" and form.is_valid():
        data = form.cleaned_data
        with FieldErrors(form):
            created = challenges.create_challenge(
                output=output, user=request.user, path=data["field"], reason=data["reason"]
            )
            _challenge_message(request, created)
            return redirect("challenges", slug)
    context = {
        "project": project,
        "run": run,
        "output": output,
        "form": form,
        "existing": existing,
        "rows": [row for row in score_rows(output.score) if not row.right],
    }
    return render(request, "evaluation/label_issues/challenge.html", context, status=422 if form.errors else 200)


def _challenge_message(request: SignedInRequest, challenge: LabelChallenge) -> None:
    document = challenge.document.external_id
    if challenge.created_by_id != request.user.pk:
        messages.info(request, f"The label of {document} is already challenged.")
        return
    messages.success(request, f"Label of {document} challenged. It stays valid until a reviewer decides.")


@require_safe
def challenge_list(request: SignedInRequest, slug: str) -> HttpResponse:
    """The label challenges of a project, open ones first, and the status of corrections."""
    project = project_for(request.user, slug, Action.READ)
    challenges.resolve_project(project)
    status = corrections.correction_status(project)
    set_project(project, status.newest, *status.behind)
    page = Paginator(project.label_challenges.for_list(project), PAGE_SIZE).get_page(request.GET.get("page"))
    context = {
        "project": project,
        "page": page,
        "status": status,
        "counts": project.label_challenges.counts(project),
    }
    return render(request, "evaluation/label_issues/challenges.html", context)


@require_POST
def freeze(request: SignedInRequest, slug: str) -> HttpResponse:
    """Freezes a dataset version with the corrections."""
    project = project_for(request.user, slug, Action.CURATE)
    before = corrections.correction_status(project)
    with RefusalMessage(request):
        frozen = corrections.freeze(project=project, user=request.user)
        if isinstance(frozen, FreezeRun):
            messages.info(request, "The new version is being created. Re-score evaluations when it is finished.")
            return redirect(frozen)
        if before.newest is not None and frozen.pk == before.newest.pk:
            messages.info(request, f"{frozen} is up to date; no new version was created.")
        else:
            count = len(set(before.waiting).intersection(corrections.correction_status(project).frozen))
            text = ngettext("{version} has {n} corrected label.", "{version} has {n} corrected labels.", count)
            messages.success(request, f"{text.format(version=frozen, n=count)} Re-score evaluations with it.")
        return redirect("challenges", slug)
    return redirect("challenges", slug)


@require_POST
def rescore_all(request: SignedInRequest, slug: str) -> HttpResponse:
    """Re-scores the selected evaluations on the newest version."""
    project = project_for(request.user, slug, Action.RUN)
    numbers = [number for text in request.POST.getlist("runs") if (number := positive_int(text))]
    with RefusalMessage(request):
        queued, errors = corrections.rescore_all(
            project=project, numbers=numbers, user=request.user, confirm_holdout=_is_confirmed(request)
        )
        text = ngettext("Re-scored as evaluation {numbers}.", "Re-scored as evaluations {numbers}.", len(queued))
        messages.success(request, text.format(numbers=", ".join(str(run.number) for run in queued)))
        if errors:
            messages.warning(request, " ".join(dict.fromkeys(errors)))
        return redirect(queued[0]) if len(queued) == 1 else redirect("challenges", slug)
    return redirect("challenges", slug)


@require_POST
def rescore(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Re-scores one evaluation on a dataset version: ``dataset`` is its number."""
    project, run = _run_of(request, slug, number, Action.RUN)
    chosen = positive_int(request.POST.get("dataset"))
    dataset = project.datasets.filter(number=chosen).first()
    if dataset is None:
        messages.error(request, "Select a dataset version.")
        return redirect("eval_run", slug, number)
    with RefusalMessage(request):
        rescored = rescoring.rescore(
            run=run, dataset=dataset, user=request.user, confirm_holdout=_is_confirmed(request)
        )
        return redirect("eval_run", slug, rescored.number)
    return redirect("eval_run", slug, number)


def _is_confirmed(request: SignedInRequest) -> bool:
    """Whether the price of re-scoring on the hold-out is confirmed."""
    return "confirm_holdout" in request.POST


# -- suspect labels ---------------------------------------------------------------------------------------------


@require_POST
def challenge_first(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Sends the labels of the first suspects of a label check to adjudication."""
    project = project_for(request.user, slug, Action.CURATE)
    study = get_object_or_404(project.studies.filter(kind=LABEL_CHECK.key), number=number)
    set_project(project, study)
    count = positive_int(request.POST.get("count"))
    if not count:
        messages.error(request, "Enter how many of the suspect labels to challenge.")
        return redirect(study)
    sent, skipped = label_checks.challenge_first(run=study, user=request.user, count=count)
    text = ngettext("{n} label sent to adjudication.", "{n} labels sent to adjudication.", sent).format(n=sent)
    if skipped:
        text += " " + ngettext(
            "{n} was skipped: challenged or changed already.",
            "{n} were skipped: challenged or changed already.",
            skipped,
        ).format(n=skipped)
    (messages.success if sent else messages.info)(request, text)
    return redirect("challenges", project.slug) if sent else redirect(study)


# -- lookalikes ------------------------------------------------------------------------------------------


@require_http_methods(["GET", "HEAD", "POST"])
def queue_lookalikes(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Queues lookalikes of the failing documents of a filter, with the query parameters of the evaluation page. Of a
    hold-out evaluation only earlier requests are shown."""
    project, run = _run_of(request, slug, number, Action.CURATE)
    part = parse_output_filter(request.GET)
    form = LookalikeForm(request.POST if request.method == "POST" else None, project=project, user=request.user)
    if request.method == "POST" and form.is_valid():
        with FieldErrors(form):
            entry = lookalikes.queue_lookalikes(run=run, part=part, user=request.user, **form.options())
            return redirect("lookalikes_queued", slug, entry.pk)
    query = urlencode({name: value for name in FILTERS if (value := getattr(part, name))})
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
    """The queued lookalikes and their state."""
    project = project_for(request.user, slug, Action.READ)
    entries = project.audit_entries.filter(action=lookalikes.QUEUED_ACTION).select_related("user")
    entry = get_object_or_404(entries, pk=pk)
    set_project(project, entry)
    rows = lookalikes.queued_documents(entry)
    context: dict[str, Any] = {"project": project, "entry": entry, "rows": rows}
    context["labeled"] = sum(row.document.state in ("submitted", "approved") for row in rows)
    return render(request, "evaluation/label_issues/lookalikes_queued.html", context)
