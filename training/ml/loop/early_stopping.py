"""Early stopping by validation loss. Pure."""

import math
from dataclasses import asdict, dataclass
from typing import Any


@dataclass
class EarlyStopping:
    """Tracks validation losses in order, in nats per token.

    ``patience``: evaluations in a row without a new lowest loss before the run stops; None never stops it. ``misses``
    counts them; field names are keys of checkpoints.
    """

    patience: int | None = None
    best_step: int | None = None
    best_loss: float | None = None
    misses: int = 0
    last_step: int = -1

    def update(self, step: int, loss: float) -> bool:
        """Takes an evaluation; True where its loss is the lowest so far. NaN never is."""
        self.last_step = step
        if math.isfinite(loss) and (self.best_loss is None or loss < self.best_loss):
            self.best_step, self.best_loss, self.misses = step, loss, 0
            return True
        self.misses += 1
        return False

    @property
    def should_stop(self) -> bool:
        """Whether the patience is used up."""
        return self.patience is not None and self.misses >= self.patience

    def state(self) -> dict[str, Any]:
        """State for a checkpoint, as JSON values."""
        return {key: value for key, value in asdict(self).items() if key != "patience"}

    def restore(self, state: dict[str, Any]) -> None:
        """Restores ``state``."""
        for key, value in state.items():
            setattr(self, key, value)
