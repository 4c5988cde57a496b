"""The evaluation side in the administration: to look at; rows are written by the services alone."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from evaluation.models import (
    Approval,
    AuditEntry,
    Benchmark,
    Endpoint,
    EvalRun,
    GatePolicy,
    GateReport,
    LoopRun,
    PrelabelRun,
)


class ReadOnly(admin.ModelAdmin):
    """Rows that nobody adds, changes or deletes here."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(EvalRun)
class EvalRunAdmin(ReadOnly):
    """Eval runs."""

    list_display = ("number", "project", "subject", "split", "mode", "status", "created_by", "created_at")
    list_filter = ("status", "split", "mode", "project")
    list_select_related = ("project", "base_model", "model_version", "training_run", "endpoint", "created_by")


@admin.register(Benchmark)
class BenchmarkAdmin(ReadOnly):
    """Benchmarks."""

    list_display = ("number", "project", "dataset", "status", "created_by", "created_at")
    list_filter = ("status", "project")
    list_select_related = ("project", "dataset", "created_by")


@admin.register(GatePolicy)
class GatePolicyAdmin(ReadOnly):
    """Gate policies."""

    list_display = ("number", "project", "sha256", "created_by", "created_at")


@admin.register(GateReport)
class GateReportAdmin(ReadOnly):
    """Gate reports."""

    list_display = ("number", "project", "sentence", "passed", "look", "created_by", "created_at")
    list_filter = ("passed", "project")


@admin.register(Approval)
class ApprovalAdmin(ReadOnly):
    """Decisions."""

    list_display = ("report", "decision", "decided_by", "decided_at")


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnly):
    """The audit log."""

    list_display = ("created_at", "project", "user", "action", "about")
    list_filter = ("action", "project")
    search_fields = ("about",)


@admin.register(LoopRun)
class LoopRunAdmin(ReadOnly):
    """Passes of the loop."""

    list_display = ("pk", "project", "status", "stage", "created_at")


@admin.register(Endpoint)
class EndpointAdmin(ReadOnly):
    """Models elsewhere; the variable of a key is named here, the key is not."""

    list_display = ("name", "project", "url", "model", "key_variable", "tested_at", "retired_at")
    list_select_related = ("project",)


@admin.register(PrelabelRun)
class PrelabelRunAdmin(ReadOnly):
    """Runs of pre-labels."""

    list_display = ("number", "project", "subject", "status", "progress_done", "progress_total", "created_at")
    list_filter = ("status", "project")
    list_select_related = ("project", "model_version", "endpoint")
