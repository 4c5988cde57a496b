"""The training side in the administration: to look at; runs are started and ended by the services."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from training.models import BaseModel, LengthReport, ModelVersion, TrainingRun


class ReadOnly(admin.ModelAdmin):
    """Rows that only services write."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(BaseModel)
class BaseModelAdmin(ReadOnly):
    """Base models."""

    list_display = ("slug", "name", "source", "licence", "parameters", "context", "ready")


@admin.register(LengthReport)
class LengthReportAdmin(ReadOnly):
    """Length reports."""

    list_display = ("dataset", "base_model", "status", "longest", "created_at")
    exclude = ("lengths",)


@admin.register(TrainingRun)
class TrainingRunAdmin(ReadOnly):
    """Training runs."""

    list_display = ("number", "project", "name", "status", "base_model", "created_by", "created_at")
    list_filter = ("status", "project")


@admin.register(ModelVersion)
class ModelVersionAdmin(ReadOnly):
    """Model versions."""

    list_display = ("number", "project", "training_run", "sha256", "created_at")
