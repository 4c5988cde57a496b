"""Evaluation in the Django admin, read-only: only services write rows."""

from django.contrib import admin

from evaluation.models import (
    Approval,
    AuditEntry,
    Benchmark,
    Endpoint,
    EvalRun,
    GatePolicy,
    GateReport,
    PipelineRun,
    PrelabelRun,
)
from slmstudio.admin import ReadOnlyAdmin

admin.site.register(
    EvalRun, ReadOnlyAdmin, list_filter=("status", "split", "mode", "project"),
    list_display=("number", "project", "model_label", "split", "mode", "status", "created_by", "created_at"),
    list_select_related=("project", "base_model", "model_version", "training_run", "endpoint", "created_by"),
)  # fmt: skip
admin.site.register(
    Benchmark, ReadOnlyAdmin, list_filter=("status", "project"),
    list_display=("number", "project", "dataset", "status", "created_by", "created_at"),
    list_select_related=("project", "dataset", "created_by"),
)  # fmt: skip
admin.site.register(GatePolicy, ReadOnlyAdmin, list_display=("number", "project", "sha256", "created_by", "created_at"))
admin.site.register(
    GateReport, ReadOnlyAdmin, list_filter=("passed", "project"),
    list_display=("number", "project", "sentence", "passed", "holdout_number", "created_by", "created_at"),
)  # fmt: skip
admin.site.register(Approval, ReadOnlyAdmin, list_display=("report", "decision", "decided_by", "decided_at"))
admin.site.register(
    AuditEntry, ReadOnlyAdmin, list_filter=("action", "project"), search_fields=("about",),
    list_display=("created_at", "project", "user", "action", "about"),
)  # fmt: skip
admin.site.register(PipelineRun, ReadOnlyAdmin, list_display=("pk", "project", "status", "stage", "created_at"))
# The environment variable of the key, not the key itself.
admin.site.register(
    Endpoint, ReadOnlyAdmin, list_select_related=("project",),
    list_display=("name", "project", "url", "model", "key_variable", "tested_at", "retired_at"),
)  # fmt: skip
admin.site.register(
    PrelabelRun, ReadOnlyAdmin, list_filter=("status", "project"),
    list_display=("number", "project", "model_label", "status", "progress_done", "progress_total", "created_at"),
    list_select_related=("project", "model_version", "endpoint"),
)  # fmt: skip
