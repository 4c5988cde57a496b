"""Addresses of the labeling screen, below /p/<slug>/."""

from django.urls import path

from labeling.views import label

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
]
