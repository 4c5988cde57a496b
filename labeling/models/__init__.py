"""Tables of the labeling side."""

from labeling.models.datasets import DatasetItem, DatasetVersion, Split
from labeling.models.documents import (
    Annotation,
    AnnotationRevision,
    Document,
    DocumentState,
    Gold,
    ImportRun,
    Origin,
)
from labeling.models.projects import Contract, Membership, Project, SchemaVersion

__all__ = [
    "Annotation",
    "AnnotationRevision",
    "Contract",
    "DatasetItem",
    "DatasetVersion",
    "Document",
    "DocumentState",
    "Gold",
    "ImportRun",
    "Membership",
    "Origin",
    "Project",
    "SchemaVersion",
    "Split",
]
