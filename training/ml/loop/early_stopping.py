"""Early stopping by validation loss or field accuracy. Pure."""

import math
from dataclasses import asdict, dataclass
from typing import Any


@dataclass
class EarlyStopping:
    """Tracks the scores of evaluations in order, lower ones being better.

    ``metric``: the score is the validation loss in nats per token, or the negative field accuracy. ``patience``:
    evaluations in a row without a new lowest score before the run stops; None never stops it. ``misses`` counts them;
    field names are keys of checkpoints. ``keeps_both``: the weights of the best evaluation and of the last step are
    saved.
    """

    patience: int | None = None
    metric: str = "validation_loss"
    best_step: int | None = None
    best_loss: float | None = None
    misses: int = 0
    last_step: int = -1
    keeps_both: bool = False

    def update(self, step: int, loss: float) -> bool:
        """Takes an evaluation; True where its score is the lowest so far. NaN never is."""
        self.last_step = step
        if math.isfinite(loss) and (self.best_loss is None or loss < self.best_loss):
            self.best_step, self.best_loss, self.misses = step, loss, 0
            return True
        self.misses += 1
        return False

    @property
    def keeps_best(self) -> bool:
        """Whether the weights of the best evaluation are saved; else those of the last step are."""
        return self.patience is not None or self.metric == "field_accuracy"

    @property
    def needs_best(self) -> bool:
        """Whether the checkpoint of the best evaluation is needed at the end."""
        return self.keeps_best or self.keeps_both

    @property
    def should_stop(self) -> bool:
        """Whether the patience is used up."""
        return self.patience is not None and self.misses >= self.patience

    def state(self) -> dict[str, Any]:
        """State for a checkpoint, as JSON values."""
        return {key: value for key, value in asdict(self).items() if key not in ("patience", "metric", "keeps_both")}

    def restore(self, state: dict[str, Any]) -> None:
        """Restores ``state``."""
        for key, value in state.items():
            setattr(self, key, value)
