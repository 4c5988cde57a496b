"""The leaves every app may use: access, runs, panels, templates."""

from django.apps import AppConfig
from django.contrib.staticfiles import apps as staticfiles
from django.db.models.signals import post_migrate


class StudioConfig(AppConfig):
    """The project package as an app, for its template tags and commands."""

    name = "slmstudio"
    default = True  # there are two in this file
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from allauth.account.signals import user_logged_in as completed
        from django.contrib.auth import signals

        from slmstudio.accounts import adapters, sessions, sign_in
        from slmstudio.accounts.global_permissions import create_group
        from slmstudio.database.roles import grant_to_application
        from slmstudio.workers.job_names import read_only_json

        read_only_json()
        post_migrate.connect(grant_to_application, dispatch_uid="slmstudio.database.roles")
        post_migrate.connect(create_group, dispatch_uid="slmstudio.accounts.global_permissions")
        signals.user_logged_in.connect(sessions.on_signed_in, dispatch_uid="slmstudio.sessions")
        signals.user_logged_in.connect(sign_in.on_signed_in, dispatch_uid="slmstudio.signed_in")
        completed.connect(adapters.on_signed_in, dispatch_uid="slmstudio.provider")
        signals.user_logged_out.connect(sign_in.on_signed_out, dispatch_uid="slmstudio.signed_out")
        signals.user_login_failed.connect(sign_in.on_failed, dispatch_uid="slmstudio.failed")


class StaticFilesConfig(staticfiles.StaticFilesConfig):
    """Django's static files app, without source maps."""

    ignore_patterns = [*staticfiles.StaticFilesConfig.ignore_patterns, "*.map"]
