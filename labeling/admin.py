"""The labeling app in the administration pages, read-only."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from labeling.models import ImportRun, Membership, Project
from slmstudio.admin import ReadOnlyAdmin


class MembershipInline(admin.TabularInline):
    """The members of a project and their roles."""

    model = Membership
    extra = 0
    can_delete = False
    fields = readonly_fields = ("user", "role", "role_since", "role_given_by")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Owners add members on the project's settings page."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Read-only."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Read-only."""
        return False


@admin.register(Project)
class ProjectAdmin(ReadOnlyAdmin):
    """Projects with their members."""

    list_display = ("name", "slug", "template", "created_at")
    search_fields = ("name", "slug")
    inlines = (MembershipInline,)


@admin.register(ImportRun)
class ImportRunAdmin(ReadOnlyAdmin):
    """Imports."""

    list_display = ("file_name", "project", "status", "imported", "duplicates", "rejected", "created_at")
    list_filter = ("status",)
    list_select_related = ("project",)
