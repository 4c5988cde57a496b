"""The gates of an evaluation for programs: a gate report on the hold-out, a gate check on validation.

A gate check is not stored, spends no alpha of the hold-out, and cannot be approved, because candidates are chosen and
errors are read on validation. Its bounds are at the confidence of each gate.
"""

import re
from dataclasses import dataclass, replace
from typing import Any
from xml.etree import ElementTree

from django.contrib.auth.models import User

from evaluation.gates.baselines import check_baseline
from evaluation.gates.display import exit_code, gate_row, overall
from evaluation.gates.facts import external_inputs, gather, measure
from evaluation.gates.metrics.metric import VerdictStatus
from evaluation.gates.policy.changes import changes
from evaluation.gates.policy.definition import GateSet
from evaluation.gates.policy.services import current_policy, gates_of
from evaluation.gates.services import create_report
from evaluation.gates.verdicts import summary_sentence, verdict_for
from evaluation.models import EvalRun, GateReport
from labeling.models import Split
from slmstudio.access import Action, require
from slmstudio.errors import Refused
from slmstudio.runs.models import Status


@dataclass(frozen=True)
class GateOutcome:
    """The verdicts of gates on an evaluation, as a report stores them.

    ``policy``: its version; None for gates of a file. ``report``: None for a gate check.
    """

    eval_run: EvalRun
    baseline: EvalRun | None
    verdicts: list[dict[str, Any]]
    sentence: str
    policy: int | None
    report: GateReport | None = None

    @property
    def status(self) -> VerdictStatus:
        """The verdict of all gates."""
        return overall(self.verdicts)

    def as_dict(self) -> dict[str, Any]:
        """All of it for programs, ready for JSON."""
        report = self.report
        return {
            "report": report.number if report is not None else None,
            "evaluation": self.eval_run.number,
            "baseline": self.baseline.number if self.baseline is not None else None,
            "model": self.eval_run.model_label,
            "split": str(self.eval_run.split),
            "verdict": str(self.status),
            "code": int(exit_code(self.status)),
            "sentence": self.sentence,
            "policy": self.policy,
            "holdout_evaluation": report.holdout_number if report is not None else None,
            "gates": [gate_row(verdict) for verdict in self.verdicts],
            "url": (self.eval_run if report is None else report).get_absolute_url(),
            "created_at": report.created_at.isoformat() if report is not None else None,
        }


def outcome_of(report: GateReport) -> GateOutcome:
    """The outcome that a report has stored."""
    return GateOutcome(report.eval_run, report.baseline, report.verdicts, report.sentence, report.policy.number, report)


def run_gates(
    *, eval_run: EvalRun, baseline: EvalRun | None, user: User | None, gates: GateSet | None = None
) -> GateOutcome:
    """Tests the gates of a finished evaluation: creates the gate report on the hold-out, or checks on validation.

    ``gates``: those of a file. A check tests them instead of the policy of the project; a report requires that they are
    its policy, which only members set.

    Raises:
        Refused: ``field`` is eval_run, baseline or gates.
    """
    require(eval_run.project, user, Action.RUN, Action.APPROVE)
    if eval_run.split == Split.VALIDATION:
        return _check(eval_run, baseline, gates)
    if gates is not None and changes(gates_of(current_policy(project=eval_run.project)), gates):
        raise Refused(
            "These gates differ from the project's gate policy, which hold-out reports use. Change the gate policy "
            "first.",
            field="gates",
            code="other_policy",
        )
    return outcome_of(create_report(eval_run=eval_run, baseline=baseline, user=user))


def _check(eval_run: EvalRun, baseline: EvalRun | None, gates: GateSet | None) -> GateOutcome:
    if eval_run.status != Status.DONE:
        raise Refused(f"Evaluation {eval_run.number} is not finished.", field="eval_run", code="not_finished")
    if baseline is not None:
        check_baseline(eval_run, baseline)
    current = current_policy(project=eval_run.project) if gates is None else None
    policy = gates if current is None else gates_of(current)
    assert policy is not None
    # Documents that left the hold-out are not of this evaluation.
    inputs = replace(external_inputs(policy, eval_run), removed=[])
    measurements = measure(policy, gather(eval_run, baseline, inputs))
    verdicts = [verdict_for(gate, measurements[gate.key]) for gate in policy]
    counted = summary_sentence(verdicts).partition(". ")[2]
    return GateOutcome(
        eval_run,
        baseline,
        [verdict.as_dict() for verdict in verdicts],
        f"Checked on validation. {counted}",
        current.number if current is not None else None,
    )


#: characters that XML 1.0 cannot contain
_UNREPRESENTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def junit_xml(outcome: GateOutcome) -> str:
    """One test suite with a test for each gate. FAIL and NOT PROVEN are failures, ``type`` says which; an
    inapplicable gate is skipped."""
    project = outcome.eval_run.project.slug
    skipped = sum(verdict["status"] == VerdictStatus.INAPPLICABLE for verdict in outcome.verdicts)
    counts = {"tests": str(len(outcome.verdicts)), "failures": str(_failures(outcome)), "errors": "0"}
    counts |= {"skipped": str(skipped)} if skipped else {}
    root = ElementTree.Element("testsuites", counts)
    suite = ElementTree.SubElement(root, "testsuite", {"name": f"gates of {project}", **counts})
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in _properties(outcome).items():
        ElementTree.SubElement(properties, "property", {"name": name, "value": _clean(value)})
    for verdict in outcome.verdicts:
        gate, sentence = verdict["gate"], _clean(verdict["sentence"])
        names = {"classname": f"gates.{project}.{gate['key']}", "name": _clean(gate["title"]), "time": "0"}
        test = ElementTree.SubElement(suite, "testcase", names)
        if verdict["status"] == VerdictStatus.PASS:
            ElementTree.SubElement(test, "system-out").text = sentence
        elif verdict["status"] == VerdictStatus.INAPPLICABLE:
            ElementTree.SubElement(test, "skipped", {"message": sentence})
        else:
            reason = {"type": str(verdict["status"]), "message": sentence}
            ElementTree.SubElement(test, "failure", reason).text = sentence
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _failures(outcome: GateOutcome) -> int:
    return sum(
        verdict["status"] not in (VerdictStatus.PASS, VerdictStatus.INAPPLICABLE) for verdict in outcome.verdicts
    )


def _properties(outcome: GateOutcome) -> dict[str, str]:
    properties = {
        "verdict": str(outcome.status),
        "sentence": outcome.sentence,
        "evaluation": str(outcome.eval_run.number),
        "model": outcome.eval_run.model_label,
        "split": str(outcome.eval_run.split),
    }
    return properties if outcome.report is None else {**properties, "report": str(outcome.report.number)}


def _clean(text: str) -> str:
    return _UNREPRESENTABLE.sub("\N{REPLACEMENT CHARACTER}", text)
