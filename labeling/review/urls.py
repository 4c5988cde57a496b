"""URLs of reviews and of progress, below /p/<slug>/."""

from django.urls import path

from labeling.review import progress_views, views

urlpatterns = [
    path("review/", views.review, name="review"),
    path("review/next/", views.review_next, name="review_next"),
    path("review/onward/", views.review_onward, name="review_onward"),
    path("review/<int:pk>/", views.review_document, name="review_document"),
    path("review/<int:pk>/approve/", views.review_approve, name="review_approve"),
    path("review/<int:pk>/undo/", views.review_undo, name="review_undo"),
    path("review/<int:pk>/reject/", views.review_reject, name="review_reject"),
    path("review/<int:pk>/adjudicate/", views.review_adjudicate, name="review_adjudicate"),
    path("progress/", progress_views.progress, name="progress"),
    path("progress/days.json", progress_views.days, name="progress_days"),
    path("progress/quality/", progress_views.label_quality, name="progress_quality"),
]
