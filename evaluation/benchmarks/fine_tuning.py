"""Whether a benchmark says that fine-tuning is needed at all. Pure.

The simplest candidate that passes the gates is enough. Candidates that were fine-tuned are no answer to the question.
"""

from collections.abc import Sequence

from evaluation.benchmarks.measured import Limits, MeasuredCandidate
from slmstudio.text.formatting import percent

FAIL, PASS, NOT_PROVEN = "FAIL", "PASS", "NOT PROVEN"


def fine_tuning_advice(candidates: Sequence[MeasuredCandidate], limits: Limits) -> str:
    """A sentence or two; "" where no candidate without fine-tuning was measured or no gate can be tested."""
    found = [one for one in candidates if not one.fine_tuned and one.verdict and not one.over_limits(limits)]
    if not found:
        return ""
    best = min(found, key=lambda one: (-one.accuracy, _simplicity(one)))
    passed = [one for one in found if one.verdict == PASS]
    if passed:
        simplest = min(passed, key=_simplicity)
        return (
            f"Fine-tuning may not be needed: {_described(simplest)} and passes the gates on outputs. Evaluate it on "
            "the hold-out to prove that."
        )
    possible = [one for one in found if one.verdict == NOT_PROVEN]
    if possible:
        nearest = min(possible, key=lambda one: (-one.accuracy, _simplicity(one)))
        return (
            f"Fine-tuning may not be needed: {_described(nearest)}. These documents are too few to show whether it "
            "passes the gates on outputs. Evaluate it on the hold-out before fine-tuning."
        )
    return (
        f"No candidate is good enough without fine-tuning. {_described(best)}, the highest, and fails the gates on "
        "outputs. A fine-tuned model must exceed that."
    )


def _simplicity(one: MeasuredCandidate) -> tuple[bool, bool, float, float]:
    """Classical models first, then those on this machine, then the fastest."""
    return (not one.classical, one.memory_bytes is None, one.p50_ms or float("inf"), one.run)


def _described(one: MeasuredCandidate) -> str:
    labels = f" with {one.labels:,} labels" if one.labels else ""
    return f"{one.title} has {percent(one.accuracy)} field accuracy{labels}"
