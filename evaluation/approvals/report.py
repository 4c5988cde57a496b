"""All that a gate report says to whoever decides on it, gathered once for the page and for the copies to keep."""

from collections.abc import Iterable, Mapping, Sized
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.auth.models import User

from evaluation.approvals import decisions, waivers
from evaluation.approvals.evidence import Money, Through, evidence
from evaluation.approvals.warnings import cautions
from evaluation.comparison.regressions import document_p
from evaluation.comparison.regressions import fields as adjusted_fields
from evaluation.comparison.services import get_or_create_comparison
from evaluation.gates import manifest
from evaluation.gates.display import level
from evaluation.gates.holdout import alpha_spending
from evaluation.gates.holdout.sample_size import Missing
from evaluation.gates.policy.definition import METRICS
from evaluation.gates.policy.services import set_at
from evaluation.gates.services import holdout_origins, looks
from evaluation.gates.verdicts import Status
from evaluation.models import Approval, AuditEntry, EvalRun, GateReport
from evaluation.regression_suite import services as pins
from evaluation.scores.slices import Slice
from labeling.models import DatasetItem, Gold, Origin, Split

#: below this p-value, a field or slice that fell is not put down to luck
NO_LUCK = 0.05
#: so many fields, and so many slices, are told
TOLD = 4


@dataclass(frozen=True)
class Deed:
    """Who did what, when."""

    what: str
    who: User | None
    when: datetime | None
    url: str = ""


@dataclass(frozen=True)
class Revised:
    """A hold-out document whose gold is no longer what was judged; ``who`` and ``when`` of the newest revision."""

    document: Any
    who: User | None = None
    when: datetime | None = None


@dataclass(frozen=True)
class Account:
    """What a report says. ``reasons``: why its approval no longer holds, or why it can no longer be approved.

    ``alone``: what of the work the person who decided had started, where that was allowed; ``four_eyes``: whether that
    would have been refused; ``fresh_role``: a sentence where they had become a manager only lately. ``waived``: titles
    of gates, and the waiver that they share.
    """

    report: GateReport
    run: EvalRun
    verdicts: list[dict[str, Any]]
    state: tuple[str, str]
    approval: Approval | None
    reasons: list[str]
    revised: list[Revised]
    origins: dict[str, Any]
    looks: list[GateReport]
    evaluations: int
    worse: dict[str, Any] | None
    history: list[Deed]
    checks: list[manifest.Check]
    waived: list[tuple[list[str], waivers.Waived]]
    alone: str
    four_eyes: bool
    fresh_role: str
    withdrawn: bool
    pins: pins.Standing
    money: Money | None
    automation: Through
    missing: list[Missing]
    cautions: list[str]

    @property
    def confidences(self) -> str:
        """What the verdicts were judged at, in words; "" where there are none."""
        of_answers, of_resources = (
            _levels(row for row in self.verdicts if METRICS[row["gate"]["metric"]].spends is spends)
            for spends in (True, False)
        )
        if of_resources and of_answers and of_resources != of_answers:
            return f"{of_answers} (resources: {of_resources})"
        return of_answers or of_resources

    @property
    def approved(self) -> bool:
        """Whether it was approved, whatever became of that."""
        return self.approval is not None and self.approval.decision == Approval.Decision.APPROVED

    @property
    def void(self) -> bool:
        """Whether it was approved and the approval no longer holds."""
        return self.approved and bool(self.reasons)


def _levels(verdicts: Iterable[Mapping[str, Any]]) -> str:
    """The confidence of these verdicts, the least and the most where they differ; "" where there are none."""
    found = sorted({float(row["confidence"]) for row in verdicts})
    if not found:
        return ""
    least, most = level(found[0]), level(found[-1])
    return most if least == most else f"{least.removesuffix(' %')} to {most}"


def rows() -> Any:
    """Reports with all that an account of them takes, in one query."""
    return GateReport.objects.select_related(
        "project",
        "policy",
        "created_by",
        "measurement",
        "approval__decided_by",
        "eval_run__base_model",
        "eval_run__created_by",
        "eval_run__dataset__created_by",
        "eval_run__dataset__schema_version",
        "eval_run__endpoint",
        "eval_run__export__model_version",
        "eval_run__model_version__training_run",
        "eval_run__rescored_from__created_by",
        "eval_run__training_run__created_by",
        "baseline__base_model",
        "baseline__endpoint",
        "baseline__model_version",
        "baseline__training_run",
        "baseline__dataset",
    )


def account(report: GateReport) -> Account:
    """What a report of ``rows`` says now. Files are only read where they were touched since it was made."""
    approval = getattr(report, "approval", None)
    present = decisions.Present(report.project)
    if approval is not None:
        approval.report = report
    if approval is not None and approval.decision == Approval.Decision.APPROVED:
        reasons = decisions.voided(approval, files=False, present=present)
        state = decisions.standing_of(approval, reasons)
    else:
        reasons = decisions.changes(report, files=False, present=present)
        state = decisions.standing(report, present=present)
    run = report.eval_run
    withdrawn = present.withdrawn.get(str(report)) if approval is not None else None
    how = decisions.decided_how(approval, present) if approval is not None else {}
    return Account(
        report=report,
        run=run,
        verdicts=[{**row, **_said(row)} for row in report.verdicts],
        state=state,
        approval=approval,
        reasons=reasons,
        revised=_revised(report, present.revised_gold(run.dataset)[: decisions.NAMED]),
        origins=origins(run),
        looks=[other for other in looks(run) if other.number < report.number],
        evaluations=_evaluations(run),
        worse=worse(report),
        history=_history(report, withdrawn),
        checks=manifest.verify(report, files=False),
        waived=waivers.grouped(waivers.waived(approval)) if approval is not None else [],
        alone=how.get("own_part", ""),
        four_eyes=how.get("four_eyes", True),
        fresh_role=how.get("fresh_role", ""),
        withdrawn=withdrawn is not None,
        pins=pins.standing(run),
        cautions=cautions(report),
        **evidence(report),
    )


