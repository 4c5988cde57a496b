"""The automation rate: how large a share of documents can go straight through, the surest first. Pure.

A document is as sure as its least sure field (``evaluation.inference.confidence``). Ten shares are tried, from the
surest tenth to all of them; for each the exact upper bound of its error rate is worked out at a tenth of the error
level, so that the best of the ten may be chosen afterwards (Bonferroni; "learn then test", Angelopoulos et al. 2021).
Everything below the chosen threshold is for people.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evaluation.stats import exact_upper

STEPS = tuple(round(tenth / 10, 1) for tenth in range(1, 11))


@dataclass(frozen=True)
class Step:
    """What goes through from ``threshold`` on: so many documents, so many wrong, and how many that could mean."""

    threshold: float
    documents: int
    wrong: int
    share: float
    bound: float
    holds: bool


@dataclass(frozen=True)
class Automation:
    """The steps from the surest on. ``best`` is the largest that holds; None: everything is for people.

    ``documents`` are all of them, with those that have no answer that could be read.
    """

    limit: float
    confidence: float
    documents: int
    steps: tuple[Step, ...]

    @property
    def best(self) -> Step | None:
        """The largest share whose error rate is proven to be within the limit."""
        return next((step for step in reversed(self.steps) if step.holds), None)


def automation(
    rows: Iterable[tuple[float, bool]],
    limit: float,
    *,
    confidence: float = 0.95,
    shares: Sequence[float] = STEPS,
) -> Automation:
    """How much can go straight through with at most ``limit`` of it wrong.

    ``rows``: how sure the model was of each document, from 0 to 1, and whether the whole of it is right. A document of
    confidence 0 never goes through.
    """
    if not 0 < limit < 1:
        raise ValueError("the limit lies between 0 and 1")
    everything = list(rows)
    sure = sorted((row for row in everything if row[0] > 0), key=lambda row: -row[0])
    ends = sorted({_end(sure, max(1, round(share * len(sure)))) for share in shares}) if sure else []
    each = 1 - (1 - confidence) / len(shares)
    steps = []
    for end in ends:
        wrong = sum(not right for _, right in sure[:end])
        bound = exact_upper(wrong, end, each)
        share = end / len(everything)
        steps.append(Step(sure[end - 1][0], end, wrong, share, bound, bound <= limit))
    return Automation(limit, confidence, len(everything), tuple(steps))


def _end(sure: Sequence[tuple[float, bool]], wanted: int) -> int:
    """Where a share ends: whoever is as sure as the last one goes through with it."""
    end = wanted
    while end < len(sure) and sure[end][0] == sure[wanted - 1][0]:
        end += 1
    return end


def document_confidence(confidence: Mapping[str, Any] | None) -> float:
    """How sure the model was of a whole document: the least of its fields; 0 where nothing was said.

    ``confidence`` is field path -> probability, or [least, mean] as the model's process writes them.
    """
    if not confidence:
        return 0.0
    return min(float(value[0] if isinstance(value, list | tuple) else value) for value in confidence.values())
