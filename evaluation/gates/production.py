"""The current production model: what answers for a project today, and its evaluation on the same documents.

It is the stable version of the deployment. Where nothing is deployed, it is the model that was approved last.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import Exists, OuterRef

from evaluation.audit import services as audit_services
from evaluation.gates.metrics.findings import Status
from evaluation.gates.policy.definition import COMPARED_WITH_PRODUCTION, GatePolicy
from evaluation.inference.backend import ModelKey
from evaluation.models import Approval, EvalOutput, EvalRun, GateReport, ResourceMeasurement
from evaluation.models.resources import hardware_of
from evaluation.runs import resources
from labeling.models import Contract, DatasetItem, Project
from slmstudio.hooks import Hook


@dataclass(frozen=True)
class ProductionModel:
    """A model that is in production. ``mode``: its decoding mode; "" for any. ``source``: why it is in production."""

    key: ModelKey
    mode: str
    label: str
    source: str


#: a project -> the model that answers as its stable version; registered by serving
stable_model: Hook[[Project], ProductionModel | None] = Hook()


@dataclass(frozen=True)
class Production:
    """The production model of a project from the point of view of a candidate.

    ``run``: its newest evaluation on the candidate's documents; None with a ``reason``. ``is_applicable``: false where
    there is no other model to compare with.
    """

    model: ProductionModel | None = None
    run: EvalRun | None = None
    reason: str = ""
    is_applicable: bool = True

    @property
    def name(self) -> str:
        """The model in a verdict: "version 3, Small 135M, in evaluation 7"."""
        if self.model is None or self.run is None:
            return "the current production model"
        return f"the current production model {self.model.label} (evaluation {self.run.number})"


def current_model(project: Project) -> ProductionModel | None:
    """The model that is in production; None where nothing is deployed or approved."""
    deployed = next((found for found in stable_model.call(project) if found is not None), None)
    return deployed or _approved_last(project)


def _approved_last(project: Project) -> ProductionModel | None:
    rows = Approval.objects.filter(report__project=project, decision=Approval.Decision.APPROVED)
    withdrawn = audit_services.withdrawn(project)
    for approval in rows.select_related("report__project").order_by("-decided_at", "-pk"):
        if str(approval.report) not in withdrawn:
            run = EvalRun.objects.with_model().get(pk=approval.report.eval_run_id)
            source = f"approved last, in {approval.report}"
            return ProductionModel(run.backend.key, run.mode, run.model_label, source)
    return None


def needs_production(policy: GatePolicy) -> bool:
    """Whether a policy has a gate that compares with the production model."""
    return any(gate.compared_with == COMPARED_WITH_PRODUCTION for gate in policy)


def production_of(run: EvalRun) -> Production:
    """The production model for an evaluation of a candidate, with the evaluation to compare with."""
    model = current_model(run.project)
    if model is None:
        reason = "no model is in production yet: nothing is deployed, and no report is approved"
        return Production(reason=reason, is_applicable=False)
    if model.key == run.backend.key and model.mode in ("", run.mode):
        return Production(model, reason=f"{model.label} is the current production model itself", is_applicable=False)
    found = _comparable(run, model)
    if found is None:
        reason = (
            f"the current production model {model.label} ({model.source}) has no evaluation on these documents; "
            f"evaluate it on the {run.get_split_display().lower()} of {run.dataset}"
        )
        return Production(model, reason=reason)
    return Production(model, found)


def production_then(report: GateReport) -> Production:
    """What was in production when a report was made, whatever is now."""
    own = [row["status"] for row in report.verdicts if row["gate"]["compared_with"] == COMPARED_WITH_PRODUCTION]
    run, facts = report.production_run, report.production
    if run is None:
        return Production(reason="as in the report", is_applicable=Status.INAPPLICABLE not in own)
    return Production(ProductionModel(run.backend.key, run.mode, facts["model"], facts["source"]), run)


def _comparable(run: EvalRun, model: ProductionModel) -> EvalRun | None:
    """The newest evaluation of a model on documents of this one, under the same schema and scored the same way."""
    own = EvalOutput.objects.filter(eval_run=run).values("document")
    rows: Any = EvalRun.objects.with_model().of_model(model.key).done()
    rows = rows.filter(
        Exists(EvalOutput.objects.filter(eval_run=OuterRef("pk"), document__in=own)),
        project=run.project_id,
        split=run.split,
        benchmark=None,
        scorer_version=run.scorer_version,
        dataset__schema_version=run.dataset.schema_version_id,
        **({"mode": model.mode} if model.mode else {}),
    )
    return next((one for one in rows.exclude(pk=run.pk).order_by("-number") if one.backend.key == model.key), None)


def common_scores(run: EvalRun, other: EvalRun) -> dict[int, Any]:
    """Document -> score of the other evaluation, for documents of both with the same gold label."""
    own = EvalOutput.objects.filter(eval_run=run).values("document")
    rows = EvalOutput.objects.filter(eval_run=other, document__in=own).values_list("document_id", "score")
    if other.dataset_id == run.dataset_id:
        return dict(rows)
    items = DatasetItem.objects.filter(dataset__in=[run.dataset_id, other.dataset_id])
    labels: dict[int, set[int]] = {}
    for document, revision in items.values_list("document_id", "revision_id"):
        labels.setdefault(document, set()).add(revision)
    return {document: score for document, score in rows if len(labels.get(document, ())) == 1}


# -- what a report records ---------------------------------------------------------------------------------------------


def comparison_facts(production: Production, run: EvalRun, measurement: ResourceMeasurement | None) -> dict[str, Any]:
    """What a report records of the production model: which one, in which evaluation, with cost, latency and hardware of
    both models. {} without one."""
    if production.model is None or production.run is None:
        return {}
    contract = Contract.objects.filter(project=run.project_id).only("constraints").first()
    constraints: Mapping[str, Any] = contract.constraints if contract is not None else {}
    other = production.run
    return {
        "model": production.model.label,
        "source": production.model.source,
        "evaluation": other.number,
        "outputs_sha256": other.outputs_sha256,
        "currency": str(constraints.get("currency") or ""),
        "sides": [
            _side("Candidate", run, measurement or resources.newest(run), constraints),
            _side("Current production model", other, resources.newest(other), constraints),
        ],
    }


def _side(
    title: str, run: EvalRun, measurement: ResourceMeasurement | None, constraints: Mapping[str, Any]
) -> dict[str, Any]:
    """Cost per 1,000 documents, latency in ms and hardware of one model, of its newest measurement."""
    facts = run.facts if measurement is None else {**run.facts, **measurement.facts}
    latency = run.latency if measurement is None else measurement.latency
    documents = int(run.scores.get("documents") or 0)
    cost = run.backend.price(facts, constraints.get("hardware_price_per_hour")).of_run(facts, documents)
    return {
        "title": title,
        "model": run.model_label,
        "evaluation": run.number,
        "cost_per_thousand": cost.per_thousand,
        "cost_reason": cost.reason,
        "p50_ms": latency.get("p50"),
        "p95_ms": latency.get("p95"),
        "hardware": hardware_of(facts) if not run.backend.is_external else "external",
        "at_once": int(facts.get("at_once") or run.at_once),
    }
