"""URLs of documents, below /p/<slug>/."""

from django.urls import path

from labeling.documents import bulk_edit_views, list_views, views
from labeling.models import BulkEdit
from slmstudio.runs import controls

urlpatterns = [
    path("documents/", list_views.documents, name="documents"),
    path("documents/views/", list_views.save_view, name="view_save"),
    path("documents/views/<int:pk>/remove/", list_views.delete_view, name="view_remove"),
    path("documents/bulk/", bulk_edit_views.start, name="bulk_start"),
    path("documents/bulk/<int:pk>/", bulk_edit_views.edit, name="bulk_edit"),
    path("documents/bulk/<int:pk>/cancel/", controls.cancel_run, {"kind": BulkEdit}, name="bulk_cancel"),
    path("documents/bulk/<int:pk>/undo/", bulk_edit_views.undo, name="bulk_undo"),
    path("documents/<int:pk>/", views.document, name="document"),
    path("documents/<int:pk>/pages/<int:number>/image", views.page_image, name="page_image"),
    path("documents/<int:pk>/change/", views.change, name="document_change"),
    path("documents/<int:pk>/tags/", views.set_tags, name="document_tags"),
    path("documents/<int:pk>/comment/", views.comment, name="document_comment"),
]
