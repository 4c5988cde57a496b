"""Training in the administration, read-only."""

from django.contrib import admin

from slmstudio.admin import ReadOnlyAdmin
from training.models import BaseModel, LengthReport, ModelVersion, TrainingRun

admin.site.register(
    BaseModel, ReadOnlyAdmin, list_display=("slug", "name", "source", "licence", "parameters", "context", "is_prepared")
)
admin.site.register(
    LengthReport, ReadOnlyAdmin, exclude=("lengths",),
    list_display=("dataset", "base_model", "status", "longest", "created_at"),
)  # fmt: skip
admin.site.register(
    TrainingRun, ReadOnlyAdmin, list_filter=("status", "project"),
    list_display=("number", "project", "name", "status", "base_model", "created_by", "created_at"),
)  # fmt: skip
admin.site.register(
    ModelVersion, ReadOnlyAdmin, list_display=("number", "project", "training_run", "sha256", "created_at")
)
