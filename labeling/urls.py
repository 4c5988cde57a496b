"""Addresses of the labeling side: projects, and what lies below one of them."""

from django.urls import URLPattern, URLResolver, include, path

from labeling.views import contract, datasets, documents, me, migrations, projects

below_project: list[URLPattern | URLResolver] = [
    path("", projects.home, name="project"),
    path("contract/", contract.contract, name="contract"),
    path("contract/preview/", contract.preview, name="contract_preview"),
    path("contract/versions/<int:number>/", contract.version, name="contract_version"),
    path("contract/migrations/plan/", migrations.plan, name="schema_migration_plan"),
    path("contract/migrations/<int:pk>/", migrations.migration, name="schema_migration"),
    path("contract/migrations/<int:pk>/cancel/", migrations.cancel, name="schema_migration_cancel"),
    path("contract/migrations/<int:pk>/resume/", migrations.resume, name="schema_migration_resume"),
    path("documents/", documents.documents, name="documents"),
    path("documents/import/", documents.import_page, name="import"),
    path("documents/import/<int:pk>/", documents.import_run, name="import_run"),
    path("documents/import/<int:pk>/cancel/", documents.cancel_import, name="import_cancel"),
    path("documents/import/<int:pk>/rejected.jsonl", documents.rejected_rows, name="import_rejects"),
    path("documents/<int:pk>/", documents.document, name="document"),
    path("datasets/", datasets.datasets, name="datasets"),
    path("datasets/<int:number>/", datasets.dataset, name="dataset"),
    path("datasets/<int:number>/export/<str:shape>.jsonl", datasets.export, name="dataset_export"),
    path("", include("labeling.label_urls")),
]

urlpatterns = [
    path("", projects.projects, name="projects"),
    path("me/keys/", me.my_keys, name="my_keys"),
    path("me/exceptions-only/", me.exceptions_only, name="exceptions_only"),
    path("p/<slug:slug>/", include(below_project)),
]
