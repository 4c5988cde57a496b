"""URLs of imports."""

from django.urls import path

from labeling.imports import exchange_views, views
from labeling.models import ImportRun
from slmstudio.runs import controls

urlpatterns = [
    path("documents/import/", views.import_page, name="import"),
    path("documents/import/columns/", views.columns, name="import_columns"),
    path("documents/import/exchanges/", exchange_views.exchanges, name="import_exchanges"),
    path("documents/import/exchanges/instruction/", exchange_views.use_instruction, name="import_instruction"),
    path("documents/import/<int:pk>/", views.import_run, name="import_run"),
    path("documents/import/<int:pk>/cancel/", controls.cancel_run, {"kind": ImportRun}, name="import_cancel"),
    path("documents/import/<int:pk>/again/", views.restart, name="import_again"),
    path("documents/import/<int:pk>/rejected.jsonl", views.rejected_rows, name="import_rejects"),
    path("documents/import/<int:pk>/rejected.txt", views.rejected_text, name="import_rejects_text"),
]
