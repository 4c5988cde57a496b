"""The automation rate: the largest share of documents, most confident first, within an error limit. Pure.

The confidence of a document is the lowest of its fields (``evaluation.inference.confidence``). Ten shares are tested,
from the most confident tenth to all documents. Each gets an exact upper bound of its error rate at a tenth of the error
level, and not below that over whole families, so the best of the ten can be chosen afterwards (Bonferroni; "learn then
test", Angelopoulos et al. 2021). Documents below the chosen threshold are reviewed.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evaluation.stats import by_family, exact_upper, family_upper

STEPS = tuple(round(tenth / 10, 1) for tenth in range(1, 11))


@dataclass(frozen=True)
class Step:
    """A share: the documents with a confidence of ``threshold`` or more, the wrong ones, and the upper bound of their
    error rate. ``holds``: the bound is within the limit.
    """

    threshold: float
    documents: int
    wrong: int
    share: float
    bound: float
    holds: bool


@dataclass(frozen=True)
class Automation:
    """The tested shares, smallest first. ``documents``: all documents, with those without a readable output; 0 where
    the evaluation stored no confidences. ``from_policy``: the limit is that of the policy.
    """

    limit: float
    confidence: float = 0.95
    documents: int = 0
    steps: tuple[Step, ...] = ()
    from_policy: bool = False

    @property
    def best(self) -> Step | None:
        """The largest share whose error rate is proven to be within the limit; None: every document is reviewed."""
        return next((step for step in reversed(self.steps) if step.holds), None)


def automation(
    rows: Iterable[tuple[float, bool]],
    limit: float,
    *,
    confidence: float = 0.95,
    shares: Sequence[float] = STEPS,
    families: Sequence[Hashable] | None = None,
) -> Automation:
    """Tests which shares can skip review with an error rate of at most ``limit``.

    ``rows``: of each document, the model's confidence from 0 to 1, and whether the output is an exact match. Documents
    with a confidence of 0 are always reviewed. ``families``: one for each document; None: each is its own.
    """
    if not 0 < limit < 1:
        raise ValueError("the limit must be between 0 and 1")
    everything = list(rows)
    of = range(len(everything)) if families is None else families
    ranked = sorted((row for row in zip(everything, of, strict=True) if row[0][0] > 0), key=lambda row: -row[0][0])
    ends = sorted({_end(ranked, max(1, round(share * len(ranked)))) for share in shares}) if ranked else []
    each = 1 - (1 - confidence) / len(shares)
    steps = []
    for end in ends:
        wrong = sum(not right for (_, right), _ in ranked[:end])
        bound = exact_upper(wrong, end, each)
        counts = by_family((family, not right, 1.0) for (_, right), family in ranked[:end])
        if len(counts) < end:
            bound = max(bound, family_upper(counts, each))
        share = end / len(everything)
        steps.append(Step(ranked[end - 1][0][0], end, wrong, share, bound, bound <= limit))
    return Automation(limit, confidence, len(everything), tuple(steps))


def _end(ranked: Sequence[tuple[tuple[float, bool], Hashable]], count: int) -> int:
    """The end of a share of ``count`` documents, which includes all with the confidence of the last one."""
    end = count
    while end < len(ranked) and ranked[end][0][0] == ranked[count - 1][0][0]:
        end += 1
    return end


def document_confidence(confidence: Mapping[str, Any] | None) -> float:
    """The confidence of a document: the lowest of its fields; 0 where there is none.

    ``confidence``: field path -> probability, or [lowest, mean] as the child process writes them.
    """
    if not confidence:
        return 0.0
    return min(float(value[0] if isinstance(value, list | tuple) else value) for value in confidence.values())
