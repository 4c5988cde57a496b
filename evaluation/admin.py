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


@admin.register(EvalRun)
class EvalRunAdmin(ReadOnlyAdmin):
    """Evaluation runs."""

    list_display = ("number", "project", "model_label", "split", "mode", "status", "created_by", "created_at")
    list_filter = ("status", "split", "mode", "project")
    list_select_related = ("project", "base_model", "model_version", "training_run", "endpoint", "created_by")


@admin.register(Benchmark)
class BenchmarkAdmin(ReadOnlyAdmin):
    """Benchmarks."""

    list_display = ("number", "project", "dataset", "status", "created_by", "created_at")
    list_filter = ("status", "project")
    list_select_related = ("project", "dataset", "created_by")


@admin.register(GatePolicy)
class GatePolicyAdmin(ReadOnlyAdmin):
    """Gate policies."""

    list_display = ("number", "project", "sha256", "created_by", "created_at")


@admin.register(GateReport)
class GateReportAdmin(ReadOnlyAdmin):
    """Gate reports."""

    list_display = ("number", "project", "sentence", "passed", "holdout_number", "created_by", "created_at")
    list_filter = ("passed", "project")


@admin.register(Approval)
class ApprovalAdmin(ReadOnlyAdmin):
    """Decisions."""

    list_display = ("report", "decision", "decided_by", "decided_at")


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    """The audit log."""

    list_display = ("created_at", "project", "user", "action", "about")
    list_filter = ("action", "project")
    search_fields = ("about",)


@admin.register(PipelineRun)
class PipelineRunAdmin(ReadOnlyAdmin):
    """Pipeline runs."""

    list_display = ("pk", "project", "status", "stage", "created_at")


@admin.register(Endpoint)
class EndpointAdmin(ReadOnlyAdmin):
    """External models, with the environment variable of the key, not the key itself."""

    list_display = ("name", "project", "url", "model", "key_variable", "tested_at", "retired_at")
    list_select_related = ("project",)


@admin.register(PrelabelRun)
class PrelabelRunAdmin(ReadOnlyAdmin):
    """Pre-label runs."""

    list_display = ("number", "project", "model_label", "status", "progress_done", "progress_total", "created_at")
    list_filter = ("status", "project")
    list_select_related = ("project", "model_version", "endpoint")
