"""The facts of an evaluation that its gates are tested on: gathered from the database once, measured for each gate."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from django.utils.timezone import localtime
from django.utils.translation import ngettext

from evaluation.gates.baselines import base_model_of, last_approved, model_key
from evaluation.gates.holdout import disclosure, membership
from evaluation.gates.metrics import METRICS
from evaluation.gates.metrics.metric import (
    COMPARED_WITH_BASE,
    COMPARED_WITH_DEPLOYED,
    COMPARED_WITH_PRODUCTION,
    Measurement,
    Resources,
    Sample,
    Source,
    SuiteAnswers,
    VerdictStatus,
)
from evaluation.gates.policy.definition import Gate, GateSet
from evaluation.gates.production import Production, common_scores, needs_production, production_of
from evaluation.gates.verdicts import Verdict
from evaluation.models import EvalOutput, EvalRun, GateReport, ResourceMeasurement
from evaluation.regression_suite.services import answers, pinned_documents
from evaluation.runs import resources
from evaluation.scores.slice_selector import Slice
from labeling.datasets import families
from labeling.models import Contract, Document
from slmstudio.text.formatting import format_date_time


@dataclass(frozen=True)
class Families:
    """The families of a hold-out: document -> family, where a document is not alone in it.

    ``words``: what one is, and several are. ``key``: the metadata key that documents are grouped by; "" without one.
    ``known``: the documents whose family is in training; None where documents are not grouped.
    """

    of: Mapping[int, int] = field(default_factory=dict)
    words: tuple[str, str] = ("family", "families")
    key: str = ""
    known: frozenset[int] | None = None


@dataclass(frozen=True)
class RunFacts:
    """The facts of an evaluation.

    Args:
        outputs: every output.
        requests: what resources are measured on: the outputs, or the requests of the newest measurement.
        resources: what is known of the run that the requests belong to.
        removed: outputs for documents that left the hold-out after they were evaluated.
        disclosed: documents with outputs that were open before the model was made.
        slice_samples: document -> the slice that it was sampled for.
        metadata: document -> its metadata; only needed where a gate has a slice of metadata.
        families: the families of the hold-out.
        suite: answers to the regression suite.
        baseline: document -> score of the baseline; None without one.
        baseline_mismatch: why the baseline is not the base model of this model; "" where it is.
        inapplicable: what a gate compares with -> why there is nothing to compare with.
        production: the current production model, and its scores by document; None without one.
        resources_note: which measurement the requests are of; "" where they are the evaluation's own.
    """

    outputs: Sequence[EvalOutput]
    requests: Sequence[EvalOutput]
    resources: Resources
    removed: Sequence[EvalOutput] = ()
    disclosed: Collection[int] = ()
    slice_samples: Mapping[int, str] = field(default_factory=dict)
    metadata: Mapping[int, Any] = field(default_factory=dict)
    families: Families = field(default_factory=Families)
    suite: SuiteAnswers = field(default_factory=SuiteAnswers)
    baseline: Mapping[int, Any] | None = None
    baseline_name: str = ""
    baseline_mismatch: str = ""
    inapplicable: Mapping[str, str] = field(default_factory=dict)
    production: Production = field(default_factory=Production)
    production_scores: Mapping[int, Any] | None = None
    resources_note: str = ""

    def documents_of(self, gate: Gate) -> tuple[list[EvalOutput], list[EvalOutput]]:
        """The outputs that a gate counts, and those of removed documents that count as wrong."""
        kept = self._of_slice(gate, self.outputs)
        removed = [row for row in self.removed if self._in_slice(gate, row)]
        if METRICS[gate.metric].source is Source.RESOURCES:
            return kept, removed
        return self._undisclosed(kept), self._undisclosed(removed)

    def measure(self, gate: Gate) -> Measurement:
        """The measurement of one gate."""
        metric = METRICS[gate.metric]
        if metric.source is Source.REGRESSION_SUITE:
            return metric.count(Sample(suite=self.suite, threshold=gate.threshold))
        of_resources = metric.source is Source.RESOURCES
        rows = self.requests if of_resources else self.outputs
        kept = self._of_slice(gate, rows)
        left_out = sum(self._in_slice(gate, row) for row in rows) - len(kept)
        if not kept and (gate.slice or left_out):
            reason = f"no documents of this evaluation are in the slice {gate.slice}"
            return Measurement.nothing(reason if gate.slice else "every document was sampled for one slice only")
        if gate.compared_with in self.inapplicable:
            return Measurement(reason=self.inapplicable[gate.compared_with], is_applicable=False)
        if gate.compared_with == COMPARED_WITH_BASE and self.baseline_mismatch:
            return Measurement.nothing(self.baseline_mismatch)
        if gate.compared_with == COMPARED_WITH_PRODUCTION and self.production_scores is None:
            return Measurement(reason=self.production.reason, is_applicable=self.production.is_applicable)
        notes = [f"without {left_out:,} documents that were sampled for another slice"] if left_out else []
        if not of_resources:
            return self._measure_answers(gate, kept, notes)
        measurement = metric.count(Sample(requests=kept, resources=self.resources, threshold=gate.threshold))
        return replace(measurement, note=", ".join(filter(None, [self.resources_note, *notes, measurement.note])))

    def _measure_answers(self, gate: Gate, kept: Sequence[EvalOutput], notes: list[str]) -> Measurement:
        """What left the hold-out after it was evaluated counts as wrong: it may have left because it was."""
        rows, removed = self.documents_of(gate)
        if opened := len(kept) - len(rows):
            notes = [*notes, f"without {opened:,} documents with outputs that were open before this model was created"]
        if removed:
            note = ngettext(
                "including {n:,} removed document as wrong", "including {n:,} removed documents as wrong", len(removed)
            )
            notes = [*notes, note.format(n=len(removed))]
        scores = {row.document_id: row.score for row in rows}
        scores |= {row.document_id: as_wrong(row.score) for row in removed}
        baseline, name = self.baseline, self.baseline_name
        if gate.compared_with == COMPARED_WITH_PRODUCTION:
            baseline, name = self.production_scores, self.production.name
            if alone := sum(row.document_id not in (baseline or {}) for row in rows):
                notes = [*notes, f"without {alone:,} documents that only one of the two was evaluated on"]
        if baseline is not None:
            baseline = {**baseline, **{row.document_id: as_correct(row.score) for row in removed}}
        sample = Sample(
            scores=scores, baseline=baseline, baseline_name=name, field=gate.field, value=gate.value,
            families=self.families_of(gate),
        )  # fmt: skip
        measurement = METRICS[gate.metric].count(sample)
        return replace(measurement, note=", ".join(notes), family_words=self.families.words)

    def families_of(self, gate: Gate) -> Mapping[int, int]:
        """A gate on one supplier is about its documents, which are what is drawn at random there."""
        key = Slice.parse(gate.slice).key
        return {} if key and key == self.families.key else self.families.of

    def _of_slice(self, gate: Gate, rows: Sequence[EvalOutput]) -> list[EvalOutput]:
        """Those in the slice of a gate, without documents that were sampled for another one."""
        rows = [row for row in rows if self._in_slice(gate, row)]
        return [row for row in rows if self.slice_samples.get(row.document_id, gate.slice) == gate.slice]

    def _undisclosed(self, rows: Sequence[EvalOutput]) -> list[EvalOutput]:
        return [row for row in rows if row.document_id not in self.disclosed]

    def _in_slice(self, gate: Gate, row: EvalOutput) -> bool:
        known = self.families.known
        return Slice.parse(gate.slice).holds(
            tags=row.tags,
            metadata=self.metadata.get(row.document_id, {}),
            is_known=None if known is None else row.document_id in known,
        )


def measure(policy: GateSet, facts: RunFacts) -> dict[str, Measurement]:
    """The measurement of each gate of a policy, by its key."""
    return {gate.key: facts.measure(gate) for gate in policy}


def as_wrong(score: Mapping[str, Any]) -> dict[str, Any]:
    """A score in which everything that counts is wrong."""
    fields = [
        {**row, "outcome": "unscorable", "output": None} if row["outcome"] != "both_absent" else row
        for row in score["fields"]
    ]
    failed = dict.fromkeys(("valid_json", "schema_valid", "exact", "invariants_hold"), False)
    return {**score, **failed, "fields": fields}


def as_correct(score: Mapping[str, Any]) -> dict[str, Any]:
    """A score in which everything that counts is correct."""
    fields = [
        {**row, "outcome": "correct", "output": row["gold"]} if row["outcome"] != "both_absent" else row
        for row in score["fields"]
    ]
    return {**score, "exact": True, "schema_valid": True, "fields": fields}


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
    outputs = list(rows)
    requests, measurement = outputs, inputs.measurement
    if measurement is not None:
        tags = {row.document_id: row.tags for row in outputs}
        requests = resources.as_outputs(measurement.requests, tags)
    production = inputs.production
    scores = EvalOutput.objects.filter(eval_run=baseline).values_list("document_id", "score")
    return RunFacts(
        outputs=outputs,
        requests=requests,
        resources=resources_of(run, requests, measurement, price_per_hour=inputs.price_per_hour),
        removed=inputs.removed,
        disclosed=disclosure.disclosed_documents(run),
        slice_samples=inputs.slice_samples,
        metadata=inputs.metadata,
        families=families_of(run),
        suite=inputs.suite,
        baseline=dict(scores) if baseline is not None else None,
        baseline_name=baseline.short_name if baseline is not None else "",
        baseline_mismatch=_baseline_mismatch(run, baseline),
        inapplicable=_inapplicable(run) if baseline is None else {},
        production=production,
        production_scores=None if production.run is None else common_scores(run, production.run),
        resources_note=_measured_on(measurement),
    )


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
    run: EvalRun,
    requests: Sequence[EvalOutput],
    measurement: ResourceMeasurement | None = None,
    price_per_hour: float = 0,
) -> Resources:
    """What is known of the run that requests belong to: the evaluation, or its newest measurement."""
    facts = run.facts if measurement is None else measurement.facts
    return Resources(
        facts=facts,
        is_fresh=run.rescored_from_id is None or measurement is not None,
        time_share=time_share(measurement or run, requests, run.concurrency),
        price=run.backend.price(facts, _price_at_run(facts) or price_per_hour or None),
    )


def _price_at_run(facts: Mapping[str, Any]) -> float:
    """The price per hour that the run's own cost was computed with; 0 where it has none."""
    cost, rate = facts.get("cost_per_document"), facts.get("docs_per_second")
    return 3600 * float(cost) * float(rate) if cost and rate else 0.0


