"""The administration pages: they manage accounts and groups, everything else is read-only. Two-factor authentication of
someone who lost their device is removed there. No administrator knows a password: they give the user a link to set one.

Projects are written by services, which check roles and write the audit log; a page that bypassed them would break both.
For members of a project without an owner there is ``manage.py member``.
"""

from datetime import datetime
from typing import Any

from allauth.account.forms import default_token_generator
from allauth.account.internal.flows.password_reset import get_reset_password_from_key_url
from allauth.account.utils import user_pk_to_url_str
from allauth.mfa.models import Authenticator
from django.contrib import admin, messages
from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.forms import UserCreationForm
from django.contrib.auth.models import Group, User
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect, render

from slmstudio.accounts.adapters import is_of_provider
from slmstudio.models import SignInEvent
from slmstudio.text.spreadsheets import csv_lines


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

    actions: Any = None


class LogAdmin(ReadOnlyAdmin):
    """Pages of a log, whose selected or filtered rows are downloaded as CSV."""

    actions = ("download",)

    @admin.action(description="Download as CSV", permissions=["view"])
    def download(self, request: HttpRequest, rows: QuerySet[Any]) -> StreamingHttpResponse:
        """The columns of the list, oldest first."""
        columns = [str(name) for name in self.list_display]
        cells = ([_cell(row, name) for name in columns] for row in rows.order_by("pk").iterator(chunk_size=500))
        headers = {"Content-Disposition": f'attachment; filename="{self.opts.verbose_name_plural}.csv"'}
        return StreamingHttpResponse(csv_lines(columns, cells), content_type="text/csv; charset=utf-8", headers=headers)


def _cell(row: Any, name: str) -> str:
    if name == "__str__":
        return str(row)
    value = getattr(row, name)
    return value.isoformat() if isinstance(value, datetime) else str(value)


class NewAccount(UserCreationForm):
    """An account without a password."""

    password1 = password2 = None  # type: ignore[assignment]  # of Django's form

    def set_password_and_save(self, user: User, password_field_name: str = "", commit: bool = True) -> User:
        """Creates it: Django's form calls this."""
        user.set_unusable_password()
        if commit:
            user.save()
        return user


class AccountAdmin(UserAdmin):
    """Accounts. Only a superuser creates administrators, changes their accounts, or grants permissions; no one changes
    their own permissions. An account is deactivated, never deleted, so that its actions keep its name.
    """

    rights = ("is_staff", "is_superuser", "groups", "user_permissions")
    add_form, add_form_template = NewAccount, "admin/change_form.html"
    add_fieldsets = ((None, {"fields": ("username",)}),)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        own = ("is_active", *self.rights) if obj is not None and obj.pk == request.user.pk else ()
        given = () if request.user.is_superuser else self.rights
        return (*super().get_readonly_fields(request, obj), "last_login", "date_joined", *own, *given)

    def response_add(self, request: HttpRequest, obj: User, post_url_continue: str | None = None) -> HttpResponse:
        """Shows the link to set a password."""
        self._give_link(request, obj)
        return super().response_add(request, obj, post_url_continue)

    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:  # noqa: A002
        """Creates a link to set a password, in place of a form for one.

        Raises:
            PermissionDenied: the user may not change this account, or it belongs to the company's provider.
        """
        user = self.get_object(request, id)
        if user is None:
            raise Http404
        if user.pk == request.user.pk:
            return redirect("account_change_password")
        if not self.has_change_permission(request, user) or is_of_provider(user):
            raise PermissionDenied
        if request.method != "POST":
            context = {**self.admin_site.each_context(request), "title": f"Password of {user}", "original": user}
            return render(request, "admin/password_link.html", context)
        self._give_link(request, user)
        self.log_change(request, user, "Created a link to set a password.")
        return redirect("admin:auth_user_change", user.pk)

    def _give_link(self, request: HttpRequest, user: User) -> None:
        key = f"{user_pk_to_url_str(user)}-{default_token_generator.make_token(user)}"
        link = get_reset_password_from_key_url(request, key)
        messages.info(request, f"Send {user} this link to set a password. It works once, for a day: {link}")

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
    LogEntry, LogAdmin, list_display=("action_time", "user", "object_repr", "__str__"),
    list_select_related=("user", "content_type"),
)  # fmt: skip
# The log of sign-ins and failed attempts.
admin.site.register(
    SignInEvent, LogAdmin, list_display=("created_at", "kind", "name", "address"), list_filter=("kind",),
    search_fields=("name", "address"), date_hierarchy="created_at",
)  # fmt: skip
