"""The administration pages: they manage accounts and groups, everything else is read-only. Two-factor authentication of
someone who lost their device is removed there.

Projects are written by services, which check roles and write the audit log; a page that bypassed them would break both.
For members of a project without an owner there is ``manage.py member``.
"""

from typing import Any

from allauth.mfa.models import Authenticator
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group
from django.http import HttpRequest

from slmstudio.models import SignInEvent


class ReadOnly:
    """Rows that cannot be added, changed or deleted here."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class ReadOnlyAdmin(ReadOnly, admin.ModelAdmin):
    """Pages of rows that only services write."""

    actions = None


class AccountAdmin(UserAdmin):
    """Accounts. Only a superuser creates administrators, changes their accounts, or grants permissions; no one changes
    their own permissions. An account is deactivated, never deleted, so that its actions keep its name.
    """

    rights = ("is_staff", "is_superuser", "groups", "user_permissions")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        own = ("is_active", *self.rights) if obj is not None and obj.pk == request.user.pk else ()
        given = () if request.user.is_superuser else self.rights
        return (*super().get_readonly_fields(request, obj), "last_login", "date_joined", *own, *given)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        protected = obj is not None and (obj.is_superuser or obj.is_staff) and obj.pk != request.user.pk
        if protected and not request.user.is_superuser:
            return False
        return super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class PermissionsAdmin(GroupAdmin):
    """Groups grant permissions, so only a superuser changes them."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.is_superuser)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.is_superuser)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.is_superuser)


class AuthenticatorAdmin(ReadOnlyAdmin):
    """Authenticator apps, passkeys and recovery codes. A superuser removes those of someone who lost their device."""

    fields = ("user", "type", "created_at", "last_used_at")
    list_display = fields

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.is_superuser)


admin.site.unregister([get_user_model(), Group])
# Of the tables of allauth, services and pages write all but the authenticators; some have secrets.
admin.site.unregister([model for model in admin.site._registry if model.__module__.startswith("allauth.")])
admin.site.register(Authenticator, AuthenticatorAdmin)
admin.site.register(get_user_model(), AccountAdmin)
admin.site.register(Group, PermissionsAdmin)
# The log of account changes on these pages.
admin.site.register(
    LogEntry, ReadOnlyAdmin, list_display=("action_time", "user", "object_repr", "__str__"),
    list_select_related=("user", "content_type"),
)  # fmt: skip
# The log of sign-ins and failed attempts.
admin.site.register(
    SignInEvent, ReadOnlyAdmin, list_display=("created_at", "kind", "name", "address"), list_filter=("kind",),
    search_fields=("name", "address"), date_hierarchy="created_at",
)  # fmt: skip
