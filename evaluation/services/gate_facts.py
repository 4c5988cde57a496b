"""What the gates of a policy judge: counted from an evaluation's own outputs, latencies, cost and memory."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from evaluation.compare import cost_of_time, cost_of_tokens
from evaluation.measurements import Measurement
from evaluation.models import EvalOutput, EvalRun
from evaluation.policy import BASE, Gate, GatePolicy
from evaluation.services.pins import answers, pinned_documents
from evaluation.slices import Slice
from evaluation.tallies import BY_SCORES, from_scores
from labeling.models import Contract, DatasetItem, Document, Split


def measurements(policy: GatePolicy, eval_run: EvalRun, baseline: EvalRun | None) -> dict[str, Measurement]:
    """What each gate of a policy judges: gate key -> measurement, from this run's own outputs and latencies."""
    facts = _Facts(eval_run, baseline, with_metadata=any(Slice.parse(gate.slice).key for gate in policy))
    return {gate.key: facts.of(gate) for gate in policy}


class _Facts:
    """An evaluation's outputs, read once for all gates."""

    def __init__(self, eval_run: EvalRun, baseline: EvalRun | None, *, with_metadata: bool) -> None:
        self.run, self.baseline = eval_run, baseline
        rows = EvalOutput.objects.filter(eval_run=eval_run).defer("gold", "raw", "error").order_by("document_id")
        self.rows = list(rows)
        self.metadata: dict[int, Any] = {}
        if with_metadata:
            documents = Document.objects.filter(eval_outputs__eval_run=eval_run)
            self.metadata = dict(documents.values_list("pk", "metadata"))
        scores = EvalOutput.objects.filter(eval_run=baseline).values_list("document_id", "score")
        self.before = dict(scores) if baseline is not None else None

    def of(self, gate: Gate) -> Measurement:
        """The measurement of one gate."""
        if gate.metric == "pinned_broken":
            return _pinned(self.run)
        rows = self.rows_of(Slice.parse(gate.slice))
        if gate.slice and not rows:
            return Measurement.nothing(f"no document of this evaluation is in the slice {gate.slice}")
        baseline = self.baseline
        if gate.compared_with == BASE and baseline is not None and baseline.base_model is None:
            return Measurement.nothing(f"{baseline.subject} is no base model, which this gate compares with")
        if gate.metric in BY_SCORES:
            scores = {row.document_id: row.score for row in rows}
            against = baseline.short_name if baseline else ""
            return from_scores(
                gate.metric, scores, baseline=self.before, against=against, field=gate.field, value=gate.value
            )
        return _of_resources(gate.metric, rows, self.run)

    def rows_of(self, wanted: Slice) -> list[EvalOutput]:
        """The outputs about documents of a slice."""
        return [
            row for row in self.rows if wanted.holds(tags=row.tags, metadata=self.metadata.get(row.document_id, {}))
        ]


def _pinned(run: EvalRun) -> Measurement:
    """How many pinned documents this model has wrong. Where this evaluation did not ask about one, the newest other
    evaluation of the same model counts that did, decoded the same way.
    """
    pinned = pinned_documents(run.project)
    if not pinned:
        return Measurement.nothing("no document is pinned yet")
    same = EvalRun.objects.filter(
        project_id=run.project_id,
        base_model=run.base_model_id,
        training_run=run.training_run_id,
        endpoint=run.endpoint_id,
        export=run.export_id,
        mode=run.mode,
        benchmark=None,
    )
    others = list(same.done().exclude(pk=run.pk).order_by("-number").values_list("pk", flat=True))
    order = {pk: place for place, pk in enumerate([run.pk, *others])}
    found: dict[int, tuple[int, bool]] = {}
    for evaluation, document, exact in answers(list(order), sorted(pinned)):
        found[document] = min(found.get(document, (len(order), True)), (order[evaluation], exact))
    wrong, unasked = sum(not exact for _, exact in found.values()), len(pinned) - len(found)
    if not found:
        return Measurement.nothing(f"this model was asked about none of the {len(pinned):,} pinned documents")
    reason = f"{unasked:,} more were not asked about; evaluate this model on the splits that hold them" * bool(unasked)
    return Measurement(n=len(found), k=wrong, reason=reason)


def _of_resources(metric: str, rows: Sequence[EvalOutput], run: EvalRun) -> Measurement:
    """Latency, throughput, cost and memory, as this run measured them. A request that failed has no latency."""
    answered = [row for row in rows if row.finish_reason != "error"]
    # Of a re-scoring nothing was generated, so nothing was measured.
    fresh = run.rescored_from_id is None
    if metric == "peak_memory_gb":
        peak = run.facts.get("peak_memory_bytes")
        if not peak:
            return Measurement.nothing("the run did not measure its memory")
        return Measurement.sample([peak / 1e9], fresh=fresh)
    if metric == "cost_per_request":
        return _costs(answered, run, fresh)
    # Asked about together, they share the time.
    together = run.at_once if metric == "requests_per_second" else 1
    return Measurement.sample((row.latency_ms / together for row in answered), fresh=fresh)


def _costs(rows: Sequence[EvalOutput], run: EvalRun, fresh: bool) -> Measurement:
    """What each request cost: its tokens at the endpoint's price, or its time at that of the contract's hardware."""
    if run.endpoint_id is not None:
        prices = run.facts.get("price_in"), run.facts.get("price_out")
        if None in prices:
            return Measurement.nothing("the endpoint has no price per token")
        price_in, price_out = (float(price or 0) for price in prices)
        costs = (cost_of_tokens(row.prompt_tokens, row.output_tokens, price_in, price_out) for row in rows)
        return Measurement.sample(costs, fresh=fresh)
    price = constraints_of(run).get("hardware_price_per_hour")
    if not price:
        return Measurement.nothing("the contract names no price per hour of the hardware")
    return Measurement.sample((cost_of_time(row.latency_ms / run.at_once, float(price)) for row in rows), fresh=fresh)


def constraints_of(run: EvalRun) -> dict[str, Any]:
    """The production constraints of the contract."""
    contract = Contract.objects.filter(project_id=run.project_id).only("constraints").first()
    return dict(contract.constraints) if contract is not None else {}


def holdout_origins(eval_run: EvalRun) -> dict[str, int]:
    """Where the gold of the hold-out comes from: origin -> documents."""
    items = DatasetItem.objects.filter(dataset_id=eval_run.dataset_id, split=Split.HOLDOUT)
    return dict(Counter(items.values_list("origin", flat=True)))