def _said(verdict: dict[str, Any]) -> dict[str, str]:
    """The sentence of a verdict in its two parts: what was found, and for an unproven one what a proof would take."""
    words = str(verdict["sentence"]).removeprefix(f"{verdict['status']}: ")
    words, _, _ = words.partition(". Look ")
    if verdict["status"] != Status.NOT_PROVEN or "; " not in words:
        return {"words": words.rstrip("."), "price": ""}
    found, _, price = words.rstrip(".").rpartition("; ")
    return {"words": found, "price": price}


def _revised(report: GateReport, names: list[str]) -> list[Revised]:
    """Documents by their id, with who revised their gold last, and when."""
    if not names:
        return []
    items = DatasetItem.objects.filter(
        dataset_id=report.eval_run.dataset_id, split=Split.HOLDOUT, document__external_id__in=names
    )
    documents = [item.document for item in items.select_related("document").order_by("document_id")]
    newest = Gold.objects.current(report.project).filter(document__in=documents)
    found = {gold.document_id: gold.revision for gold in newest.select_related("revision__user")}
    revised = []
    for document in documents:
        document.project = report.project
        revision = found.get(document.pk)
        revised.append(Revised(document, revision.user, revision.created_at) if revision else Revised(document))
    return revised


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
    """How many evaluations have answered documents of this hold-out, judged or not, finished or not."""
    return int(alpha_spending.seen(run).count())


def worse(report: GateReport) -> dict[str, Any] | None:
    """What became worse against the baseline: documents, fields and slices, the worst first. None without a baseline.

    Of fields and slices the worst are told, and how many more there are; ``sure``: by more than luck, after the
    correction for looking at so many.
    """
    if report.baseline is None:
        return None
    comparison = get_or_create_comparison(a=report.baseline, b=report.eval_run)
    comparison.project, comparison.a, comparison.b = report.project, report.baseline, report.eval_run
    result = comparison.result
    fields = [
        {**row, "a": row["a_right"] / row["n"], "b": row["b_right"] / row["n"], "sure": _sure(row)}
        for row in adjusted_fields(result)
        if row["n"] and row["b_right"] < row["a_right"]
    ]
    fields.sort(key=lambda row: row["b"] - row["a"])
    slices = [_slice(row) for row in result["modes"] if row["change"] < 0]
    return {
        "comparison": comparison,
        "broken": _count(result["broken"]),
        "fixed": _count(result["fixed"]),
        "n": result["n"],
        "p_adjusted": document_p(result),
        "fields": fields[:TOLD],
        "slices": slices[:TOLD],
        "more": max(0, len(fields) - TOLD) + max(0, len(slices) - TOLD),
    }


def _slice(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of failure modes with its words and with what its documents are asked for by in a comparison."""
    one = Slice(key=row["key"], value=row["value"]) if row["key"] else Slice(tag=row["value"])
    # A slice can lose in figures while more of its documents got better: then nothing is sure.
    sure = _sure(row) and row["worse"] > row["better"]
    return {**row, "sure": sure, "words": one.words, "by": "slice" if one.key else "tag", "name": str(one)}


def _sure(row: Mapping[str, Any]) -> bool:
    return row["p_adjusted"] is not None and float(row["p_adjusted"]) < NO_LUCK


def _count(documents: Sized | int) -> int:
    return documents if isinstance(documents, int) else len(documents)


def _history(report: GateReport, withdrawn: AuditEntry | None) -> list[Deed]:
    run, approval = report.eval_run, getattr(report, "approval", None)
    dataset, training = run.dataset, run.training_run
    for row in (run, dataset, training):
        if row is not None:
            row.project = report.project
    deeds = [Deed(f"froze {dataset}", dataset.created_by, dataset.created_at, dataset.get_absolute_url())]
    if training is not None:
        address = training.get_absolute_url()
        deeds.append(Deed(f"started the training “{training}”", training.created_by, training.created_at, address))
    if run.rescored_from is not None:
        first = run.rescored_from
        first.project = report.project
        deeds.append(
            Deed(f"started evaluation {first.number}", first.created_by, first.created_at, first.get_absolute_url())
        )
    what = f"started evaluation {run.number}" if run.rescored_from is None else f"scored it again as {run.number}"
    deeds.append(Deed(what, run.created_by, run.created_at, run.get_absolute_url()))
    policy = report.policy
    deeds.append(Deed(f"set gate policy {policy.number}", policy.created_by, set_at(policy)))
    deeds.sort(key=lambda deed: deed.when or report.created_at)
    deeds.append(Deed(f"had it judged by gate policy {report.policy.number}", report.created_by, report.created_at))
    if approval is not None:
        deeds.append(Deed(str(approval.get_decision_display()), approval.decided_by, approval.decided_at))
    if withdrawn is not None:
        deeds.append(Deed("withdrew the approval", withdrawn.user, withdrawn.created_at))
    return deeds
