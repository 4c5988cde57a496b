"""What other pages show about evaluation: a project's home, a document's page, and the next step for a person."""

from typing import Any

from django.contrib.auth.models import User
from django.db.models import Prefetch
from django.urls import reverse

from evaluation.approvals.decisions import obstacle_for, standing
from evaluation.approvals.waivers import waived
from evaluation.label_issues import challenges, corrections
from evaluation.models import EvalOutput, EvalRun, GateReport, GoldQuestion, PolicyProposal
from evaluation.pipeline.services import latest_pipeline
from evaluation.regression_suite.services import of_document
from slmstudio.access import Action
from slmstudio.panels import NextStep, PanelContent, next_step, register
from slmstudio.runs.models import Status
from slmstudio.templatetags.studio import percent
from training.models import ModelVersion


@register("home", 5)
def loop(project: Any, user: User) -> PanelContent | None:
    """The newest pass of the whole loop, stage by stage."""
    context = latest_pipeline(project)
    return PanelContent("evaluation/pipeline/panel.html", context) if context else None


@register("home", 50)
def last_evaluation(project: Any, user: User) -> PanelContent | None:
    """The newest evaluation that is done, or the newest of all where none is."""
    runs = EvalRun.objects.filter(project=project, benchmark=None).with_model().order_by("-number")
    run = runs.done().first() or runs.first()
    address = reverse("evaluation", args=[project.slug])
    cell = {"title": "Last evaluation", "value": "–", "note": "none yet", "url": address}
    if run is None:
        return PanelContent("", {"strip": [cell]})
    if run.scores:
        cell |= {"value": percent(run.scores["field_exact"]["rate"]), "note": f"fields right, {run.model_label}"}
    else:
        cell |= {"note": run.get_status_display()}
    return PanelContent("evaluation/home_panel.html", {"project": project, "run": run, "strip": [cell]})


@register("home", 60)
def last_report(project: Any, user: User) -> PanelContent | None:
    """The newest gate report and how its decision stands."""
    report = _newest_report(project)
    cell = {"title": "Gates", "value": "–", "note": "not judged yet", "url": reverse("gates", args=[project.slug])}
    if report is None:
        return PanelContent("", {"strip": [cell]})
    passed = sum(verdict["status"] == "PASS" for verdict in report.verdicts)
    cell |= {"value": f"{passed} of {len(report.verdicts)}", "note": f"pass, report {report.number}"}
    context = {"project": project, "report": report, "state": standing(report), "strip": [cell]}
    return PanelContent("evaluation/gates/panel.html", context)


def _newest_report(project: Any) -> GateReport | None:
    """The newest report with its evaluation; in two queries, because to plan one join of it all takes longer."""
    reports = GateReport.objects.filter(project=project).select_related("policy", "approval").order_by("-number")
    report: GateReport | None = reports.prefetch_related(Prefetch("eval_run", EvalRun.objects.with_model())).first()
    if report is not None:
        report.project = project
    return report


@register("document", 50)
def outputs(document: Any, user: User) -> PanelContent | None:
    """Every model's output on a document, newest evaluation first."""
    rows = (
        EvalOutput.objects.filter(document=document, eval_run__status=Status.DONE)
        .select_related(
            "eval_run__base_model", "eval_run__model_version", "eval_run__training_run", "eval_run__endpoint"
        )
        .defer("gold", "score", "raw")
        .order_by("-eval_run__number")[:20]
    )
    found = list(rows)
    return (
        PanelContent("evaluation/document_panel.html", {"project": document.project, "rows": found}) if found else None
    )


@register("document", 55)
def regression_suite(document: Any, user: User) -> PanelContent | None:
    """Whether a document is pinned, and the button; shown to whoever may pin, and to all where it is."""
    project, row = document.project, of_document(document)
    if row is None and not _can(project, Action.PROPOSE_POLICY):
        return None
    return PanelContent(
        "evaluation/regression_suite/panel.html", {"project": project, "document_id": document.pk, "row": row}
    )


