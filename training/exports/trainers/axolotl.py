"""Axolotl: a configuration, rows, and a check that loads both."""

from pathlib import Path

from training.exports.child_specs import TrainerSpec
from training.exports.trainers import axolotl_check
from training.exports.trainers.axolotl_config import CONFIG, config, row
from training.exports.trainers.axolotl_validation import last_validation
from training.exports.trainers.base import Trainer
from training.exports.trainers.source_text import RowCounts


def _files(spec: TrainerSpec, counts: RowCounts) -> dict[str, str]:
    return {CONFIG: config(spec, counts)}


TRAINER = Trainer(
    name="axolotl",
    title="Axolotl",
    description="This run's settings as axolotl.yaml, with the training rows.",
    row=row,
    files=_files,
    check=Path(axolotl_check.__file__),
    python_setting="AXOLOTL_PYTHON",
    last_validation=last_validation,
)
