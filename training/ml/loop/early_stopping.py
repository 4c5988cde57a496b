"""The looks at the validation split: the best one, and whether it is time to stop. Pure Python."""

import math
from dataclasses import asdict, dataclass
from typing import Any


@dataclass
class Looks:
    """Validation losses in order, in nats for each token.

    ``patience``: looks in a row without a new lowest loss after which a run ends; None never ends it.
    """

    patience: int | None = None
    best_step: int | None = None
    best_loss: float | None = None
    misses: int = 0
    last_step: int = -1

    def take(self, step: int, loss: float) -> bool:
        """Notes a look; True where its loss is the lowest so far. A loss that is no number never is."""
        self.last_step = step
        if math.isfinite(loss) and (self.best_loss is None or loss < self.best_loss):
            self.best_step, self.best_loss, self.misses = step, loss, 0
            return True
        self.misses += 1
        return False

    @property
    def spent(self) -> bool:
        """Whether patience is at its end."""
        return self.patience is not None and self.misses >= self.patience

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps, as JSON values."""
        return {key: value for key, value in asdict(self).items() if key != "patience"}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from what ``state`` gave."""
        for key, value in state.items():
            setattr(self, key, value)
