"""Addresses of imports and of page images, below a project."""

from django.urls import path

from labeling.documents import page_image_views
from labeling.views import imports

urlpatterns = [
    path("documents/import/", imports.import_page, name="import"),
    path("documents/import/columns/", imports.columns, name="import_columns"),
    path("documents/import/<int:pk>/", imports.import_run, name="import_run"),
    path("documents/import/<int:pk>/cancel/", imports.cancel, name="import_cancel"),
    path("documents/import/<int:pk>/again/", imports.again, name="import_again"),
    path("documents/import/<int:pk>/rejected.jsonl", imports.rejected_rows, name="import_rejects"),
    path("documents/import/<int:pk>/rejected.txt", imports.rejected_words, name="import_rejects_text"),
    path("documents/<int:pk>/pages/<int:number>/image", page_image_views.page_image, name="page_image"),
]
