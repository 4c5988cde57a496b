"""What an engine and a document say about each value of an output, before calibration. Pure.

A value has the probabilities of its tokens (structure stripped, see ``evaluation.inference.confidence``), and whether
the document contains it. Fields without tokens (left out, or a row that is missing) have no signals.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slmstudio.contract.json_text import dumps
from slmstudio.contract.schema.compiled import CompiledSchema, exact
from slmstudio.contract.scoring.pairing import Leaf, pair
from slmstudio.contract.scoring.scorer import Outcome, score_document
from slmstudio.contract.values import evidence
from slmstudio.contract.values.kinds.registry import KINDS

#: probabilities of a replica: lowest, mean, and where the engine has it the margin of the first token
Probabilities = Mapping[str, Sequence[float]]
Finder = Callable[[Leaf], bool | None]
_EDGE = 1e-6
_CORRECT = (Outcome.CORRECT, Outcome.BOTH_ABSENT)


@dataclass(frozen=True, slots=True)
class Signals:
    """Of one value: ``minimum`` and ``mean`` probability of its tokens; ``margin`` of the probability of the first one
    to the next most probable token, None where the engine does not give it; ``length`` in characters; ``found`` in the
    document, None for fields whose values need not be there.
    """

    minimum: float
    is_null: bool = False
    mean: float | None = None
    margin: float | None = None
    length: int = 1
    found: bool | None = None

    @property
    def features(self) -> tuple[float, ...]:
        """Numbers of about the same size; the first is the logit of the lowest probability."""
        mean = self.minimum if self.mean is None else self.mean
        return (
            logit(self.minimum),
            logit(mean) / 2,
            0.0 if self.margin is None else self.margin,
            math.log1p(self.length) / 3,
            0.0 if self.found is None else 1.0 if self.found else -1.0,
        )


@dataclass(frozen=True, slots=True)
class FieldSignals:
    """The signals of a field of an output: its path there, and its pattern."""

    path: str
    pattern: str
    signals: Signals


def field_signals(schema: CompiledSchema, output: Any, text: str, found: Probabilities) -> list[FieldSignals]:
    """The signals of every scored field of an output that has tokens."""
    leaves = scored_leaves(schema, output, output)
    return [
        FieldSignals(leaf.output_path, leaf.field.pattern, _signals(leaf, found[leaf.output_path], text))
        for leaf in leaves
        if leaf.output_path in found
    ]


def scored_leaves(schema: CompiledSchema, gold: Any, output: Any) -> Iterator[Leaf]:
    """The leaves of two values that are scored, in the order of their scores."""
    return (leaf for leaf in pair(schema.root, gold, output) if KINDS[leaf.field.kind].scored)


def _signals(leaf: Leaf, known: Sequence[float], text: str) -> Signals:
    value = leaf.output
    found = None
    if value is not None and leaf.field.evidence != "none":
        found = bool(evidence.find(value, leaf.field, text))
    return Signals(
        minimum=float(known[0]),
        is_null=value is None,
        mean=float(known[1]),
        margin=float(known[2]) if len(known) > 2 else None,
        length=len(dumps(value)),
        found=found,
    )


@dataclass(frozen=True, slots=True)
class JudgedField:
    """A field of an answered document with gold: ``signals`` None where it has no tokens.

    ``is_empty``: it has a value neither in gold nor in the output; it is right, and does not count for error rates.
    """

    pattern: str
    signals: Signals | None
    is_correct: bool
    is_empty: bool = False


def judged_fields(
    schema: CompiledSchema, *, text: str, gold: Any, raw: str, found: Probabilities
) -> list[JudgedField] | None:
    """Every scored field of an output, right or wrong by the scorer of evaluations; None for an invalid output."""
    score = score_document(schema, text=text, gold=gold, raw=raw)
    if not score.schema_valid:
        return None
    leaves = list(scored_leaves(schema, exact(gold), score.output))
    judged = []
    for leaf, outcome in zip(leaves, score.fields, strict=False):
        known = found.get(leaf.output_path)
        signals = _signals(leaf, known, text) if known else None
        is_empty = outcome.outcome == Outcome.BOTH_ABSENT
        judged.append(JudgedField(leaf.field.pattern, signals, outcome.outcome in _CORRECT, is_empty))
    # Fields that are not in the schema are errors of the document.
    judged += [JudgedField(one.field, None, False) for one in score.fields[len(leaves) :]]
    return judged


def logit(probability: float) -> float:
    """The logarithm of the odds, of a probability that is kept off 0 and 1."""
    clipped = min(max(probability, _EDGE), 1 - _EDGE)
    return math.log(clipped / (1 - clipped))


def sigmoid(value: float) -> float:
    """The inverse of ``logit``."""
    return 1 / (1 + math.exp(-value)) if value >= 0 else math.exp(value) / (1 + math.exp(value))
