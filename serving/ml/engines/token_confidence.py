"""The confidence of each field from the tokens of an output. Pure."""

from collections.abc import Sequence

from evaluation.inference.confidence import per_field
from serving.replicas.protocol import Confidence


def of_ends(raw: str, ends: Sequence[int], logprobs: Sequence[float]) -> Confidence:
    """Field -> lowest and mean probability. ``ends``: for each token the length of the text up to its end."""
    found = per_field(raw, ends, logprobs)
    return {path: (round(field.minimum, 4), round(field.mean, 4)) for path, field in found.items()}
