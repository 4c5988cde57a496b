"""URLs of the labeling app: projects, and the pages below a project."""

from django.urls import URLPattern, URLResolver, include, path

from labeling.annotation import shortcut_views
from labeling.api.app import addresses as api_addresses
from labeling.imports import exchange_views
from labeling.integrations import token_views, webhook_views
from labeling.models import SchemaMigration
from labeling.projects import contract_views, invitation_views, lifecycle_views, settings_views
from labeling.projects import views as project_views
from labeling.schema_migration import views as schema_migration_views
from labeling.studies.views import former_page
from slmstudio.runs import controls

below_project: list[URLPattern | URLResolver] = [
    path("", project_views.home, name="project"),
    path("contract/", contract_views.contract, name="contract"),
    path("contract/preview/", contract_views.preview, name="contract_preview"),
    path("contract/draft/", contract_views.schema_draft, name="schema_draft"),
    path("contract/versions/<int:number>/", contract_views.version, name="contract_version"),
    path("contract/migrations/plan/", contract_views.plan_migration, name="schema_migration_plan"),
    path("contract/migrations/<int:pk>/", schema_migration_views.migration, name="schema_migration"),
    path(
        "contract/migrations/<int:pk>/cancel/",
        controls.cancel_run,
        {"kind": SchemaMigration},
        name="schema_migration_cancel",
    ),
    path("contract/migrations/<int:pk>/resume/", schema_migration_views.resume, name="schema_migration_resume"),
    path("", include("labeling.documents.urls")),
    path("", include("labeling.imports.urls")),
    path("", include("labeling.datasets.urls")),
    path("settings/", settings_views.settings, name="settings"),
    path("settings/rename/", lifecycle_views.rename, name="project_rename"),
    path("settings/archive/", lifecycle_views.archive, name="project_archive"),
    path("settings/restore/", lifecycle_views.restore, name="project_restore"),
    path("settings/members/add/", settings_views.add_member, name="member_add"),
    path("settings/members/<int:pk>/", settings_views.change_member, name="member_change"),
    path("settings/members/<int:pk>/remove/", settings_views.remove_member, name="member_remove"),
    path("settings/service-accounts/add/", settings_views.add_service_account, name="service_account_add"),
    path("settings/invitations/add/", invitation_views.invite, name="invitation_add"),
    path("settings/invitations/<int:pk>/revoke/", invitation_views.revoke_invitation, name="invitation_revoke"),
    path("settings/groups/add/", invitation_views.add_group, name="group_add"),
    path("settings/groups/<int:pk>/remove/", invitation_views.remove_group, name="group_remove"),
    path("settings/webhooks/add/", webhook_views.add, name="webhook_add"),
    path("settings/webhooks/<int:pk>/", webhook_views.webhook, name="webhook"),
    path("settings/webhooks/<int:pk>/secret/", webhook_views.rotate_secret, name="webhook_secret"),
    path("settings/webhooks/<int:pk>/test/", webhook_views.send_test, name="webhook_test"),
    path("settings/webhooks/<int:pk>/remove/", webhook_views.delete, name="webhook_remove"),
    path("settings/webhooks/<int:pk>/log/<int:delivery>/again/", webhook_views.redeliver, name="webhook_redeliver"),
    path("tokens/", token_views.tokens, name="tokens"),
    path("tokens/<int:pk>/revoke/", token_views.revoke, name="token_revoke"),
    path("", include("labeling.annotation.urls")),
    path("", include("labeling.studies.urls")),
    path("label/order/", former_page, {"kind": "queue-order", "page": "studies"}, name="former_studies"),
    path("", include("labeling.comments.urls")),
    path("", include("labeling.review.urls")),
]

urlpatterns = [
    path("", project_views.projects, name="projects"),
    path("new/", exchange_views.new_project, name="project_from_file"),
    path("api/", include(api_addresses())),
    path("invitations/<str:secret>/", invitation_views.invitation, name="invitation"),
    path("me/keys/", shortcut_views.my_keys, name="my_keys"),
    path("me/exceptions-only/", shortcut_views.exceptions_only, name="exceptions_only"),
    path("editor/", contract_views.json_editor, name="json_editor"),
    path("p/<slug:slug>/", include(below_project)),
]
