"""The content of a gate report, for its page and its Markdown file."""

from collections.abc import Iterable, Mapping, Sequence, Sized
from datetime import datetime
from typing import Any

from django.contrib.auth.models import User

from evaluation.approvals import decisions
from evaluation.approvals.evidence import evidence
from evaluation.approvals.waivers import grouped, waivers_of
from evaluation.approvals.warnings import warnings
from evaluation.bundles.contents import bundle_hash, known_bundle_hash
from evaluation.comparison.regressions import document_p
from evaluation.comparison.regressions import fields as adjusted_fields
from evaluation.comparison.report import shown_modes
from evaluation.comparison.services import get_or_create_comparison
from evaluation.gates.holdout import evaluation_numbers
from evaluation.gates.holdout.membership import holdout_origins
from evaluation.gates.metrics import METRICS
from evaluation.gates.metrics.metric import Source, VerdictStatus
from evaluation.gates.policy.services import thresholds_set_at
from evaluation.gates.provenance import sections
from evaluation.gates.verdicts import without_number
from evaluation.models import Approval, AuditEntry, EvalRun, GateReport
from evaluation.models.resources import hardware_of
from evaluation.regression_suite.services import suite_result
from evaluation.scores.slice_selector import Slice
from labeling.models import DatasetItem, Gold, Origin, Project, Split
from slmstudio.text.formatting import exact_percent
from slmstudio.web.markdown import render_markdown

#: p-values of significant regressions
SIGNIFICANT = 0.05
#: fields, and slices, that a report lists
MAX_REGRESSIONS = 4


def _levels(verdicts: Iterable[Mapping[str, Any]]) -> str:
    """The confidence of verdicts, the lowest and the highest where they differ; "" without verdicts."""
    levels = sorted({float(row["confidence"]) for row in verdicts})
    if not levels:
        return ""
    lowest, highest = exact_percent(levels[0]), exact_percent(levels[-1])
    return highest if lowest == highest else f"{lowest} to {highest}"


def report_content(report: GateReport, *, with_bundle: bool = False) -> dict[str, Any]:
    """The current content of a report of ``GateReport.objects.with_content``, by name in its templates. Only modified
    files are read.

    ``reasons``: why its approval is void, or why it cannot be approved. ``own_involvement``: the work that the decider
    had started, with four eyes off; ``recent_role``: a sentence where they had become a manager recently. ``waivers``:
    titles of gates, and the waiver that they share. ``with_bundle``: the hash of its evidence bundle is computed where
    it is not known ("").
    """
    approval: Any = getattr(report, "approval", None)
    current = decisions.CurrentState(report.project)
    approved = approval is not None and approval.decision == Approval.Decision.APPROVED
    if approval is not None:
        approval.report = report
    if approved:
        reasons = decisions.void_reasons(approval, files=False, current=current)
        state = decisions.approval_status(approval, reasons)
    else:
        reasons = decisions.changed_since(report, files=False, current=current)
        state = (
            decisions.pending_status(reasons)
            if approval is None
            else decisions.decision_status(report, current=current)
        )
    run = report.eval_run
    earlier = [other for other in evaluation_numbers.earlier_reports(run) if other.number < report.number]
    withdrawn = current.withdrawn.get(str(report)) if approval is not None else None
    circumstances = decisions.decision_circumstances(approval, current) if approval is not None else {}
    return {
        "report": report,
        "run": run,
        "verdicts": [{**row, **_split_sentence(row), "hardware": _hardware(report, row)} for row in report.verdicts],
        "confidences": _confidences(report),
        "state": state,
        "sentence": decisions.current_result(report, state),
        "is_ready": report.passed and state[0] != "failed",
        "approval": approval,
        "approved": approved,
        "void": approved and state[0] == "failed",
        "unconfirmed": approved and decisions.needs_confirmation(approval, current),
        "confirmed": current.confirmed.get(str(report)) if approved else None,
        "reasons": reasons,
        "revised": _revised(report, current.revised_gold(run.dataset)[: decisions.MAX_LISTED]),
        "origins": _origins(run),
        "earlier_reports": earlier,
        "evaluations": evaluation_numbers.holdout_evaluations(run).count(),
        "regressions": regressions(report),
        "history": _history(report, withdrawn, current.confirmed.get(str(report)) if approved else None),
        "checks": decisions.manifest_checks(report, files=False, current=current),
        "provenance": sections(report),
        "bundle_sha256": bundle_hash(report) if with_bundle else known_bundle_hash(report),
        "waivers": grouped(waivers_of(approval)) if approval is not None else [],
        "own_involvement": circumstances.get("own_part", ""),
        "four_eyes": circumstances.get("four_eyes", True),
        "recent_role": circumstances.get("fresh_role", ""),
        "withdrawn": withdrawn is not None,
        "suite": suite_result(run),
        "warnings": warnings(report),
        "same_figures": same_figures(report, earlier),
        **evidence(report),
    }


