"""URLs of dataset versions and of exports, below a project."""

from django.urls import path

from labeling.datasets import export_views, version_views, views
from labeling.models import FreezeRun
from slmstudio.runs import controls

urlpatterns = [
    path("datasets/", views.datasets, name="datasets"),
    path("datasets/runs/<int:pk>/", views.freeze_run, name="freeze_run"),
    path("datasets/runs/<int:pk>/cancel/", controls.cancel_run, {"kind": FreezeRun}, name="freeze_cancel"),
    path("datasets/diff/", version_views.diff, name="dataset_diff"),
    path("datasets/<int:number>/", version_views.dataset, name="dataset"),
    path("datasets/<int:number>/near-duplicates/", version_views.near_duplicates, name="dataset_twins"),
    path("datasets/<int:number>/absent-values/", version_views.absent_values, name="dataset_absent"),
    path("datasets/<int:number>/export/", export_views.dataset_export_page, name="dataset_export_page"),
    path("datasets/<int:number>/export/<str:shape>/", export_views.dataset_export, name="dataset_export"),
    path("export/", export_views.export_page, name="export"),
    path("export/<str:shape>/", export_views.project_export, name="project_export"),
]
