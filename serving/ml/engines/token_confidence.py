"""The confidence of each field from the tokens of an output. Pure."""

import math
from collections.abc import Sequence

from evaluation.inference.confidence import first_tokens, per_field
from serving.replicas.protocol import Confidence


def of_ends(raw: str, ends: Sequence[int], logprobs: Sequence[float], others: Sequence[float]) -> Confidence:
    """Field -> lowest and mean probability, and how much more probable its first token was than the next one.

    ``ends``: for each token the length of the text up to its end. ``others``: for each token the log-probability of the
    most probable other one.
    """
    fields = per_field(raw, ends, logprobs)
    first = first_tokens(raw, ends)
    margins = {path: _probability(logprobs[at]) - _probability(others[at]) for path, at in first.items()}
    return {
        path: (round(field.minimum, 4), round(field.mean, 4), round(margins[path], 4)) for path, field in fields.items()
    }


def _probability(logprob: float) -> float:
    return math.exp(min(0.0, logprob))