def _confidences(report: GateReport) -> str:
    """The confidence levels of the verdicts; "" without verdicts."""
    of_answers, of_resources = (
        _levels(row for row in report.verdicts if METRICS[row["gate"]["metric"]].spends_alpha is spends)
        for spends in (True, False)
    )
    if of_resources and of_answers and of_resources != of_answers:
        return f"{of_answers} (resources: {of_resources})"
    return of_answers or of_resources


def _split_sentence(verdict: dict[str, Any]) -> dict[str, str]:
    """The two parts of a verdict's sentence: the finding, and the required sample of a gate that is not proven."""
    text = without_number(str(verdict["sentence"]))
    if verdict["status"] != VerdictStatus.NOT_PROVEN or "; " not in text:
        return {"finding": text, "requirement": ""}
    finding, _, requirement = text.rpartition("; ")
    return {"finding": finding, "requirement": requirement}


def _hardware(report: GateReport, verdict: Mapping[str, Any]) -> str:
    """What a figure of resources was measured on; "" for other figures."""
    if METRICS[verdict["gate"]["metric"]].source is not Source.RESOURCES or verdict["measured"] is None:
        return ""
    facts = report.eval_run.facts if report.measurement is None else report.measurement.facts
    hardware = hardware_of(facts) or (report.eval_run.model_label if report.eval_run.backend.is_external else "")
    concurrency = int(facts.get("at_once") or report.eval_run.concurrency)
    return f"{hardware or 'unknown hardware'}, concurrency {concurrency}"


def same_figures(report: GateReport, earlier: Sequence[GateReport]) -> str:
    """A sentence where an earlier report under the policy has the same figures, and only the number of the hold-out
    evaluation differs; "" where none has."""
    own = _figures(report)
    for other in reversed(earlier):
        if (
            other.policy_id == report.policy_id
            and other.holdout_number != report.holdout_number
            and own
            and _figures(other) == own
        ):
            return (
                f"Report {other.number} has the same figures for gates on outputs. It was hold-out evaluation "
                f"{other.holdout_number} and this is {report.holdout_number}, so the bounds are at "
                f"{_levels_of_answers(report)} instead of {_levels_of_answers(other)}."
            )
    return ""


def _figures(report: GateReport) -> list[tuple[Any, ...]]:
    """The figures of the gates on outputs, which the verdicts of one level follow from."""
    return [
        (row["gate"]["key"], row["measured"], row["k"], row["n"])
        for row in report.verdicts
        if METRICS[row["gate"]["metric"]].source is Source.ANSWERS
    ]


def _levels_of_answers(report: GateReport) -> str:
    return _levels(row for row in report.verdicts if METRICS[row["gate"]["metric"]].spends_alpha)


def _revised(report: GateReport, names: list[str]) -> list[dict[str, Any]]:
    """Hold-out documents by their id, with author and time of their newest gold label."""
    if not names:
        return []
    items = DatasetItem.objects.filter(
        dataset_id=report.eval_run.dataset_id, split=Split.HOLDOUT, document__external_id__in=names
    )
    documents = [item.document for item in items.select_related("document").order_by("document_id")]
    newest = Gold.objects.current(report.project).filter(document__in=documents)
    revisions = {gold.document_id: gold.revision for gold in newest.select_related("revision__user")}
    revised = []
    for document in documents:
        document.project = report.project
        revision = revisions.get(document.pk)
        author, at = (revision.user, revision.created_at) if revision is not None else (None, None)
        revised.append({"document": document, "user": author, "at": at})
    return revised


def _origins(run: EvalRun) -> dict[str, Any]:
    """Origins of the gold labels of a hold-out: documents, those labeled by people, and the others by origin."""
    counts = holdout_origins(run)
    others = {name: count for name, count in counts.items() if name != Origin.HUMAN and count}
    return {
        "documents": sum(counts.values()),
        "human": counts.get(Origin.HUMAN, 0),
        "others": [
            (str(Origin(name).label).lower(), count)
            for name, count in sorted(others.items(), key=lambda item: -item[1])
        ],
    }


