"""The facts of an evaluation that its gates are tested on: gathered once, measured for each gate. Pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from django.utils.translation import ngettext

from evaluation.gates.metrics import METRICS
from evaluation.gates.metrics.measurement import Measurement
from evaluation.gates.metrics.metric import (
    COMPARED_WITH_BASE,
    COMPARED_WITH_PRODUCTION,
    Request,
    Resources,
    Sample,
    Source,
    SuiteAnswers,
)
from evaluation.gates.policy.definition import Gate, GateSet
from evaluation.scores.slice_selector import Slice


@dataclass(frozen=True)
class Answer:
    """An output: its document, the failure tags of the document, its score, and what the request took."""

    document: int
    tags: Sequence[str]
    score: Any
    request: Request


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
class OtherModel:
    """The scores of another model, by document; None without one, with the ``reason``. ``is_applicable``: false where
    there is no model to compare with."""

    scores: Mapping[int, Any] | None = None
    name: str = "the baseline"
    reason: str = ""
    is_applicable: bool = True


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
        production: the current production model.
        baseline_mismatch: why the baseline is not the base model of this model; "" where it is.
        resources_note: which measurement the requests are of; "" where they are the evaluation's own.
    """

    outputs: Sequence[Answer]
    requests: Sequence[Answer]
    resources: Resources
    removed: Sequence[Answer] = ()
    disclosed: Collection[int] = ()
    slice_samples: Mapping[int, str] = field(default_factory=dict)
    metadata: Mapping[int, Any] = field(default_factory=dict)
    families: Families = field(default_factory=Families)
    suite: SuiteAnswers = field(default_factory=SuiteAnswers)
    baseline: Mapping[int, Any] | None = None
    baseline_name: str = ""
    baseline_mismatch: str = ""
    production: OtherModel = field(default_factory=OtherModel)
    resources_note: str = ""

    def documents_of(self, gate: Gate) -> tuple[list[Answer], list[Answer]]:
        """The documents that a gate counts, and the removed ones that count as wrong."""
        rows = [row for row in self.outputs if self._in_slice(gate, row)]
        kept = [row for row in rows if self.slice_samples.get(row.document, gate.slice) == gate.slice]
        removed = [row for row in self.removed if self._in_slice(gate, row)]
        if METRICS[gate.metric].source is Source.RESOURCES:
            return kept, removed
        open_before = self.disclosed
        return [row for row in kept if row.document not in open_before], [
            row for row in removed if row.document not in open_before
        ]

    def measure(self, gate: Gate) -> Measurement:
        """The measurement of one gate."""
        metric = METRICS[gate.metric]
        if metric.source is Source.REGRESSION_SUITE:
            return metric.count(Sample(suite=self.suite, threshold=gate.threshold))
        of_resources = metric.source is Source.RESOURCES
        rows = [row for row in (self.requests if of_resources else self.outputs) if self._in_slice(gate, row)]
        kept = [row for row in rows if self.slice_samples.get(row.document, gate.slice) == gate.slice]
        left_out = len(rows) - len(kept)
        if not kept and (gate.slice or left_out):
            reason = f"no documents of this evaluation are in the slice {gate.slice}"
            return Measurement.nothing(reason if gate.slice else "every document was sampled for one slice only")
        if gate.compared_with == COMPARED_WITH_BASE and self.baseline_mismatch:
            return Measurement.nothing(self.baseline_mismatch)
        if gate.compared_with == COMPARED_WITH_PRODUCTION and self.production.scores is None:
            return Measurement(reason=self.production.reason, is_applicable=self.production.is_applicable)
        notes = [f"without {left_out:,} documents that were sampled for another slice"] if left_out else []
        if of_resources:
            return self._measure_resources(gate, kept, notes)
        counted = [row for row in kept if row.document not in self.disclosed]
        if opened := len(kept) - len(counted):
            notes = [*notes, f"without {opened:,} documents with outputs that were open before this model was created"]
        return self._measure_answers(gate, counted, notes)

    def _measure_answers(self, gate: Gate, rows: Sequence[Answer], notes: list[str]) -> Measurement:
        """What left the hold-out after it was evaluated counts as wrong: it may have left because it was."""
        removed = [row for row in self.removed if self._in_slice(gate, row) and row.document not in self.disclosed]
        if removed:
            note = ngettext(
                "including {n:,} removed document as wrong", "including {n:,} removed documents as wrong", len(removed)
            )
            notes = [*notes, note.format(n=len(removed))]
        scores = {row.document: row.score for row in rows} | {row.document: as_wrong(row.score) for row in removed}
        baseline, name = self.baseline, self.baseline_name
        if gate.compared_with == COMPARED_WITH_PRODUCTION:
            baseline, name = self.production.scores, self.production.name
            if alone := sum(row.document not in (baseline or {}) for row in rows):
                notes = [*notes, f"without {alone:,} documents that only one of the two was evaluated on"]
        if baseline is not None:
            baseline = {**baseline, **{row.document: as_correct(row.score) for row in removed}}
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

    def _measure_resources(self, gate: Gate, rows: Sequence[Answer], notes: list[str]) -> Measurement:
        requests = [row.request for row in rows]
        sample = Sample(requests=requests, resources=self.resources, threshold=gate.threshold)
        measurement = METRICS[gate.metric].count(sample)
        return replace(measurement, note=", ".join(filter(None, [self.resources_note, *notes, measurement.note])))

    def _in_slice(self, gate: Gate, row: Answer) -> bool:
        known = self.families.known
        return Slice.parse(gate.slice).holds(
            tags=row.tags,
            metadata=self.metadata.get(row.document, {}),
            is_known=None if known is None else row.document in known,
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
