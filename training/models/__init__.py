"""Tables of the training side."""

from training.models.base_models import BaseModel, LengthReport, ModelDownload
from training.models.exports import Export, ModelExport, SpecExport
from training.models.runs import ModelVersion, TrainingEvent, TrainingRun, TrainingRunQuerySet

__all__ = [
    "BaseModel",
    "Export",
    "LengthReport",
    "ModelDownload",
    "ModelExport",
    "ModelVersion",
    "SpecExport",
    "TrainingEvent",
    "TrainingRun",
    "TrainingRunQuerySet",
]