def regressions(report: GateReport) -> dict[str, Any] | None:
    """What is worse than the baseline: documents, fields and slices, the worst first. None without a baseline.

    ``significant`` of a row: after the correction for multiple tests. ``more``: fields and slices that are not listed.
    """
    if report.baseline is None:
        return None
    comparison = get_or_create_comparison(a=report.baseline, b=report.eval_run)
    comparison.project, comparison.a, comparison.b = report.project, report.baseline, report.eval_run
    result = comparison.result
    fields = [
        {**row, "a": row["a_right"] / row["n"], "b": row["b_right"] / row["n"], "significant": _significant(row)}
        for row in adjusted_fields(result)
        if row["n"] and row["b_right"] < row["a_right"]
    ]
    fields.sort(key=lambda row: row["b"] - row["a"])
    modes = shown_modes(result, report.baseline, report.eval_run)
    slices = [_slice(row) for row in modes if row["change"] < 0]
    return {
        "comparison": comparison,
        "broken": _count(result["broken"]),
        "fixed": _count(result["fixed"]),
        "n": result["n"],
        "p_adjusted": document_p(result),
        "fields": fields[:MAX_REGRESSIONS],
        "slices": slices[:MAX_REGRESSIONS],
        "more": max(0, len(fields) - MAX_REGRESSIONS) + max(0, len(slices) - MAX_REGRESSIONS),
    }


def _slice(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of failure modes with its label, and the query parameter of its documents in a comparison."""
    slice_ = Slice(key=row["key"], value=row["value"]) if row["key"] else Slice(tag=row["value"])
    # A slice can be worse on average while more of its documents are better: that is not significant.
    significant = _significant(row) and row["worse"] > row["better"]
    return {
        **row,
        "significant": significant,
        "label": slice_.words,
        "by": "slice" if slice_.key else "tag",
        "name": str(slice_),
    }


def _significant(row: Mapping[str, Any]) -> bool:
    return row["p_adjusted"] is not None and float(row["p_adjusted"]) < SIGNIFICANT


def _count(documents: Sized | int) -> int:
    return documents if isinstance(documents, int) else len(documents)


def _history(report: GateReport, withdrawn: AuditEntry | None, confirmed: AuditEntry | None) -> list[dict[str, Any]]:
    """What users did for the report, oldest first: ``action``, ``user``, ``at``, and ``url`` where it has a page."""
    run, approval = report.eval_run, getattr(report, "approval", None)
    training, source, policy = run.training_run, run.rescored_from, report.policy
    entries = [_created(f"froze {run.dataset}", run.dataset, report.project)]
    if training is not None:
        entries.append(_created(f"started training “{training}”", training, report.project))
    if (made := run.classical) is not None:
        entries.append(_entry(f"chose {made} for training", made.created_by, made.created_at))
    if source is not None:
        entries.append(_created(f"started evaluation {source.number}", source, report.project))
    started = f"started evaluation {run.number}" if source is None else f"re-scored it as evaluation {run.number}"
    entries.append(_created(started, run, report.project))
    entries.append(_entry(f"set gate policy {policy.number}", policy.created_by, thresholds_set_at(policy)))
    entries.sort(key=lambda entry: entry["at"] or report.created_at)
    created = f"created the gate report with policy {policy.number}"
    entries.append(_entry(created, report.created_by, report.created_at))
    if approval is not None:
        entries.append(_entry(str(approval.decision), approval.decided_by, approval.decided_at))
    if confirmed is not None:
        entries.append(_entry("confirmed the waiver", confirmed.user, confirmed.created_at))
    if withdrawn is not None:
        entries.append(_entry("withdrew the approval", withdrawn.user, withdrawn.created_at))
    return entries


def _entry(action: str, user: User | None, at: datetime | None, url: str = "") -> dict[str, Any]:
    return {"action": action, "user": user, "at": at, "url": url}


def _created(action: str, row: Any, project: Project) -> dict[str, Any]:
    row.project = project
    return _entry(action, row.created_by, row.created_at, row.get_absolute_url())


def report_markdown(content: dict[str, Any], *, address: str, by: Any, at: datetime) -> str:
    """The report as of ``at``, exported by the user ``by``. ``address``: URL of its page."""
    return render_markdown("evaluation/approvals/report.md", {**content, "address": address, "by": by, "at": at})
