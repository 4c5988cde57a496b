"""Addresses of documents and of progress, below a project."""

from django.urls import path

from labeling.views import bulk, document, documents, progress, saved_views

urlpatterns = [
    path("documents/", documents.documents, name="documents"),
    path("documents/views/", saved_views.save, name="view_save"),
    path("documents/views/<int:pk>/remove/", saved_views.remove, name="view_remove"),
    path("documents/bulk/", bulk.start, name="bulk_start"),
    path("documents/bulk/<int:pk>/", bulk.edit, name="bulk_edit"),
    path("documents/bulk/<int:pk>/cancel/", bulk.cancel, name="bulk_cancel"),
    path("documents/bulk/<int:pk>/undo/", bulk.undo, name="bulk_undo"),
    path("documents/<int:pk>/", document.document, name="document"),
    path("documents/<int:pk>/change/", document.change, name="document_change"),
    path("documents/<int:pk>/tags/", document.set_tags, name="document_tags"),
    path("documents/<int:pk>/comment/", document.comment, name="document_comment"),
    path("progress/", progress.progress, name="progress"),
    path("progress/days.json", progress.days, name="progress_days"),
    path("progress/quality/", progress.quality, name="progress_quality"),
]
