"""Gate reports: the verdicts of a project's policy on an evaluation, in three steps: gather, test, store."""

from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone
from django.utils.translation import ngettext

from evaluation.audit import services as audit_services
from evaluation.comparison.services import get_or_create_comparison
from evaluation.gates import manifest
from evaluation.gates.baselines import check_answered, check_baseline, check_required_baseline
from evaluation.gates.display import event_rows, overall
from evaluation.gates.facts import ExternalInputs, external_inputs, gather, measure, tests_source
from evaluation.gates.holdout.evaluation_numbers import exhausted_reason, next_evaluation_number
from evaluation.gates.holdout.membership import training_overlap
from evaluation.gates.metrics.metric import COMPARED_WITH_DEPLOYED, Source
from evaluation.gates.policy.services import current_policy, freeze_policy, gates_of
from evaluation.gates.production import comparison_facts
from evaluation.gates.provenance import provenance_of
from evaluation.gates.verdicts import all_passed, summary_sentence, verdicts_for
from evaluation.models import EvalRun, GatePolicy, GateReport
from labeling.integrations import events
from labeling.models import Project, Split
from slmstudio.access import Action, require
from slmstudio.database.fields import validate_fields
from slmstudio.errors import Refused
from slmstudio.hooks import Hook
from slmstudio.runs.models import Status

#: how often a report is created without the project's lock before it is created under it
ATTEMPTS = 3
#: a new report whose gates all pass, and who created it, in the transaction of the report
report_passed: Hook[[GateReport, User | None], object] = Hook()


@dataclass(frozen=True)
class ReportInputs:
    """What the verdicts of a report depend on besides stored outputs; it can change while they are computed.

    ``number``: of the hold-out evaluation. ``existing``: the newest report on the same policy, evaluation, baseline
    and evaluation of the production model.
    """

    policy: GatePolicy
    existing: GateReport | None
    number: int
    exhausted: str
    suite_sha256: str
    external: ExternalInputs

    @property
    def has_report(self) -> bool:
        """Whether the existing report has these verdicts already."""
        report, measurement = self.existing, self.external.measurement
        return report is not None and report.suite_sha256 == self.suite_sha256 and report.measurement == measurement


def create_report(*, eval_run: EvalRun, baseline: EvalRun | None, user: User | None) -> GateReport:
    """Creates a gate report on an evaluation of the hold-out, or returns the one that has the same verdicts.

    The same outputs under the same policy, baseline and production model are the same hold-out evaluation. Where the
    answers to the regression suite changed since, or resources were measured again (which spends no alpha), a new
    report has the same number of the hold-out evaluation.

    Verdicts are computed without a lock. The project is locked to store them, and only if their inputs are still the
    same; otherwise they are computed again.

    Raises:
        Refused: ``field`` is eval_run or baseline.
    """
    require(eval_run.project, user, Action.RUN, Action.APPROVE)
    for _ in range(ATTEMPTS):
        report = _create(eval_run, baseline, user)
        if report is not None:
            return report
    with transaction.atomic():
        _lock(eval_run.project_id)
        report = _create(eval_run, baseline, user, is_locked=True)
    assert report is not None
    return report


def _create(
    eval_run: EvalRun, baseline: EvalRun | None, user: User | None, *, is_locked: bool = False
) -> GateReport | None:
    """One attempt; None where the inputs changed before the report was stored."""
    inputs = _gather(eval_run, baseline)
    if inputs.existing is not None and inputs.has_report:
        return inputs.existing
    _check_compared_with(inputs.policy, eval_run, baseline)
    report = _build_report(inputs, eval_run, baseline, user)
    if baseline is not None:
        get_or_create_comparison(a=baseline, b=eval_run)
    with transaction.atomic():
        _lock(eval_run.project_id)
        if not is_locked:
            if _gather(eval_run, baseline) != inputs:
                return None
            _check_compared_with(inputs.policy, eval_run, baseline)
        return _store(report, user)


def _lock(project_id: int) -> None:
    """Two reports that are created at the same time must not get the same numbers."""
    Project.objects.select_for_update(no_key=True).get(pk=project_id)


