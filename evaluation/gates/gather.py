"""Gathers the facts of an evaluation that its gates are tested on from the database."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.timezone import localtime

from evaluation.gates.baselines import base_model_of, model_key
from evaluation.gates.facts import Answer, Families, OtherModel, RunFacts
from evaluation.gates.holdout import disclosure, membership
from evaluation.gates.metrics import METRICS
from evaluation.gates.metrics.metric import Resources, Source, SuiteAnswers
from evaluation.gates.policy.definition import GateSet
from evaluation.gates.production import Production, common_scores, needs_production, production_of
from evaluation.models import EvalOutput, EvalRun, ResourceMeasurement
from evaluation.regression_suite.services import answers, pinned_documents
from evaluation.runs import resources
from evaluation.scores.slice_selector import Slice
from labeling.datasets import families
from labeling.models import Contract, Document
from slmstudio.text.formatting import format_date_time


@dataclass(frozen=True)
class ExternalInputs:
    """What the facts of an evaluation depend on besides its stored outputs, and what others can change at any time.

    ``removed``: outputs for documents that left the hold-out; ``measurement``: what resources are measured on, None for
    the evaluation itself; the other attributes are those of ``RunFacts`` and ``Resources``.
    """

    removed: list[EvalOutput]
    slice_samples: dict[int, str]
    metadata: dict[int, Any]
    suite: SuiteAnswers
    price_per_hour: float
    production: Production
    measurement: ResourceMeasurement | None


def external_inputs(policy: GateSet, run: EvalRun) -> ExternalInputs:
    """The current ones of an evaluation; only what the gates of the policy need is read."""
    removed = membership.removed_documents(run)
    metadata: dict[int, Any] = {}
    if any(Slice.parse(gate.slice).key for gate in policy):
        documents = Document.objects.filter(eval_outputs__eval_run=run)
        metadata = dict(documents.values_list("pk", "metadata")) | membership.metadata_of(removed)
    of_resources = tests_source(policy, Source.RESOURCES)
    price = constraints_of(run).get("hardware_price_per_hour") if of_resources else 0
    return ExternalInputs(
        removed=removed,
        slice_samples=membership.slice_samples(run.project_id),
        metadata=metadata,
        suite=suite_answers(run) if tests_source(policy, Source.REGRESSION_SUITE) else SuiteAnswers(),
        price_per_hour=float(price or 0),
        production=production_of(run) if needs_production(policy) else Production(),
        measurement=resources.newest(run) if of_resources else None,
    )


def gather(run: EvalRun, baseline: EvalRun | None, inputs: ExternalInputs) -> RunFacts:
    """The facts of a finished evaluation and of its baseline for the gates of a policy."""
    rows = EvalOutput.objects.filter(eval_run=run).defer("gold", "raw", "error").order_by("document_id")
    outputs = _answers(rows)
    requests, measurement = outputs, inputs.measurement
    if measurement is not None:
        tags = {row.document: row.tags for row in outputs}
        requests = _answers(resources.as_outputs(measurement.requests, {key: list(tag) for key, tag in tags.items()}))
    scores = EvalOutput.objects.filter(eval_run=baseline).values_list("document_id", "score")
    return RunFacts(
        outputs=outputs,
        requests=requests,
        resources=resources_of(run, requests, measurement, price_per_hour=inputs.price_per_hour),
        removed=_answers(inputs.removed),
        disclosed=disclosure.disclosed_documents(run),
        slice_samples=inputs.slice_samples,
        metadata=inputs.metadata,
        families=families_of(run),
        suite=inputs.suite,
        baseline=dict(scores) if baseline is not None else None,
        baseline_name=baseline.short_name if baseline is not None else "",
        baseline_mismatch=_baseline_mismatch(run, baseline),
        production=_other_model(run, inputs.production),
        resources_note=_measured_on(measurement),
    )


def _other_model(run: EvalRun, production: Production) -> OtherModel:
    scores = common_scores(run, production.run) if production.run is not None else None
    return OtherModel(scores, production.name, production.reason, production.is_applicable)


def _answers(rows: Any) -> list[Answer]:
    return [Answer(row.document_id, row.tags, row.score, row) for row in rows]


def families_of(run: EvalRun) -> Families:
    """The families of the documents of an evaluation. They are known if they are in the training data of its model."""
    trained_on = run.backend.trained_on
    known = families.known_documents(run.dataset, run.split, trained_on)
    return Families(
        of=families.families_of(run.dataset, run.split),
        words=(families.family_word(run.dataset, 1), families.family_word(run.dataset)),
        key=families.group_key(run.dataset),
        known=None if known is None else frozenset(known),
    )


def tests_source(policy: GateSet, source: Source) -> bool:
    """Whether a policy has a gate on a metric of this source."""
    return any(METRICS[gate.metric].source is source for gate in policy)


def resources_of(
    run: EvalRun, requests: Sequence[Answer], measurement: ResourceMeasurement | None = None, price_per_hour: float = 0
) -> Resources:
    """What is known of the run that requests belong to: the evaluation, or its newest measurement."""
    facts = run.facts if measurement is None else measurement.facts
    return Resources(
        facts=facts,
        is_fresh=run.rescored_from_id is None or measurement is not None,
        time_share=time_share(measurement or run, requests, run.at_once),
        price=run.backend.price(facts, _price_at_run(facts) or price_per_hour or None),
    )


def _price_at_run(facts: Mapping[str, Any]) -> float:
    """The price per hour that the run's own cost was computed with; 0 where it has none."""
    cost, rate = facts.get("cost_per_document"), facts.get("docs_per_second")
    return 3600 * float(cost) * float(rate) if cost and rate else 0.0


