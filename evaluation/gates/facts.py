"""What the gates of a policy judge: counted from an evaluation's own outputs, latencies, cost and memory."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from django.utils.timezone import localtime

from evaluation.gates.baselines import made_from, model_key
from evaluation.gates.holdout import membership
from evaluation.gates.policy.definition import BASE, Gate, GatePolicy
from evaluation.models import EvalOutput, EvalRun, ResourceMeasurement
from evaluation.regression_suite.services import answers, pinned_documents
from evaluation.runs import resources
from evaluation.scores.counts import SCORE_METRICS, from_scores
from evaluation.scores.measurements import Measurement
from evaluation.scores.slices import Slice
from labeling.models import Contract, DatasetItem, Document, Split


def measurements(
    policy: GatePolicy,
    eval_run: EvalRun,
    baseline: EvalRun | None,
    measured: ResourceMeasurement | None = None,
) -> dict[str, Measurement]:
    """What each gate of a policy judges: gate key -> measurement, from this run's own outputs and latencies.

    ``measured``: what latency, throughput, cost and memory are taken from in place of the run itself.
    """
    with_metadata = any(Slice.parse(gate.slice).key for gate in policy)
    facts = _Facts(eval_run, baseline, measured, with_metadata=with_metadata)
    return {gate.key: facts.of(gate) for gate in policy}


class _Facts:
    """An evaluation's outputs, read once for all gates."""

    def __init__(
        self,
        eval_run: EvalRun,
        baseline: EvalRun | None,
        measured: ResourceMeasurement | None = None,
        *,
        with_metadata: bool,
    ) -> None:
        self.run, self.baseline, self.measured = eval_run, baseline, measured
        rows = EvalOutput.objects.filter(eval_run=eval_run).defer("gold", "raw", "error").order_by("document_id")
        self.rows = list(rows)
        self.gone = membership.gone(eval_run)
        self.drawn = membership.drawn_for_slices(eval_run.project_id)
        self.taken = self.rows
        if measured is not None:
            self.taken = resources.as_outputs(measured.requests, {row.document_id: row.tags for row in self.rows})
        self.pace = pace(measured or eval_run, self.taken, eval_run.at_once)
        self.metadata: dict[int, Any] = {}
        if with_metadata:
            documents = Document.objects.filter(eval_outputs__eval_run=eval_run)
            self.metadata = dict(documents.values_list("pk", "metadata")) | membership.metadata_of(self.gone)
        scores = EvalOutput.objects.filter(eval_run=baseline).values_list("document_id", "score")
        self.before = dict(scores) if baseline is not None else None

    def of(self, gate: Gate) -> Measurement:
        """The measurement of one gate."""
        if gate.metric == "pinned_broken":
            return _pinned(self.run)
        of_resources = gate.metric not in SCORE_METRICS
        rows, others = self.rows_of(gate, self.taken if of_resources else self.rows)
        if not rows and (gate.slice or others):
            where = f"no document of this evaluation is in the slice {gate.slice}"
            return Measurement.nothing(where if gate.slice else "every document was drawn for a slice alone")
        wrong_base = self._wrong_base() if gate.compared_with == BASE else ""
        if wrong_base:
            return Measurement.nothing(wrong_base)
        notes = [f"without {others:,} documents that were drawn for another slice"] if others else []
        if of_resources:
            found = _of_resources(
                gate.metric, rows, self.run, limit=gate.threshold, pace=self.pace, measured=self.measured
            )
            return replace(found, note=", ".join(filter(None, [*self._measured_on(), *notes, found.note])))
        gone = [row for row in self.gone if self._is_in(gate, row)]
        if gone:
            notes.append(f"with {len(gone):,} that {'is' if len(gone) == 1 else 'are'} held out no longer as wrong")
        return replace(self._by_scores(gate, rows, gone), note=", ".join(notes))

    def _measured_on(self) -> list[str]:
        """Which measurement the resources are from, when and on what; nothing where they are the evaluation's own."""
        if self.measured is None or self.measured.finished_at is None:
            return []
        hardware = f" on {self.measured.hardware}" if self.measured.hardware else ""
        number = f"measurement {resources.measurement_number(self.measured)} of this evaluation"
        return [f"{number}, {localtime(self.measured.finished_at):%Y-%m-%d %H:%M}{hardware}"]

    def _by_scores(self, gate: Gate, rows: Sequence[EvalOutput], gone: Sequence[EvalOutput]) -> Measurement:
        """What was answered; and what left the hold-out after it had been answered counts as wrong, because it may have
        left for being so."""
        scores: dict[int, Any] = {row.document_id: row.score for row in rows}
        scores |= {row.document_id: membership.all_wrong(row.score) for row in gone}
        before = self.before
        if before is not None:
            before = before | {row.document_id: membership.all_right(row.score) for row in gone}
        against = self.baseline.short_name if self.baseline else ""
        return from_scores(gate.metric, scores, baseline=before, against=against, field=gate.field, value=gate.value)

    def _wrong_base(self) -> str:
        """Why the baseline is not the base model that this one is to be held against; "" where it is."""
        baseline = self.baseline
        if baseline is None:
            return ""
        if not baseline.backend.is_base_model:
            return f"{baseline.model_label} is no base model, which this gate compares with"
        made = made_from(self.run)
        if made is not None and baseline.backend.key.base_model != made:
            return f"{baseline.model_label} is not the base model that {self.run.model_label} was made from"
        return ""

    def rows_of(self, gate: Gate, rows: Sequence[EvalOutput] | None = None) -> tuple[list[EvalOutput], int]:
        """The outputs about documents of a gate's slice, and how many of them are left out: what was drawn for another
        slice is a sample of that one alone."""
        rows = [row for row in (self.rows if rows is None else rows) if self._is_in(gate, row)]
        kept = [row for row in rows if self.drawn.get(row.document_id, gate.slice) == gate.slice]
        return kept, len(rows) - len(kept)

    def _is_in(self, gate: Gate, row: EvalOutput) -> bool:
        return Slice.parse(gate.slice).holds(tags=row.tags, metadata=self.metadata.get(row.document_id, {}))