def time_share(run: EvalRun | ResourceMeasurement, requests: Sequence[EvalOutput], concurrency: int = 1) -> float:
    """The share of a request's latency that the machine spent on it alone: the duration of the run over the latencies
    of all its requests. Concurrent requests share the time; a batch lasts until its longest answer."""
    latencies = sum(row.latency_ms for row in requests)
    rate = float(run.facts.get("docs_per_second") or 0)
    seconds = float(run.facts.get("seconds") or 0) or (len(requests) / rate if rate else 0.0)
    together = int(run.facts.get("at_once") or getattr(run, "concurrency", concurrency) or 1)
    return max(1000 * seconds / latencies, 1 / together) if latencies else 1.0


def _measured_on(measurement: ResourceMeasurement | None) -> str:
    """Which measurement resources are from, when and on what hardware; "" where they are the evaluation's own."""
    if measurement is None or measurement.finished_at is None:
        return ""
    hardware = f" on {measurement.hardware}" if measurement.hardware else ""
    number = f"measurement {resources.measurement_number(measurement)} of this evaluation"
    return f"{number}, {format_date_time(localtime(measurement.finished_at))}{hardware}"


def _inapplicable(run: EvalRun) -> dict[str, str]:
    """What the model of an encoder is not compared with, and why: its base model has no heads."""
    if run.training_run is None or not run.training_run.base_model.is_encoder:
        return {}
    reason = "the base model is an encoder, which does not answer before it is trained"
    reasons = {COMPARED_WITH_BASE: reason}
    if last_approved(run) is None:
        reasons[COMPARED_WITH_DEPLOYED] = f"no other model is approved, and {reason}"
    return reasons


def inapplicable_then(report: GateReport) -> dict[str, str]:
    """What the model of a report was not compared with: another model can have been approved since."""
    rows = [Verdict.from_dict(row) for row in report.verdicts]
    compared = (COMPARED_WITH_BASE, COMPARED_WITH_DEPLOYED)
    return {
        verdict.gate.compared_with: verdict.sentence
        for verdict in rows
        if verdict.status is VerdictStatus.INAPPLICABLE and verdict.gate.compared_with in compared
    }


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
