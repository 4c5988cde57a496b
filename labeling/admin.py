"""The labeling app in the administration pages, read-only."""

from django.contrib import admin

from labeling.models import ImportRun, Membership, Project
from slmstudio.admin import ReadOnly, ReadOnlyAdmin


class MembershipInline(ReadOnly, admin.TabularInline):
    """The members of a project and their roles. Owners add members on the project's settings page."""

    model = Membership
    extra = 0
    fields = readonly_fields = ("user", "role", "role_since", "role_given_by")


admin.site.register(
    Project, ReadOnlyAdmin, list_display=("name", "slug", "template", "created_at"), search_fields=("name", "slug"),
    inlines=(MembershipInline,),
)  # fmt: skip
admin.site.register(
    ImportRun, ReadOnlyAdmin, list_filter=("status",), list_select_related=("project",),
    list_display=("file_name", "project", "status", "imported", "duplicates", "rejected", "created_at"),
)  # fmt: skip
