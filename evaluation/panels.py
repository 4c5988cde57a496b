"""Panels of evaluation on the pages of a project, a dataset version and a document, and next steps."""

from typing import Any

from django.contrib.auth.models import User
from django.db.models import Case, Prefetch, Q, When
from django.urls import reverse
from django.utils.translation import ngettext

from evaluation.approvals.decisions import changed_since, current_result, deciders, decision_obstacle, decision_status
from evaluation.approvals.waivers import waivers_of
from evaluation.gates.metrics.metric import VerdictStatus
from evaluation.label_issues import challenges, corrections
from evaluation.learning_curves.study import curve_offer
from evaluation.models import EvalOutput, EvalRun, GateReport, LabelChallenge, PolicyProposal
from evaluation.pipeline.services import latest_pipeline
from evaluation.regression_suite.services import of_document
from labeling.datasets.queries import has_current_schema
from labeling.models import Split
from slmstudio.access import Action
from slmstudio.panels import NextStep, PanelContent, next_step, register
from slmstudio.runs.models import Status
from slmstudio.text.formatting import percent
from training.models import ModelVersion


@register("home", 5)
def pipeline_panel(project: Any, user: User) -> PanelContent | None:
    """The newest pipeline run by stage."""
    context = latest_pipeline(project)
    return PanelContent("evaluation/pipeline/panel.html", context) if context else None


@register("home", 50)
def last_evaluation(project: Any, user: User) -> PanelContent | None:
    """The newest finished evaluation outside the hold-out, else on it, else the newest of all."""
    done = Q(status=Status.DONE)
    rank = Case(When(done & ~Q(split=Split.HOLDOUT), then=0), When(done, then=1), default=2)
    # In two queries, because planning the joins takes longer than both, also where there is no run.
    newest = EvalRun.objects.filter(project=project, benchmark=None).order_by(rank, "-number")
    key = newest.values_list("pk", flat=True).first()
    run = EvalRun.objects.with_model().get(pk=key) if key is not None else None
    address = reverse("evaluation", args=[project.slug])
    cell = {"title": "Last evaluation", "value": "–", "note": "None yet", "url": address}
    if run is None:
        return PanelContent("", {"strip": [cell]})
    if run.scores:
        cell |= {"value": percent(run.scores["field_exact"]["rate"]), "note": f"field accuracy, {run.model_label}"}
    else:
        cell |= {"note": run.get_status_display().lower()}
    return PanelContent("evaluation/home_panel.html", {"project": project, "run": run, "strip": [cell]})


@register("home", 60)
def last_report(project: Any, user: User) -> PanelContent | None:
    """The newest gate report and its decision."""
    report = _newest_report(project)
    cell = {"title": "Gates", "value": "–", "note": "No gate report", "url": reverse("gates", args=[project.slug])}
    if report is None:
        return PanelContent("", {"strip": [cell]})
    statuses = [verdict["status"] for verdict in report.verdicts if verdict["status"] != VerdictStatus.INAPPLICABLE]
    cell |= {
        "value": f"{statuses.count(VerdictStatus.PASS)} of {len(statuses)}",
        "note": f"pass, report {report.number}",
    }
    state = decision_status(report)
    context = {"project": project, "report": report, "state": state, "sentence": current_result(report, state)}
    return PanelContent("evaluation/gates/panel.html", {**context, "strip": [cell]})


def _newest_report(project: Any) -> GateReport | None:
    """The newest report with its evaluation; in two queries, because planning a single join takes longer."""
    reports = GateReport.objects.filter(project=project).select_related("policy", "approval").order_by("-number")
    report: GateReport | None = reports.prefetch_related(Prefetch("eval_run", EvalRun.objects.with_model())).first()
    if report is not None:
        report.project = project
    return report


@register("document", 50)
def outputs(document: Any, user: User) -> PanelContent | None:
    """The outputs of all models for a document, newest evaluation first; of the hold-out only opened ones."""
    runs = EvalRun.objects.filter(project=document.project_id).done().with_visible_outputs()
    rows = (
        EvalOutput.objects.filter(document=document, eval_run__in=runs)
        .select_related(
            "eval_run__base_model",
            "eval_run__model_version",
            "eval_run__training_run__base_model",
            "eval_run__endpoint",
        )
        .defer("gold", "score", "raw")
        .order_by("-eval_run__number")[:20]
    )
    outputs = list(rows)
    context = {"project": document.project, "rows": outputs}
    return PanelContent("evaluation/document_panel.html", context) if outputs else None


@register("document", 55)
def regression_suite(document: Any, user: User) -> PanelContent | None:
    """The pin of a document and its buttons; for users who can pin, and for all where it is pinned."""
    project, row = document.project, of_document(document)
    if row is None and not _can(project, Action.PROPOSE_POLICY):
        return None
    return PanelContent(
        "evaluation/regression_suite/panel.html", {"project": project, "document_id": document.pk, "row": row}
    )


@register("dataset", 20)
def learning_curve(dataset: Any, user: User) -> PanelContent | None:
    """The learning curve of a version, or the offer to measure one with an encoder."""
    offer = curve_offer(dataset)
    if offer is None or (offer.curve is None and not _can(dataset.project, Action.RUN)):
        return None
    return PanelContent("evaluation/learning_curves/offer.html", {"dataset": dataset, "offer": offer})


