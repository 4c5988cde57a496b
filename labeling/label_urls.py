"""Addresses of the labeling screen, below /p/<slug>/."""

from django.urls import path

from labeling.views import label, label_talk

urlpatterns = [
    path("label/", label.label, name="label"),
    path("label/next/", label.following, name="label_next"),
    path("label/<int:pk>/", label.label_document, name="label_document"),
    path("label/<int:pk>/state/", label.state, name="label_state"),
    path("label/<int:pk>/save/", label.save, name="label_save"),
    path("label/<int:pk>/skip/", label.skip, name="label_skip"),
    path("label/<int:pk>/flag/", label.flag, name="label_flag"),
    path("label/<int:pk>/here/", label.here, name="label_here"),
    path("label/<int:pk>/release/", label.release, name="label_release"),
    path("label/<int:pk>/comments/", label_talk.comments, name="label_comments"),
    path("label/<int:pk>/comments/resolve/", label_talk.resolve, name="label_resolve"),
    path("label/<int:pk>/history/", label_talk.history, name="label_history"),
    path("label/<int:pk>/restore/", label_talk.restore, name="label_restore"),
]
