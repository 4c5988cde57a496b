"""URLs of serving, below /p/<slug>/."""

from django.urls import path

from serving.deployments import views
from serving.feedback import views as feedback_views
from serving.packages import views as package_views
from serving.rollouts import views as rollout_views
from serving.versions import views as version_views

urlpatterns = [
    path("deploy/", views.deployment, name="deployment"),
    path("deploy/new/", views.deploy, name="deploy_new"),
    path("deploy/endpoint/", views.deploy_endpoint, name="deploy_endpoint"),
    path("deploy/promote/", views.promote, name="deploy_promote"),
    path("deploy/abort/", views.abort, name="deploy_abort"),
    path("deploy/roll-back/", views.roll_back, name="deploy_roll_back"),
    path("deploy/stop/", views.stop, name="deploy_stop"),
    path("deploy/rollout/", rollout_views.rollout, name="deploy_rollout"),
    path("deploy/plan/", rollout_views.plan, name="deploy_plan"),
    path("deploy/review/", feedback_views.queue, name="deploy_review"),
    path("deploy/review/decide/", feedback_views.decide, name="deploy_review_decide"),
    path("deploy/accuracy/", feedback_views.accuracy, name="deploy_accuracy"),
    path("deploy/versions/", version_views.versions, name="deploy_versions"),
    path("deploy/retraining/dismiss/", version_views.dismiss, name="deploy_retraining_dismiss"),
    path("deploy/try/", views.try_document, name="deploy_try"),
    path("deploy/packages/", package_views.packages, name="packages"),
    path("deploy/packages/<int:number>/build/", package_views.build_again, name="package_build"),
    path("deploy/releases/<int:number>/bundle.zip", package_views.bundle, name="release_bundle"),
]