def _can(project: Any, action: Action) -> bool:
    return action in getattr(project, "can", ())


@next_step(20)
def decide(project: Any, user: User) -> NextStep | None:
    """For a manager: the newest report, where it waits for a decision that this person may take, or where its approval
    no longer holds or soon will not.
    """
    if not _can(project, Action.APPROVE):
        return None
    report = _newest_report(project)
    if report is None:
        return None
    if hasattr(report, "approval"):
        return _of_approval(report)
    if obstacle_for(report, user):
        return None
    return NextStep(f"Gate report {report.number} waits for your decision.", "Read it", report.get_absolute_url())


@next_step(22)
def answer(project: Any, user: User) -> NextStep | None:
    """For whoever may set the policy: a proposal that waits for an answer."""
    if not _can(project, Action.SET_POLICY):
        return None
    waiting = PolicyProposal.objects.filter(project=project, state=PolicyProposal.State.OPEN)
    first = waiting.select_related("created_by").order_by("number").first()
    if first is None:
        return None
    words = f"{first.created_by.get_username()} proposes a change of the gate policy."
    return NextStep(words, "Answer", f"{reverse('gates', args=[project.slug])}#proposal-{first.number}")


@next_step(33)
def correct(project: Any, user: User) -> NextStep | None:
    """For an engineer: corrected labels that no dataset version has, or evaluations that do not know them yet."""
    if not _can(project, Action.RUN) or not GoldQuestion.objects.filter(project=project).exists():
        return None
    challenges.look_at(project)
    found, address = corrections.standing(project), reverse("gold_questions", args=[project.slug])
    if count := len(found.waiting):
        words = "1 corrected label is" if count == 1 else f"{count:,} corrected labels are"
        return NextStep(f"{words} in no dataset version yet.", "Freeze one", address)
    if count := len(found.behind):
        words = "1 evaluation does" if count == 1 else f"{count:,} evaluations do"
        return NextStep(f"{words} not know the corrected labels of {found.newest} yet.", "Score again", address)
    return None


def _of_approval(report: GateReport) -> NextStep | None:
    """What a manager has to know of the newest approval: that it is void, or that a waiver is about to end."""
    state, words = standing(report)
    if state == "failed":
        return NextStep(f"Gate report {report.number}: {words}.", "See why", report.get_absolute_url())
    if state != "approved":
        return None
    ending = min((one.expires for one in waived(report.approval) if one.soon), default=None)
    if ending is None:
        return None
    return NextStep(f"A waiver of gate report {report.number} ends on {ending}.", "See it", report.get_absolute_url())


@next_step(35)
def evaluate(project: Any, user: User) -> NextStep | None:
    """For an engineer: a model that nobody has evaluated, or an evaluation that nobody has had judged."""
    if not _can(project, Action.RUN):
        return None
    version = ModelVersion.objects.filter(project=project).select_related("training_run").order_by("-number").first()
    if version is None:
        return None
    runs = EvalRun.objects.filter(project=project, training_run=version.training_run)
    if not runs.exclude(status__in=[Status.FAILED, Status.CANCELLED]).exists():
        address = f"{reverse('eval_new', args=[project.slug])}?model=run-{version.training_run.number}"
        return NextStep(f"Model v{version.number} has not been evaluated.", "Evaluate it", address)
    run = runs.on_holdout().done().order_by("-number").first()
    if run is not None and not GateReport.objects.filter(eval_run__in=runs).exists():
        address = f"{reverse('gate_judge', args=[project.slug])}?eval_run={run.number}"
        return NextStep(f"Evaluation {run.number} of model v{version.number} has not been judged.", "Judge it", address)
    if run is None and not runs.live().exists():
        address = f"{reverse('eval_new', args=[project.slug])}?model=run-{version.training_run.number}&split=holdout"
        return NextStep(f"Model v{version.number} has not been evaluated on the hold-out.", "Evaluate it", address)
    return None
