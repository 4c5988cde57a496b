"""The leaves every app may use: access, runs, panels, templates."""

from django.apps import AppConfig
from django.contrib.staticfiles import apps as staticfiles
from django.db.models.signals import post_migrate, pre_migrate


class StudioConfig(AppConfig):
    """The project package as an app, for its template tags and commands."""

    name = "slmstudio"
    default = True  # there are two in this file
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from allauth.account import signals as account
        from allauth.account.signals import user_logged_in as completed
        from allauth.mfa import signals as factors
        from allauth.socialaccount import signals as provider
        from django.contrib.admin.models import LogEntry
        from django.contrib.auth import signals
        from django.contrib.auth.models import User
        from django.core.signals import request_finished
        from django.db.models.signals import post_save

        from slmstudio.accounts import adapters, sessions, sign_in
        from slmstudio.accounts.global_permissions import create_group
        from slmstudio.database.migrated import require_utf8
        from slmstudio.database.roles import grant_to_application
        from slmstudio.logs import audit, requests
        from slmstudio.models import SignInEvent
        from slmstudio.workers.job_names import read_only_json

        read_only_json()
        pre_migrate.connect(require_utf8, sender=self, dispatch_uid="slmstudio.database.migrated")
        post_migrate.connect(grant_to_application, dispatch_uid="slmstudio.database.roles")
        post_migrate.connect(create_group, dispatch_uid="slmstudio.accounts.global_permissions")
        signals.user_logged_in.connect(sessions.on_signed_in, dispatch_uid="slmstudio.sessions")
        signals.user_logged_in.connect(sign_in.on_signed_in, dispatch_uid="slmstudio.signed_in")
        completed.connect(adapters.on_signed_in, dispatch_uid="slmstudio.provider")
        signals.user_logged_out.connect(sign_in.on_signed_out, dispatch_uid="slmstudio.signed_out")
        signals.user_login_failed.connect(sign_in.on_failed, dispatch_uid="slmstudio.failed")
        request_finished.connect(requests.on_finished, dispatch_uid="slmstudio.logs")
        post_save.connect(sessions.end_on_deactivation, User, dispatch_uid="slmstudio.deactivated")
        post_save.connect(audit.on_sign_in_event, SignInEvent, dispatch_uid="slmstudio.audit.sign_in")
        post_save.connect(audit.on_admin_entry, LogEntry, dispatch_uid="slmstudio.audit.administration")
        kinds = SignInEvent.Kind
        for signal, kind in (
            (account.user_signed_up, kinds.CREATED),
            (account.password_set, kinds.PASSWORD),
            (account.password_changed, kinds.PASSWORD),
            (account.password_reset, kinds.PASSWORD_RESET),
            (account.email_changed, kinds.EMAIL),
            (account.email_added, kinds.EMAIL),
            (account.email_removed, kinds.EMAIL),
            (factors.authenticator_added, kinds.FACTOR_ADDED),
            (factors.authenticator_reset, kinds.FACTOR_ADDED),
            (factors.authenticator_removed, kinds.FACTOR_REMOVED),
            (factors.authentication_failed, kinds.FAILED),
            (provider.social_account_added, kinds.CONNECTED),
            (provider.social_account_removed, kinds.DISCONNECTED),
        ):
            signal.connect(sign_in.logger_of(kind), weak=False, dispatch_uid=f"slmstudio.account.{kind}")


class StaticFilesConfig(staticfiles.StaticFilesConfig):
    """Django's static files app, without source maps."""

    ignore_patterns = [*staticfiles.StaticFilesConfig.ignore_patterns, "*.map"]
