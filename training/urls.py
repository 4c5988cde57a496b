"""URLs of training, below /p/<slug>/."""

from django.urls import path

from labeling.studies.urls import former_pages
from slmstudio.runs import controls
from training.exports import views as export_views
from training.models import TrainingRun
from training.run_table import views as table_views
from training.runs import new_run_views, overlay_views, token_length_views
from training.runs import services as run_services
from training.runs import views as run_views

urlpatterns = [
    *former_pages("training/searches/", "search"),
    path("training/", table_views.runs, name="training"),
    path("training/runs/", table_views.change_runs, name="training_runs_change"),
    path("training/new/", new_run_views.new_run, name="training_new"),
    path("training/new/estimate/", new_run_views.estimate, name="training_estimate"),
    path("training/new/spec/", new_run_views.from_spec, name="training_from_spec"),
    path("training/overlay/", overlay_views.overlay, name="training_overlay"),
    path("training/lengths/", new_run_views.lengths, name="training_lengths"),
    path("training/lengths/<int:number>/", token_length_views.dataset_lengths, name="dataset_lengths"),
    path("training/<int:number>/", run_views.run_page, name="training_run"),
    path("training/<int:number>/curves.json", run_views.curves, name="training_curves"),
    path("training/<int:number>/notes/", table_views.describe_run, name="training_notes"),
    path("training/<int:number>/cancel/", controls.cancel_run, {"kind": TrainingRun}, name="training_cancel"),
    path(
        "training/<int:number>/resume/",
        controls.resume_run,
        {"kind": TrainingRun, "service": run_services.resume},
        name="training_resume",
    ),
    path(
        "training/<int:number>/weights/<int:version>/delete/", run_views.delete_weights, name="training_weights_delete"
    ),
    path("training/<int:number>/<slug:name>.zip", run_views.tracker_zip, name="training_tracker"),
    path("training/<int:number>/spec.yaml", run_views.spec_file, name="training_spec"),
    path("training/<int:number>/log.txt", run_views.log_file, name="training_log"),
    path("training/<int:number>/exports/", export_views.exports, name="training_exports"),
    path("training/<int:number>/exports/<slug:kind>/", export_views.create_export, name="training_export_make"),
    path(
        "training/<int:number>/exports/<slug:kind>/cancel/", export_views.cancel_export, name="training_export_cancel"
    ),
    path("training/<int:number>/files/<slug:name>.zip", export_views.folder_zip, name="training_folder"),
    path("training/<int:number>/files/<slug:name>/<path:path>", export_views.folder_file, name="training_file"),
]
