"""Training in the administration, read-only."""

from django.contrib import admin

from slmstudio.admin import ReadOnlyAdmin
from training.models import BaseModel, LengthReport, ModelVersion, TrainingRun


@admin.register(BaseModel)
class BaseModelAdmin(ReadOnlyAdmin):
    """Base models."""

    list_display = ("slug", "name", "source", "licence", "parameters", "context", "is_prepared")


@admin.register(LengthReport)
class LengthReportAdmin(ReadOnlyAdmin):
    """Length reports."""

    list_display = ("dataset", "base_model", "status", "longest", "created_at")
    exclude = ("lengths",)


@admin.register(TrainingRun)
class TrainingRunAdmin(ReadOnlyAdmin):
    """Training runs."""

    list_display = ("number", "project", "name", "status", "base_model", "created_by", "created_at")
    list_filter = ("status", "project")


@admin.register(ModelVersion)
class ModelVersionAdmin(ReadOnlyAdmin):
    """Model versions."""

    list_display = ("number", "project", "training_run", "sha256", "created_at")