def time_share(run: EvalRun | ResourceMeasurement, requests: Sequence[Answer], at_once: int = 1) -> float:
    """The share of a request's latency that the machine spent on it alone: the duration of the run over the latencies
    of all its requests. Concurrent requests share the time; a batch lasts until its longest answer."""
    latencies = sum(row.request.latency_ms for row in requests)
    rate = float(run.facts.get("docs_per_second") or 0)
    seconds = float(run.facts.get("seconds") or 0) or (len(requests) / rate if rate else 0.0)
    together = int(run.facts.get("at_once") or getattr(run, "at_once", at_once) or 1)
    return max(1000 * seconds / latencies, 1 / together) if latencies else 1.0


def _measured_on(measurement: ResourceMeasurement | None) -> str:
    """Which measurement resources are from, when and on what hardware; "" where they are the evaluation's own."""
    if measurement is None or measurement.finished_at is None:
        return ""
    hardware = f" on {measurement.hardware}" if measurement.hardware else ""
    number = f"measurement {resources.measurement_number(measurement)} of this evaluation"
    return f"{number}, {format_date_time(localtime(measurement.finished_at))}{hardware}"


def _baseline_mismatch(run: EvalRun, baseline: EvalRun | None) -> str:
    """Why the baseline is not the base model of a model, for gates that compare with it; "" where it is."""
    if baseline is None:
        return ""
    if not baseline.backend.is_base_model:
        return f"{baseline.model_label} is not a base model, which this gate compares with"
    base = base_model_of(run)
    if base is not None and baseline.backend.key.base_model != base:
        return f"{baseline.model_label} is not the base model of {run.model_label}"
    return ""


def suite_answers(run: EvalRun) -> SuiteAnswers:
    """The answers of a model to the regression suite. For a document that is not in this evaluation the newest other
    evaluation of the same model counts, with the same decoding mode.
    """
    pinned = pinned_documents(run.project)
    if not pinned:
        return SuiteAnswers()
    same: Any = EvalRun.objects.of_model(model_key(run)).filter(
        project_id=run.project_id, mode=run.mode, benchmark=None
    )
    rows = same.done().exclude(pk=run.pk).order_by("-number").defer("spec", "scores")
    others = [row.pk for row in rows if model_key(row) == model_key(run)]
    order = {pk: place for place, pk in enumerate([run.pk, *others])}
    newest: dict[int, tuple[int, bool]] = {}
    for evaluation, document, exact in answers(list(order), sorted(pinned)):
        newest[document] = min(newest.get(document, (len(order), True)), (order[evaluation], exact))
    return SuiteAnswers(len(pinned), {document: exact for document, (_, exact) in newest.items()})


def constraints_of(run: EvalRun) -> Mapping[str, Any]:
    """The production constraints of the contract."""
    contract = Contract.objects.filter(project_id=run.project_id).only("constraints").first()
    return dict(contract.constraints) if contract is not None else {}
