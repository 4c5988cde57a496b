"""False passes and power of the gate on non-inferiority where documents come in families.

The candidate and the production model are right or wrong about each document. What differs belongs to the family: the
candidate is wrong about all documents of some families and right about all of others (whole families), or has its own
chance of a loss or gain in each (spread). Both are drawn with a true mean loss, which is the margin for false passes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from evaluation.stats import by_family, family_p_value

Array = np.ndarray[Any, Any]
ALPHA = 0.05


@dataclass(frozen=True)
class Plan:
    """``families`` of ``documents`` each."""

    families: int
    documents: int

    def __str__(self) -> str:
        return f"{self.families} x {self.documents}"


#: losses of each document (1, 0 or -1), a row per family, from the true mean loss and the share that gains
Draw = Callable[[np.random.Generator, Plan, float, float], Array]


def whole_families(rng: np.random.Generator, plan: Plan, loss: float, gain: float) -> Array:
    """Each family is lost, gained or unchanged as a whole."""
    drawn = rng.choice([1.0, -1.0, 0.0], size=plan.families, p=[loss + gain, gain, 1 - loss - 2 * gain])
    return np.repeat(drawn[:, None], plan.documents, axis=1)


def spread(rng: np.random.Generator, plan: Plan, loss: float, gain: float) -> Array:
    """The chance that a document of a family is lost is drawn for the family; correlation 0.5 in a family."""
    mean = loss + gain
    own = rng.beta(mean, 1 - mean, plan.families)[:, None]
    lost = rng.random((plan.families, plan.documents)) < own
    gained = ~lost & (rng.random((plan.families, plan.documents)) < gain / (1 - mean))
    return lost * 1.0 - gained * 1.0


DRAWS: dict[str, Draw] = {"whole families differ": whole_families, "each family has its own chance": spread}
PLANS = (Plan(100, 1), Plan(20, 5), Plan(10, 10), Plan(100, 5), Plan(300, 5))


def passes(losses: Array, margin: float, level: float = ALPHA) -> tuple[bool, bool]:
    """Whether a gate passes that counts documents, and the gate, which counts families as well."""
    rows = [(at, float(loss), 1.0) for at, family in enumerate(losses) for loss in family]
    if family_p_value([row[1:] for row in rows], margin) > level:
        return False, False
    counts = by_family(rows)
    return True, len(counts) == len(rows) or family_p_value(counts, margin) <= level


def share(draw: Draw, plan: Plan, *, margin: float, loss: float, gain: float, rounds: int, seed: int) -> Array:
    """How often both gates pass at this true mean loss."""
    rng = np.random.default_rng([seed, plan.families, plan.documents])
    return np.mean([passes(draw(rng, plan, loss, gain), margin) for _ in range(rounds)], axis=0)
