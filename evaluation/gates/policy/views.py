"""The pages of a gate policy and of proposals to change it."""

from typing import Any

from django.contrib.auth.models import User
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_http_methods, require_POST

from evaluation.gates.policy import proposals
from evaluation.gates.policy.forms import AnswerForm, PolicyForm, ReasonForm
from evaluation.gates.policy.services import current_policy, gates_of, known_slices, set_policy
from evaluation.models import PolicyProposal
from slmstudio.access import Action, project_for
from slmstudio.errors import Refused
from slmstudio.web.forms import FieldErrors
from slmstudio.web.requests import SignedInRequest, is_htmx, page_or_fragment, redirect_to


@require_http_methods(["GET", "HEAD", "POST"])
def policy(request: SignedInRequest, slug: str) -> HttpResponse:
    """Sets or proposes thresholds. GET displays the form."""
    project = project_for(request.user, slug, Action.PROPOSE_POLICY)
    newest = current_policy(project=project)
    may_set = Action.SET_POLICY in project.can
    own = None if may_set else proposals.open_by(project=project, user=request.user, policy=newest)
    stale = request.POST.get("seen", str(newest.number)) != str(newest.number)
    sent = request.POST if request.method == "POST" and not stale else None
    form = PolicyForm(
        sent,
        policy=own.wanted if own else gates_of(newest),
        fields_known=[(field.pattern, field.title or field.name) for field in project.schema_version.compiled.fields],
        slices_known=known_slices(project),
        currency=project.currency,
    )
    why = (
        None if may_set else ReasonForm(sent, prefix="proposal", initial={"reason": own.proposal.reason if own else ""})
    )
    # Both are validated, so all errors are displayed together.
    if sent is not None and all([form.is_valid(), why is None or why.is_valid()]):
        error = _save(project, request.user, form, why)
        if not error:
            return redirect_to(request, f"/p/{project.slug}/gates/")
        form.add_error(None, error)
    context = {"project": project, "policy": newest, "form": form, "why": why, "own": own, "stale": stale}
    status = 422 if form.is_bound or stale else 200
    return page_or_fragment(request, "evaluation/gates/policy.html", "form", context, status=status)


def _save(project: Any, user: User, form: PolicyForm, why: ReasonForm | None) -> str:
    """Sets the policy of the form, or proposes it; returns an error message, or ""."""
    wanted = form.cleaned_data["policy"]
    if why is None:
        set_policy(project=project, user=user, gates=wanted)
        return ""
    try:
        proposals.propose(project=project, user=user, gates=wanted, reason=why.cleaned_data["reason"])
    except Refused as refusal:
        return refusal.message
    return ""


@require_POST
def answer(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Accepts, declines or withdraws a proposal (``do``: take, decline, withdraw)."""
    do = request.POST.get("do", "")
    action = Action.PROPOSE_POLICY if do == "withdraw" else Action.SET_POLICY
    project = project_for(request.user, slug, action)
    rows = project.policy_proposals.select_related("created_by", "based_on")
    proposal = get_object_or_404(rows, number=number)
    form = AnswerForm(request.POST)
    if form.is_valid():
        with FieldErrors(form):
            _do(proposal, request.user, **form.cleaned_data)
            return redirect_to(request, f"/p/{project.slug}/gates/")
    return _again(request, project, proposal, form)


def _do(proposal: PolicyProposal, user: User, do: str, answer: str, seen: int | None) -> None:
    if do == "take":
        proposals.accept(proposal=proposal, user=user, answer=answer, seen=seen)
    elif do == "decline":
        proposals.decline(proposal=proposal, user=user, answer=answer)
    else:
        proposals.withdraw(proposal=proposal, user=user)


def _again(request: SignedInRequest, project: Any, proposal: PolicyProposal, form: AnswerForm) -> HttpResponse:
    """The proposal with the errors of the answer; only the errors if it is no longer open."""
    newest = current_policy(project=project)
    waiting = proposals.open_proposals(project=project, policy=newest)
    open_proposal = next(
        (waiting_proposal for waiting_proposal in waiting if waiting_proposal.proposal.pk == proposal.pk), None
    )
    context = {
        "project": project,
        "policy": newest,
        "one": open_proposal,
        "form": form,
        "may_set": Action.SET_POLICY in project.can,
        "user": request.user,
    }
    part = "evaluation/gates/proposal.html" if is_htmx(request) else "evaluation/gates/proposal_page.html"
    return render(request, part, context, status=422)