def _can(project: Any, action: Action) -> bool:
    return action in getattr(project, "can", ())


@next_step(20)
def decision_step(project: Any, user: User) -> NextStep | None:
    """For a manager: the newest report, where its decision is pending or its approval is void or about to expire; for
    an owner, too, where its waiver is to be confirmed."""
    report = _newest_report(project) if _can(project, Action.SET_POLICY) else None
    if report is None:
        return None
    if hasattr(report, "approval"):
        return _approval_notice(report, user)
    if not _can(project, Action.APPROVE):
        return None
    if decision_obstacle(report, user) or changed_since(report, files=False):
        return None
    return NextStep(f"Gate report {report.number}: your decision is pending.", "View report", report.get_absolute_url())


@next_step(21)
def pending_decision_step(project: Any, user: User) -> NextStep | None:
    """For an engineer: the newest report, where all gates pass and no manager has decided yet."""
    report = _newest_report(project) if _can(project, Action.RUN) else None
    if report is None or not report.passed or hasattr(report, "approval") or changed_since(report, files=False):
        return None
    names = " or ".join(deciders(report))
    after = f"Next, {names} decides." if names else "But no member of the project is a manager who can approve it."
    return NextStep(f"All gates of report {report.number} pass. {after}", "View report", report.get_absolute_url())


@next_step(22)
def proposal_step(project: Any, user: User) -> NextStep | None:
    """For users who can set the policy: an open proposal."""
    if not _can(project, Action.SET_POLICY):
        return None
    proposals = PolicyProposal.objects.filter(project=project, state=PolicyProposal.State.OPEN)
    first = proposals.select_related("created_by").order_by("number").first()
    if first is None:
        return None
    text = f"{first.created_by.get_username()} proposes a change to the gate policy."
    return NextStep(text, "Review proposal", f"{reverse('gates', args=[project.slug])}#proposal-{first.number}")


@next_step(33)
def correction_step(project: Any, user: User) -> NextStep | None:
    """For an engineer: corrected labels without a dataset version, or evaluations to re-score with them."""
    if not _can(project, Action.RUN) or not LabelChallenge.objects.filter(project=project).exists():
        return None
    challenges.resolve_project(project)
    status, address = corrections.correction_status(project), reverse("challenges", args=[project.slug])
    if count := len(status.waiting):
        text = ngettext("{n:,} corrected label is", "{n:,} corrected labels are", count).format(n=count)
        return NextStep(f"{text} not in a dataset version yet.", "Freeze a version", address)
    if count := len(status.behind):
        text = ngettext("{n:,} evaluation has", "{n:,} evaluations have", count).format(n=count)
        return NextStep(f"{text} not been re-scored with the corrected labels of {status.newest}.", "Re-score", address)
    return None


def _approval_notice(report: GateReport, user: User) -> NextStep | None:
    """A notice about an approval that is void, or whose waiver is to be confirmed or expires soon."""
    state, label = decision_status(report)
    if state == "queued" and report.approval.decided_by != user:
        text = f"Gate report {report.number}: the waiver needs your confirmation."
        return NextStep(text, "View report", report.get_absolute_url())
    if not _can(report.project, Action.APPROVE):
        return None
    if state == "failed":
        return NextStep(f"Gate report {report.number}: {label}.", "View reasons", report.get_absolute_url())
    if state != "approved":
        return None
    expires = min((waiver.expires for waiver in waivers_of(report.approval) if waiver.expires_soon), default=None)
    if expires is None:
        return None
    return NextStep(
        f"A waiver of gate report {report.number} expires on {expires}.", "View report", report.get_absolute_url()
    )


@next_step(35)
def evaluation_step(project: Any, user: User) -> NextStep | None:
    """For an engineer: the newest model without an evaluation, or without a gate report; none of an older schema."""
    if not _can(project, Action.RUN):
        return None
    versions = ModelVersion.objects.chosen().with_weights().filter(project=project, training_run__archived_at=None)
    version = versions.select_related("training_run__dataset__schema_version").order_by("-number").first()
    if version is None or not has_current_schema(version.training_run.dataset):
        return None
    runs = EvalRun.objects.filter(project=project, training_run=version.training_run)
    if not runs.exclude(status__in=[Status.FAILED, Status.CANCELLED]).exists():
        address = f"{reverse('eval_new', args=[project.slug])}?model=run-{version.training_run.number}"
        return NextStep(f"Model v{version.number} has not been evaluated.", "Evaluate model", address)
    run = runs.on_holdout().done().order_by("-number").first()
    if run is not None and not GateReport.objects.filter(eval_run__in=runs).exists():
        address = f"{reverse('gate_report_new', args=[project.slug])}?eval_run={run.number}"
        return NextStep(
            f"Evaluation {run.number} of model v{version.number} has no gate report.", "Create gate report", address
        )
    if run is None and not runs.live().exists():
        address = f"{reverse('eval_new', args=[project.slug])}?model=run-{version.training_run.number}&split=holdout"
        return NextStep(
            f"Model v{version.number} has not been evaluated on the hold-out. Gates require a hold-out evaluation of "
            "the model that you deploy.",
            "Evaluate on the hold-out",
            address,
        )
    return None
