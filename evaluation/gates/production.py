"""The current production model: what answers for a project today, its evaluation on the same documents, and the
evaluations that the gates of a policy lack.

It is the stable version of the deployment. Where nothing is deployed, it is the model that was approved last.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import Exists, OuterRef
from django.urls import reverse
from django.utils.http import urlencode

from evaluation.audit import services as audit_services
from evaluation.comparison.services import documents_with_several_golds
from evaluation.gates.baselines import base_model_of, default_baseline, last_approved, mode_of_baseline
from evaluation.gates.metrics.metric import (
    COMPARED_WITH_BASE,
    COMPARED_WITH_DEPLOYED,
    COMPARED_WITH_PRODUCTION,
    VerdictStatus,
)
from evaluation.gates.policy.definition import GateSet
from evaluation.inference.backend import ModelKey
from evaluation.models import Approval, EvalOutput, EvalRun, GateReport, ResourceMeasurement
from evaluation.models.resources import hardware_of
from evaluation.runs import resources
from labeling.models import Contract, Project
from slmstudio.hooks import Hook
from training.models import BaseModel


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
    deployed = next((model for model in stable_model.call(project) if model is not None), None)
    return deployed or _approved_last(project)


def _approved_last(project: Project) -> ProductionModel | None:
    rows = Approval.objects.filter(report__project=project, decision=Approval.Decision.APPROVED)
    withdrawn = audit_services.entries_by_subject(project, audit_services.WITHDRAWN)
    for approval in rows.select_related("report__project").order_by("-decided_at", "-pk"):
        if str(approval.report) not in withdrawn:
            run = EvalRun.objects.with_model().get(pk=approval.report.eval_run_id)
            source = f"approved last, in {approval.report}"
            return ProductionModel(run.backend.key, run.mode, run.model_label, source)
    return None


def needs_production(policy: GateSet) -> bool:
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
    other = _comparable(run, model)
    if other is None:
        reason = (
            f"the current production model {model.label} ({model.source}) has no evaluation on these documents; "
            f"evaluate it on the {run.get_split_display().lower()} of {run.dataset}"
        )
        return Production(model, reason=reason)
    return Production(model, other)


def production_then(report: GateReport) -> Production:
    """What was in production when a report was made, whatever is now."""
    own = [row["status"] for row in report.verdicts if row["gate"]["compared_with"] == COMPARED_WITH_PRODUCTION]
    run, facts = report.production_run, report.production
    if run is None:
        return Production(reason="as in the report", is_applicable=VerdictStatus.INAPPLICABLE not in own)
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
        dataset__schema_version__sha256=run.dataset.schema_version.sha256,
        **({"mode": model.mode} if model.mode else {}),
    )
    return next(
        (candidate for candidate in rows.exclude(pk=run.pk).order_by("-number") if candidate.backend.key == model.key),
        None,
    )


def common_scores(run: EvalRun, other: EvalRun) -> dict[int, Any]:
    """Document -> score of the other evaluation, for documents of both with the same gold label."""
    own = EvalOutput.objects.filter(eval_run=run).values("document")
    rows = EvalOutput.objects.filter(eval_run=other, document__in=own).values_list("document_id", "score")
    several = documents_with_several_golds([run, other], None)
    return {document: score for document, score in rows if document not in several}


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
        "at_once": int(facts.get("at_once") or run.concurrency),
    }


@dataclass(frozen=True)
class MissingEvaluation:
    """An evaluation that ``gates`` (titles) need. ``url``: the form that starts it, with its price; ``live``: the one
    that is queued or running.
    """

    label: str
    gates: list[str]
    url: str
    live: EvalRun | None


def missing_evaluations(run: EvalRun, policy: GateSet) -> list[MissingEvaluation]:
    """The evaluations that a report on ``run`` lacks under a policy."""
    return [missing for missing in (_baseline(run, policy), _production(run, policy)) if missing is not None]


def _baseline(run: EvalRun, policy: GateSet) -> MissingEvaluation | None:
    gates = _titles(policy, COMPARED_WITH_DEPLOYED, COMPARED_WITH_BASE)
    if not gates or default_baseline(run) is not None:
        return None
    approved = last_approved(run)
    if approved is not None:
        key, mode = approved.backend.key, mode_of_baseline(run, approved)
        return _missing(run, approved.model_label, approved.backend.choice_key, key, gates, mode)
    number = base_model_of(run)
    if number is None:
        return None
    base = BaseModel.objects.get(pk=number)
    return _missing(run, base.name, f"base-{base.slug}", ModelKey(base_model=base.pk), gates)


def _production(run: EvalRun, policy: GateSet) -> MissingEvaluation | None:
    gates = _titles(policy, COMPARED_WITH_PRODUCTION)
    production = production_of(run) if gates else None
    if production is None or not production.is_applicable or production.run is not None or production.model is None:
        return None
    key = production.model.key
    other = EvalRun.objects.with_model().of_model(key).order_by("-number").first()
    choice = other.backend.choice_key if other is not None else f"endpoint-{key.endpoint}" if key.endpoint else ""
    return _missing(run, production.model.label, choice, key, gates, production.model.mode) if choice else None


def _titles(policy: GateSet, *compared_with: str) -> list[str]:
    return [gate.title for gate in policy if gate.compared_with in compared_with]


def _missing(
    run: EvalRun, label: str, choice: str, key: ModelKey, gates: list[str], mode: str = ""
) -> MissingEvaluation:
    query: dict[str, str | int] = {
        "model": choice,
        "dataset": run.dataset.number,
        "split": run.split,
        "mode": mode or run.mode,
        "concurrency": run.concurrency,
    }
    url = f"{reverse('eval_new', args=[run.project.slug])}?{urlencode(query)}"
    live = EvalRun.objects.of_model(key).filter(project=run.project_id, split=run.split, dataset=run.dataset_id).live()
    return MissingEvaluation(label, gates, url, live.order_by("-number").first())
