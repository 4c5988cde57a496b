"""All other trainers. A new one is a module with a ``TRAINER``, a line here, a choice of the model, and its test."""

from typing import Final

from training.exports.trainers import axolotl, unsloth
from training.exports.trainers.base import Trainer

#: in the order in which they are listed
TRAINERS: Final[dict[str, Trainer]] = {trainer.name: trainer for trainer in (axolotl.TRAINER, unsloth.TRAINER)}