def pinned_answers(run: EvalRun) -> tuple[int, dict[int, bool]]:
    """How many documents are pinned, and which of them this model has right. Where this evaluation did not ask about
    one, the newest other evaluation of the same model counts that did, decoded the same way.
    """
    pinned = pinned_documents(run.project)
    if not pinned:
        return 0, {}
    same: Any = EvalRun.objects.of_model(model_key(run)).filter(
        project_id=run.project_id, mode=run.mode, benchmark=None
    )
    rows = same.done().exclude(pk=run.pk).order_by("-number").defer("spec", "scores")
    others = [row.pk for row in rows if model_key(row) == model_key(run)]
    order = {pk: place for place, pk in enumerate([run.pk, *others])}
    found: dict[int, tuple[int, bool]] = {}
    for evaluation, document, exact in answers(list(order), sorted(pinned)):
        found[document] = min(found.get(document, (len(order), True)), (order[evaluation], exact))
    return len(pinned), {document: exact for document, (_, exact) in found.items()}


def _pinned(run: EvalRun) -> Measurement:
    """How many pinned documents this model has wrong."""
    pinned, found = pinned_answers(run)
    if not pinned:
        return Measurement.nothing("no document is pinned yet")
    wrong, unasked = sum(not exact for exact in found.values()), pinned - len(found)
    if not found:
        return Measurement.nothing(f"this model was asked about none of the {pinned:,} pinned documents")
    reason = f"{unasked:,} more were not asked about; evaluate this model on the splits that hold them" * bool(unasked)
    return Measurement(n=len(found), k=wrong, reason=reason)


