"""Addresses of dataset versions and of exports, below a project."""

from django.urls import path

from labeling.views import datasets, exports, versions

urlpatterns = [
    path("datasets/", datasets.datasets, name="datasets"),
    path("datasets/runs/<int:pk>/", datasets.freeze_run, name="freeze_run"),
    path("datasets/runs/<int:pk>/cancel/", datasets.cancel_freeze, name="freeze_cancel"),
    path("datasets/diff/", versions.diff, name="dataset_diff"),
    path("datasets/<int:number>/", versions.dataset, name="dataset"),
    path("datasets/<int:number>/near-duplicates/", versions.twins, name="dataset_twins"),
    path("datasets/<int:number>/export/<str:shape>/", exports.dataset_export, name="dataset_export"),
    path("export/", exports.export_page, name="export"),
    path("export/<str:shape>/", exports.project_export, name="project_export"),
]
