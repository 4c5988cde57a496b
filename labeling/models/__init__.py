"""Tables of the labeling side."""

from labeling.models.annotations import Annotation, AnnotationRevision, Gold, Prediction
from labeling.models.collaboration import Comment, Mention, Preferences, Presence, Review, SavedView
from labeling.models.datasets import DatasetItem, DatasetVersion, FreezeRun, SilverItem, Split
from labeling.models.documents import BulkEdit, Document, DocumentScore, DocumentSearch, DocumentState, Origin, Page
from labeling.models.erasure import Erasure
from labeling.models.imports import ImportRun, IndexRun
from labeling.models.integrations import ApiToken, Webhook, WebhookDelivery
from labeling.models.projects import (
    Contract,
    GroupRole,
    Invitation,
    Membership,
    Project,
    SchemaMigration,
    SchemaVersion,
)
from labeling.models.studies import DocumentPlace, Study

__all__ = [
    "Annotation",
    "AnnotationRevision",
    "ApiToken",
    "BulkEdit",
    "Comment",
    "Contract",
    "DatasetItem",
    "DatasetVersion",
    "Document",
    "DocumentPlace",
    "DocumentScore",
    "DocumentSearch",
    "DocumentState",
    "Erasure",
    "FreezeRun",
    "Gold",
    "GroupRole",
    "ImportRun",
    "IndexRun",
    "Invitation",
    "Membership",
    "Mention",
    "Origin",
    "Page",
    "Prediction",
    "Preferences",
    "Presence",
    "Project",
    "Review",
    "SavedView",
    "SchemaMigration",
    "SchemaVersion",
    "SilverItem",
    "Split",
    "Study",
    "Webhook",
    "WebhookDelivery",
]
