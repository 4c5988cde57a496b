"""Addresses of the training side, below /p/<slug>/."""

from django.urls import path

from training import length_views, views

urlpatterns = [
    path("training/", views.runs, name="training"),
    path("training/new/", views.new_run, name="training_new"),
    path("training/lengths/", views.lengths, name="training_lengths"),
    path("training/lengths/<int:number>/", length_views.dataset_lengths, name="dataset_lengths"),
    path("training/<int:number>/", views.run_page, name="training_run"),
    path("training/<int:number>/curves.json", views.curves, name="training_curves"),
    path("training/<int:number>/cancel/", views.cancel_run, name="training_cancel"),
    path("training/<int:number>/spec.yaml", views.spec_file, name="training_spec"),
    path("training/<int:number>/log.txt", views.log_file, name="training_log"),
]
