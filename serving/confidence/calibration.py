"""Turns the lowest token probability of a value into the probability that it is correct. Pure.

Fitted on outputs for the validation split, per engine and quantization, by isotonic regression (Zadrozny and Elkan,
2002). Values and nulls are fitted apart: a model that is sure that a field is absent is wrong for other reasons than
one that is sure of a value. A field with fewer than ``ENOUGH`` samples, or without both outcomes, uses the fit over all
fields. Confidences that are measured come from fits without the document.
"""

import random
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from evaluation.stats import exact_upper
from slmstudio.contract.schema.compiled import CompiledSchema, exact
from slmstudio.contract.scoring.pairing import Leaf, pair
from slmstudio.contract.scoring.scorer import Outcome, score_document
from slmstudio.contract.values.kinds.registry import KINDS
from slmstudio.intervals import wilson

#: samples from which a field has a fit of its own
ENOUGH = 100
#: parts of the documents for confidences that were fitted without them
FOLDS = 5
#: thresholds that are tried, at most
MAX_THRESHOLDS = 40
#: error of the bound on wrong documents
ALPHA = 0.05
_SEED = 17
_CORRECT = (Outcome.CORRECT, Outcome.BOTH_ABSENT)
#: probabilities of a replica by path, the lowest first
Probabilities = Mapping[str, Sequence[float]]
#: knots and values of a monotone map, linear in between
Fit = tuple[list[float], list[float]]


@dataclass(frozen=True, slots=True)
class JudgedField:
    """A field of an answered document: its lowest token ``probability``, None where it has no tokens. ``is_empty``: it
    has a value neither in gold nor in the output; it is right, and does not count for error rates."""

    pattern: str
    probability: float | None
    is_null: bool
    is_correct: bool
    is_empty: bool = False


@dataclass(frozen=True)
class ConfidenceCalibration:
    """The calibration of a model on an engine. ``fits``: by field pattern, "" over all fields; of nulls with " null"
    behind it."""

    fits: dict[str, Fit] = field(default_factory=dict)

    def probability(self, pattern: str, probability: float, is_null: bool) -> float:
        """The probability that a field is correct; the lowest token probability itself where nothing is known."""
        fit = self.fits.get(_key(pattern, is_null)) or self.fits.get(_key("", is_null))
        if fit is None:
            return probability
        knots, values = fit
        at = bisect_right(knots, probability)
        if at in (0, len(knots)):
            return values[max(0, at - 1)]
        left, right, low, high = knots[at - 1], knots[at], values[at - 1], values[at]
        return low + (high - low) * (probability - left) / (right - left)

    def confidences(self, schema: CompiledSchema, output: Any, probabilities: Probabilities) -> dict[str, float]:
        """Path -> confidence of every scored field of an output that has tokens."""
        return {
            leaf.output_path: round(
                self.probability(leaf.field.pattern, probabilities[leaf.output_path][0], leaf.output is None), 4
            )
            for leaf in scored_leaves(schema, output, output)
            if leaf.output_path in probabilities
        }


def _key(pattern: str, is_null: bool) -> str:
    return f"{pattern} null" if is_null else pattern


def scored_leaves(schema: CompiledSchema, gold: Any, output: Any) -> Iterable[Leaf]:
    """The leaves of two values that are scored, in the order of their scores."""
    return (leaf for leaf in pair(schema.root, gold, output) if KINDS[leaf.field.kind].scored)


def fit(samples: Iterable[JudgedField], *, share: float = 1.0) -> ConfidenceCalibration:
    """Fits a calibration to fields with tokens. ``share``: of all samples, if these are a part of them, which then need
    fewer."""
    groups: defaultdict[str, list[JudgedField]] = defaultdict(list)
    for sample in samples:
        for pattern in {sample.pattern, ""}:
            groups[_key(pattern, sample.is_null)].append(sample)
    pooled = {"", " null"}
    return ConfidenceCalibration({
        key: _isotonic(rows)
        for key, rows in groups.items()
        if key in pooled
        or (len(rows) >= share * ENOUGH and 0 < sum(sample.is_correct for sample in rows) < len(rows))
    })  # fmt: skip


def _isotonic(samples: Sequence[JudgedField]) -> Fit:
    """No probability is 0 or 1, however many samples agree."""
    from sklearn.isotonic import IsotonicRegression  # takes a second, and gateways do not fit

    number = len(samples)
    regression = IsotonicRegression(y_min=1 / (number + 2), y_max=(number + 1) / (number + 2), out_of_bounds="clip")
    regression.fit([sample.probability for sample in samples], [float(sample.is_correct) for sample in samples])
    return [float(x) for x in regression.X_thresholds_], [float(y) for y in regression.y_thresholds_]