def _gather(eval_run: EvalRun, baseline: EvalRun | None) -> ReportInputs:
    """Reads what can change. Raises Refused where no report can be created."""
    _check_runs(eval_run, baseline)
    policy = current_policy(project=eval_run.project)
    gates = gates_of(policy)
    external = external_inputs(gates, eval_run)
    same = GateReport.objects.filter(
        policy=policy, eval_run=eval_run, baseline=baseline, production_run=external.production.run
    )
    existing = same.order_by("-number").first()
    return ReportInputs(
        policy=policy,
        existing=existing,
        number=existing.holdout_number if existing is not None else next_evaluation_number(eval_run),
        exhausted=exhausted_reason(eval_run, gates, but=same),
        suite_sha256=manifest.suite_hash(external.suite) if tests_source(gates, Source.REGRESSION_SUITE) else "",
        external=external,
    )


def _build_report(inputs: ReportInputs, eval_run: EvalRun, baseline: EvalRun | None, user: User | None) -> GateReport:
    """The unsaved report, without its number."""
    gates = gates_of(inputs.policy)
    facts = gather(eval_run, baseline, inputs.external)
    verdicts = verdicts_for(gates, measure(gates, facts), inputs.number, exhausted=inputs.exhausted)
    report = GateReport(
        project=eval_run.project,
        policy=inputs.policy,
        eval_run=eval_run,
        baseline=baseline,
        production_run=inputs.external.production.run,
        production=comparison_facts(inputs.external.production, eval_run, inputs.external.measurement),
        measurement=inputs.external.measurement,
        holdout_number=inputs.number,
        verdicts=[verdict.as_dict() for verdict in verdicts],
        sentence=summary_sentence(verdicts),
        passed=all_passed(verdicts),
        created_by=user,
        suite_sha256=inputs.suite_sha256,
        provenance=provenance_of(eval_run, baseline),
    )
    report.manifest = manifest.build_manifest(report)
    return report


def _store(report: GateReport, user: User | None) -> GateReport:
    """Numbers and saves a report; its policy is frozen and the audit log records it. Only under the project's lock."""
    report.number = report.project.next_number(GateReport)
    report.created_at = timezone.now()
    validate_fields(report)
    report.save()
    freeze_policy(report.policy, user)
    audit_services.record(
        project=report.project,
        user=user,
        action="created",
        about=str(report),
        details={
            "evaluation": report.eval_run.number,
            "holdout_evaluation": report.holdout_number,
            "sentence": report.sentence,
            "manifest": report.manifest,
        },
    )
    events.emit(report.project, "gate_report.created", event_payload(report))
    if report.passed:
        report_passed.call(report, user)
    return report


def event_payload(report: GateReport) -> dict[str, Any]:
    """What every event about a report says."""
    return {
        "report": report.number,
        "evaluation": report.eval_run.number,
        "baseline": report.baseline.number if report.baseline is not None else None,
        "model": report.eval_run.model_label,
        "policy": report.policy.number,
        "holdout_evaluation": report.holdout_number,
        "verdict": str(overall(report.verdicts)),
        "sentence": report.sentence,
        "gates": event_rows(report.verdicts),
        "url": report.get_absolute_url(),
    }


def _check_compared_with(policy: GatePolicy, eval_run: EvalRun, baseline: EvalRun | None) -> None:
    """Raises Refused where gates compare with the deployed model, and the baseline is not an evaluation of it."""
    if baseline is not None and any(gate.compared_with == COMPARED_WITH_DEPLOYED for gate in gates_of(policy)):
        check_required_baseline(eval_run, baseline)


def _check_runs(eval_run: EvalRun, baseline: EvalRun | None) -> None:
    if eval_run.status != Status.DONE:
        raise Refused(f"Evaluation {eval_run.number} is not finished.", field="eval_run", code="not_finished")
    if eval_run.split != Split.HOLDOUT:
        raise Refused(
            f"Evaluation {eval_run.number} is not on the hold-out. Gates require a finished hold-out evaluation.",
            field="eval_run",
            code="not_holdout",
        )
    overlap = training_overlap(eval_run)
    if overlap:
        count = ngettext("{n} hold-out document is", "{n} hold-out documents are", len(overlap)).format(n=len(overlap))
        raise Refused(
            f"{count} in the training data of this model ({', '.join(overlap[:3])}), so no gate report can be created.",
            field="eval_run",
            code="training_overlap",
        )
    check_answered("eval_run", eval_run)
    if changed := eval_run.backend.changed(eval_run):
        raise Refused(f"{changed} Evaluate the model again.", field="eval_run", code="model_changed")
    if baseline is not None:
        check_baseline(eval_run, baseline)
