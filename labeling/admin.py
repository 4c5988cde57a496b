"""The administration site: who is in which project, and a look at what exists."""

from django.contrib import admin

from labeling.models import ImportRun, Membership, Project


class MembershipInline(admin.TabularInline):
    """The people of a project and their roles."""

    model = Membership
    extra = 1
    autocomplete_fields = ["user"]


@admin.register(Project)
class ProjectAdmin(admin.ModelAdmin):
    """Projects with their members. A project is made on the site itself, with its contract."""

    list_display = ["name", "slug", "template", "created_at"]
    search_fields = ["name", "slug"]
    # Reviews are switched on the project's own settings page, which writes down who did it.
    readonly_fields = ["template", "review_required", "created_at"]
    inlines = [MembershipInline]

    def has_add_permission(self, request: object) -> bool:
        """Not here: a project without a contract is none."""
        return False


@admin.register(ImportRun)
class ImportRunAdmin(admin.ModelAdmin):
    """Imports, to read."""

    list_display = ["file_name", "project", "status", "imported", "duplicates", "rejected", "created_at"]
    list_filter = ["status"]
    list_select_related = ["project"]

    def has_add_permission(self, request: object) -> bool:
        """Imports are started on the site."""
        return False

    def has_change_permission(self, request: object, obj: object = None) -> bool:
        """To read only."""
        return False