def cross_fitted(samples: Sequence[tuple[str, JudgedField]]) -> list[float]:
    """The calibrated probability of each field with the name of its document, by a fit without the documents of its
    fold."""
    names = list(dict.fromkeys(name for name, _ in samples))
    random.Random(_SEED).shuffle(names)  # their order may mean something
    folds = {name: number % FOLDS for number, name in enumerate(names)}
    fits = []
    for fold in range(FOLDS):
        rest = [row for name, row in samples if folds[name] != fold]
        fits.append(fit(rest, share=len(rest) / len(samples)) if rest else ConfidenceCalibration())
    return [fits[folds[name]].probability(row.pattern, row.probability or 0.0, row.is_null) for name, row in samples]


# -- answered documents with gold -------------------------------------------------------------------------------------


def judged_fields(
    schema: CompiledSchema, *, text: str, gold: Any, raw: str, probabilities: Probabilities
) -> list[JudgedField] | None:
    """Every scored field of an output, right or wrong by the scorer of evaluations; None for an invalid output."""
    score = score_document(schema, text=text, gold=gold, raw=raw)
    if not score.schema_valid:
        return None
    leaves = list(scored_leaves(schema, exact(gold), score.output))
    judged = []
    for leaf, outcome in zip(leaves, score.fields, strict=False):
        known = probabilities.get(leaf.output_path)
        judged.append(
            JudgedField(
                leaf.field.pattern, float(known[0]) if known else None, leaf.output is None,
                outcome.outcome in _CORRECT, outcome.outcome == Outcome.BOTH_ABSENT,
            )
        )  # fmt: skip
    # Fields that are not in the schema are errors of the document.
    return judged + [JudgedField(outcome.field, None, False, False) for outcome in score.fields[len(leaves) :]]


@dataclass(frozen=True, slots=True)
class AnsweredDocument:
    """A document that the package answered; ``fields`` None: its output is not valid."""

    name: str
    fields: list[JudgedField] | None
    holds: bool = True


@dataclass(frozen=True, slots=True)
class FieldRecord:
    """A field with tokens: its lowest token probability ``raw``, its ``calibrated`` confidence by a fit without its
    document, and the one that is ``served``, by the fit over all documents."""

    pattern: str
    raw: float
    calibrated: float
    is_null: bool
    is_correct: bool
    served: float


@dataclass(frozen=True, slots=True)
class DocumentRecord:
    """An answered document, without its values: ``wrong`` of ``counted`` fields that have a value in gold or output. An
    output that is not valid, or violates an invariant (``holds``), is never automatic."""

    name: str
    is_valid: bool
    holds: bool
    wrong: int
    counted: int
    fields: tuple[FieldRecord, ...] = ()

    @property
    def confidence(self) -> float:
        """What the threshold is compared with: the lowest of its fields, as the gateway computes it; 0 without any."""
        return min((row.served for row in self.fields), default=0.0)

    def to_json(self) -> list[Any]:
        """As stored."""
        rows = [[r.pattern, r.raw, r.calibrated, int(r.is_null), int(r.is_correct), r.served] for r in self.fields]
        return [self.name, int(self.is_valid), int(self.holds), self.wrong, self.counted, rows]

    @classmethod
    def from_json(cls, value: Sequence[Any]) -> "DocumentRecord":
        """Reads ``to_json`` again."""
        name, is_valid, holds, wrong, counted, rows = value
        fields = tuple(FieldRecord(p, float(r), float(c), bool(n), bool(ok), float(s)) for p, r, c, n, ok, s in rows)
        return cls(str(name), bool(is_valid), bool(holds), int(wrong), int(counted), fields)


def calibrate(documents: Sequence[AnsweredDocument]) -> tuple[ConfidenceCalibration, list[DocumentRecord]]:
    """The calibration from all documents, and their records."""
    samples = [
        (document.name, row) for document in documents for row in document.fields or () if row.probability is not None
    ]
    left_out, fitted = iter(cross_fitted(samples)), fit(row for _, row in samples)
    records = []
    for document in documents:
        rows = document.fields or []
        fields = tuple(
            FieldRecord(
                row.pattern, round(row.probability, 4), round(next(left_out), 4), row.is_null, row.is_correct,
                round(fitted.probability(row.pattern, row.probability, row.is_null), 4),
            )
            for row in rows
            if row.probability is not None
        )  # fmt: skip
        counted = [row for row in rows if not row.is_empty]
        wrong = sum(not row.is_correct for row in counted)
        is_valid = document.fields is not None
        records.append(DocumentRecord(document.name, is_valid, document.holds, wrong, len(counted), fields))
    return fitted, records


# -- figures ----------------------------------------------------------------------------------------------------------


