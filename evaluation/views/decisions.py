"""The page of one gate report: verdicts, evidence, packet, decision."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from evaluation.forms import DecisionForm
from evaluation.gates import Status
from evaluation.models import EvalRun, GateReport
from evaluation.services import approvals, packets
from evaluation.services.comparisons import compare_runs
from evaluation.services.gates import holdout_origins, looks
from evaluation.views.parts import belonging, page_or_part, wants_part
from labeling.models import Origin
from slmstudio.access import Action, object_for
from training.services.runs import Refused

WAIVER_DAYS = 30


def _reports() -> Any:
    return GateReport.objects.select_related(
        "project",
        "policy",
        "created_by",
        "approval__decided_by",
        "eval_run__base_model",
        "eval_run__created_by",
        "eval_run__dataset__created_by",
        "eval_run__dataset__schema_version",
        "eval_run__model_version__training_run",
        "eval_run__training_run__created_by",
        "baseline__base_model",
        "baseline__model_version",
        "baseline__training_run",
        "baseline__dataset",
    )


@require_safe
def report(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    """A report, readable on a phone."""
    project, found = object_for(request.user, slug, Action.READ, _reports(), number=number)
    return render(request, "evaluation/report.html", _context(request, project, found))


def _context(request: HttpRequest, project: Any, found: GateReport) -> dict[str, Any]:
    approval = getattr(found, "approval", None)
    if approval is not None and approval.decision == approval.Decision.APPROVED:
        reasons = approvals.voided(approval, files=False)
    else:
        reasons = approvals.changes(found, files=False)
    return {
        "project": project,
        "report": found,
        "run": found.eval_run,
        "verdicts": [{**row, **_said(row)} for row in found.verdicts],
        "state": approvals.standing(found),
        "approval": approval,
        "reasons": reasons,
        "origins": origins(found.eval_run),
        "looks": [other for other in looks(found.eval_run) if other.number < found.number],
        "evaluations": _evaluations(found.eval_run),
        "worse": _worse(found),
        "history": _history(found),
        "checks": packets.verify(found, files=False),
        "open_gates": approvals.open_gates(found),
        "obstacle": approvals.obstacle_for(found, request.user) if Action.APPROVE in project.can else "",
        "form": DecisionForm(initial={"waiver_expires": timezone.localdate() + timedelta(days=WAIVER_DAYS)}),
    }


def _said(verdict: dict[str, Any]) -> dict[str, str]:
    """The sentence of a verdict in its two parts: what was found, and for an unproven one what a proof would take."""
    words = str(verdict["sentence"]).removeprefix(f"{verdict['status']}: ")
    words, _, _ = words.partition(". Look ")
    if verdict["status"] != Status.NOT_PROVEN or "; " not in words:
        return {"words": words.rstrip("."), "price": ""}
    found, _, price = words.rstrip(".").rpartition("; ")
    return {"words": found, "price": price}


def origins(run: EvalRun) -> dict[str, Any]:
    """Where the hold-out's gold comes from: how many documents, how many by people, and the others by origin."""
    counts = holdout_origins(run)
    others = {name: count for name, count in counts.items() if name != Origin.HUMAN and count}
    return {
        "documents": sum(counts.values()),
        "human": counts.get(Origin.HUMAN, 0),
        "others": [(Origin(name).label, count) for name, count in sorted(others.items(), key=lambda item: -item[1])],
    }


def _evaluations(run: EvalRun) -> int:
    """How many evaluations have looked at this very hold-out, judged or not."""
    same = EvalRun.objects.filter(project_id=run.project_id).on_holdout().done()
    return int(same.filter(dataset__holdout_sha256=run.dataset.holdout_sha256).count())


def _worse(found: GateReport) -> dict[str, Any] | None:
    """What became worse against the baseline: documents, fields and slices. None without a baseline."""
    if found.baseline is None:
        return None
    comparison = compare_runs(a=found.baseline, b=found.eval_run)
    result = comparison.result
    fields = [
        {**row, "a": row["a_right"] / row["n"], "b": row["b_right"] / row["n"]}
        for row in result["fields"]
        if row["b_right"] < row["a_right"]
    ]
    before, after = found.baseline.scores.get("slices", {}), found.eval_run.scores.get("slices", {})
    slices = [
        {"tag": tag, "a": before[tag]["field_exact"], "b": value["field_exact"], "documents": value["documents"]}
        for tag, value in after.items()
        if tag in before and (value["field_exact"]["rate"] or 0) < (before[tag]["field_exact"]["rate"] or 0)
    ]
    return {
        "comparison": comparison,
        "broken": len(result["broken"]),
        "fixed": len(result["fixed"]),
        "n": result["n"],
        "p_value": result["p_value"],
        "fields": sorted(fields, key=lambda row: row["b"] - row["a"]),
        "slices": sorted(slices, key=lambda row: row["b"]["rate"] - row["a"]["rate"]),
    }


@dataclass(frozen=True)
class Deed:
    """Who did what, when."""

    what: str
    who: Any
    when: datetime | None
    url: str = ""


def _history(found: GateReport) -> list[Deed]:
    run, approval = found.eval_run, getattr(found, "approval", None)
    dataset, training = run.dataset, run.training_run
    belonging(found.project, run, dataset, training)
    deeds = [Deed(f"froze {dataset}", dataset.created_by, dataset.created_at, dataset.get_absolute_url())]
    if training is not None:
        address = training.get_absolute_url()
        deeds.append(Deed(f"started the training “{training}”", training.created_by, training.created_at, address))
    deeds.append(Deed(f"started evaluation {run.number}", run.created_by, run.created_at, run.get_absolute_url()))
    deeds.append(Deed(f"had it judged by gate policy {found.policy.number}", found.created_by, found.created_at))
    if approval is not None:
        deeds.append(Deed(str(approval.get_decision_display()), approval.decided_by, approval.decided_at))
    return deeds


@require_safe
def verify(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    """Makes every hash of the packet anew from the files and rows."""
    project, found = object_for(request.user, slug, Action.READ, _reports(), number=number)
    context = {"project": project, "report": found, "checks": packets.verify(found), "verified": timezone.now()}
    context["all_equal"] = all(check.equal for check in context["checks"])
    if wants_part(request):
        return render(request, "evaluation/report.html#packet", context)
    return render(request, "evaluation/report.html", {**_context(request, project, found), **context})


@require_POST
def decide(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    """Approves a report or sends it back."""
    project, found = object_for(request.user, slug, Action.APPROVE, _reports(), number=number)
    form = DecisionForm(request.POST)
    if form.is_valid():
        wanted = form.cleaned_data
        try:
            approvals.decide(
                report=found,
                user=request.user,
                decision=wanted["decision"],
                reason=wanted["reason"],
                waiver=form.waiver(),
            )
        except Refused as refusal:
            form.add_error(refusal.field if refusal.field in form.fields else None, refusal.message)
        else:
            if wants_part(request):
                return HttpResponse(status=204, headers={"HX-Refresh": "true"})
            return redirect(found.get_absolute_url())
    context = {**_context(request, project, found), "form": form}
    return page_or_part(request, "evaluation/report.html", "decision", context, status=422)