def pace(run: EvalRun | ResourceMeasurement, rows: Sequence[EvalOutput], at_once: int = 1) -> float:
    """How much of the run's time a document's latency stands for: the run's own seconds, over the latencies of all its
    documents. Several that are asked about together share the time; a batch lasts until its longest answer."""
    told = sum(row.latency_ms for row in rows)
    rate = float(run.facts.get("docs_per_second") or 0)
    seconds = float(run.facts.get("seconds") or 0) or (len(rows) / rate if rate else 0.0)
    together = int(run.facts.get("at_once") or getattr(run, "at_once", at_once) or 1)
    return max(1000 * seconds / told, 1 / together) if told else 1.0


def _of_resources(
    metric: str,
    rows: Sequence[EvalOutput],
    run: EvalRun,
    *,
    limit: float = 0.0,
    pace: float = 1.0,
    measured: ResourceMeasurement | None = None,
) -> Measurement:
    """Latency, throughput, cost and memory, as this run, or its newest measurement, has them. A request that failed is
    none that was answered in time; what it took and cost is borne by those that were answered."""
    answered = [row for row in rows if row.finish_reason != "error"]
    # Of a re-scoring nothing was generated, so nothing was measured.
    fresh = run.rescored_from_id is None or measured is not None
    facts = run.facts if measured is None else measured.facts
    if metric == "peak_memory_gb":
        peak = facts.get("peak_memory_bytes")
        if not peak:
            return Measurement.nothing("the run did not measure its memory")
        return Measurement.sample([peak / 1e9], fresh=fresh)
    failed = len(rows) - len(answered)
    some = f"{failed:,} failed {'request' if failed == 1 else 'requests'}"
    if metric == "p95_latency_ms":
        longest = max([math.nextafter(limit, math.inf), *(row.latency_ms for row in answered)])
        times = [row.latency_ms if row.finish_reason != "error" else max(row.latency_ms, longest) for row in rows]
        return Measurement.sample(
            times if answered else [], fresh=fresh, note=f"with {some} as slower than the limit" if failed else ""
        )
    note = f"with what {some} took" if failed else ""
    if metric == "cost_per_request":
        return replace(_costs(rows, run, facts, fresh, pace=pace), note=note)
    return Measurement.sample(_borne(rows, [pace * row.latency_ms for row in rows]), fresh=fresh, note=note)


def _borne(rows: Sequence[EvalOutput], spent: Sequence[float]) -> list[float]:
    """What each answered request took, with its part of what the failed ones did."""
    good = [value for row, value in zip(rows, spent, strict=True) if row.finish_reason != "error"]
    share = sum(spent) / sum(good) if sum(good) else 1.0
    return [share * value for value in good]


def _costs(
    rows: Sequence[EvalOutput], run: EvalRun, facts: dict[str, Any], fresh: bool, *, pace: float = 1.0
) -> Measurement:
    """What each request cost: its tokens at the endpoint's price, or its time at that of the contract's hardware."""
    hourly = _price_then(facts) or constraints_of(run).get("hardware_price_per_hour") or None
    price = run.backend.price(facts, hourly)
    if price.unknown_reason:
        return Measurement.nothing(price.unknown_reason)
    return Measurement.sample(_borne(rows, [price.of_request(row, pace) for row in rows]), fresh=fresh)


def _price_then(facts: dict[str, Any]) -> float:
    """The price per hour that the evaluation's own cost was worked out at; 0 where none was."""
    cost, rate = facts.get("cost_per_document"), facts.get("docs_per_second")
    return 3600 * float(cost) * float(rate) if cost and rate else 0.0


def constraints_of(run: EvalRun) -> dict[str, Any]:
    """The production constraints of the contract."""
    contract = Contract.objects.filter(project_id=run.project_id).only("constraints").first()
    return dict(contract.constraints) if contract is not None else {}


def holdout_origins(eval_run: EvalRun) -> dict[str, int]:
    """Where the gold of the hold-out comes from: origin -> documents."""
    items = DatasetItem.objects.filter(dataset_id=eval_run.dataset_id, split=Split.HOLDOUT)
    return dict(Counter(items.values_list("origin", flat=True)))
