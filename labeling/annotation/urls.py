"""URLs of the labeling screen, below /p/<slug>/."""

from django.urls import path

from labeling.annotation import views

urlpatterns = [
    path("label/", views.label, name="label"),
    path("label/next/", views.neighbor, name="label_next"),
    path("label/<int:pk>/", views.label_document, name="label_document"),
    path("label/<int:pk>/state/", views.state, name="label_state"),
    path("label/<int:pk>/save/", views.save, name="label_save"),
    path("label/<int:pk>/skip/", views.skip, name="label_skip"),
    path("label/<int:pk>/flag/", views.flag, name="label_flag"),
    path("label/<int:pk>/presence/", views.queue_strip, name="label_presence"),
    path("label/<int:pk>/release/", views.release, name="label_release"),
    path("label/<int:pk>/history/", views.history, name="label_history"),
    path("label/<int:pk>/restore/", views.restore, name="label_restore"),
]
