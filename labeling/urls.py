"""Addresses of the labeling side: projects, and what lies below one of them."""

from django.urls import URLPattern, URLResolver, include, path

from labeling.api.app import addresses as api_addresses
from labeling.views import contract, editor, me, migrations, projects, settings, tokens, webhooks

below_project: list[URLPattern | URLResolver] = [
    path("", projects.home, name="project"),
    path("contract/", contract.contract, name="contract"),
    path("contract/preview/", contract.preview, name="contract_preview"),
    path("contract/versions/<int:number>/", contract.version, name="contract_version"),
    path("contract/migrations/plan/", migrations.plan, name="schema_migration_plan"),
    path("contract/migrations/<int:pk>/", migrations.migration, name="schema_migration"),
    path("contract/migrations/<int:pk>/cancel/", migrations.cancel, name="schema_migration_cancel"),
    path("contract/migrations/<int:pk>/resume/", migrations.resume, name="schema_migration_resume"),
    path("", include("labeling.document_urls")),
    path("", include("labeling.import_urls")),
    path("", include("labeling.dataset_urls")),
    path("settings/", settings.settings, name="settings"),
    path("settings/members/add/", settings.add_member, name="member_add"),
    path("settings/members/<int:pk>/", settings.change_member, name="member_change"),
    path("settings/members/<int:pk>/remove/", settings.remove_member, name="member_remove"),
    path("settings/webhooks/add/", webhooks.add, name="webhook_add"),
    path("settings/webhooks/<int:pk>/", webhooks.webhook, name="webhook"),
    path("settings/webhooks/<int:pk>/secret/", webhooks.new_secret, name="webhook_secret"),
    path("settings/webhooks/<int:pk>/test/", webhooks.send_test, name="webhook_test"),
    path("settings/webhooks/<int:pk>/remove/", webhooks.remove, name="webhook_remove"),
    path("settings/webhooks/<int:pk>/log/<int:delivery>/again/", webhooks.redeliver, name="webhook_redeliver"),
    path("tokens/", tokens.tokens, name="tokens"),
    path("tokens/<int:pk>/revoke/", tokens.revoke, name="token_revoke"),
    path("", include("labeling.label_urls")),
    path("", include("labeling.review_urls")),
]

urlpatterns = [
    path("", projects.projects, name="projects"),
    path("api/", include(api_addresses())),
    path("me/keys/", me.my_keys, name="my_keys"),
    path("me/exceptions-only/", me.exceptions_only, name="exceptions_only"),
    path("editor/", editor.frame, name="json_editor"),
    path("p/<slug:slug>/", include(below_project)),
]