def calibration_error(values: Sequence[tuple[float, bool]], bins: int = 10) -> float:
    """The expected calibration error of (confidence, is correct): the mean distance of confidence and accuracy over
    bins of equal size."""
    ordered = sorted(values, key=lambda value: value[0])
    distance = 0.0
    for number in range(bins):
        part = ordered[number * len(ordered) // bins : (number + 1) * len(ordered) // bins]
        distance += abs(sum(confidence for confidence, _ in part) - sum(right for _, right in part))
    return distance / len(ordered) if ordered else 0.0


def summary(calibration: ConfidenceCalibration, records: Sequence[DocumentRecord]) -> dict[str, Any]:
    """The figures of a calibration as they are stored with its package; ``fields``: pattern -> figures."""
    by_pattern: dict[str, list[FieldRecord]] = {}
    for record in records:
        for row in record.fields:
            by_pattern.setdefault(row.pattern, []).append(row)
    every = [row for rows in by_pattern.values() for row in rows]
    return {
        "values": len(every),
        "wrong": sum(not row.is_correct for row in every),
        "invalid": sum(not record.is_valid for record in records),
        "violations": sum(record.is_valid and not record.holds for record in records),
        "error": _errors(every),
        "fields": {
            pattern: {
                "samples": len(rows),
                "accuracy": sum(row.is_correct for row in rows) / len(rows),
                "error": _errors(rows),
                "fit": "its own" if pattern in calibration.fits else "all fields",
            }
            for pattern, rows in by_pattern.items()
        },
    }


def _errors(rows: Sequence[FieldRecord]) -> dict[str, float]:
    return {
        "raw": calibration_error([(row.raw, row.is_correct) for row in rows]),
        "calibrated": calibration_error([(row.calibrated, row.is_correct) for row in rows]),
    }


@dataclass(frozen=True)
class Threshold:
    """What a threshold does on the validation documents: ``automatic`` of ``documents`` have at least that confidence,
    ``wrong`` of these are not exact; ``bound``: one-sided upper 95% bound of that share.

    ``cost``: of the other answers, by a thousand documents. ``accuracy``: the share of exact documents with its 95%
    interval, over the automatic ones alone where nothing is known of the others.
    """

    threshold: float
    documents: int
    automatic: int
    wrong: int
    bound: float
    cost: float | None
    accuracy: float
    low: float
    high: float

    @property
    def share(self) -> float:
        """Of the documents that are answered automatically."""
        return self.automatic / self.documents

    @property
    def risk(self) -> float:
        """Of the automatic answers that are wrong."""
        return self.wrong / self.automatic


def thresholds(
    records: Sequence[DocumentRecord],
    *,
    price: float | None = None,
    rest_exact: Mapping[str, bool] | None = None,
    rest_is_right: bool = False,
) -> list[Threshold]:
    """What thresholds do, from the strictest on.

    ``price``: of one document at the larger model, or of one review. ``rest_exact``: document -> whether the larger
    model's output for it is exact; ``rest_is_right``: people are taken to be right.
    """
    usable = [record for record in records if record.is_valid and record.holds and record.fields]
    usable.sort(key=lambda record: -record.confidence)
    ends = [
        at
        for at in range(1, len(usable) + 1)
        if at == len(usable) or usable[at - 1].confidence != usable[at].confidence
    ]
    step = max(1, -(-len(ends) // MAX_THRESHOLDS))
    rows = []
    for at in sorted(ends[::-1][::step]):
        wrong, number = sum(record.wrong > 0 for record in usable[:at]), len(records)
        right, total = at - wrong, at
        if rest_is_right or rest_exact is not None:
            automatic = {record.name for record in usable[:at]}
            rest = [record.name for record in records if record.name not in automatic]
            right += sum(rest_is_right or (rest_exact or {}).get(name, False) for name in rest)
            total = number
        cost = None if price is None else 1000 * (1 - at / number) * price
        bound = exact_upper(wrong, at, 1 - ALPHA)
        rows.append(
            Threshold(
                usable[at - 1].confidence, number, at, wrong, bound, cost, right / total, *wilson(right / total, total)
            )
        )
    return rows


def proven(rows: Sequence[Threshold], rate: float) -> Threshold | None:
    """The lowest threshold at which at most ``rate`` of the automatic answers are wrong, with 95% confidence.

    Thresholds are tested from the first at which no error would prove it on, up to the first that fails, so that the
    confidence holds for the one that is returned (fixed-sequence testing; Angelopoulos et al., 2021; arXiv:2110.01052).
    """
    best = None
    for row in rows:
        if row.bound <= rate:
            best = row
        elif best is not None or exact_upper(0, row.automatic, 1 - ALPHA) <= rate:
            break
    return best
