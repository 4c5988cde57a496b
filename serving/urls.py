"""URLs of serving, below /p/<slug>/."""

from django.urls import path

from evaluation.http import moved_to
from serving.batches import views as batch_views
from serving.captures import views as capture_views
from serving.comparisons import views as comparison_views
from serving.deployments import views
from serving.erasure import views as erasure_views
from serving.monitoring import views as monitoring_views
from serving.outgoing import views as outgoing_views
from serving.packages import views as package_views
from serving.review import views as review_views
from serving.rollouts import views as rollout_views
from serving.settings import views as settings_views
from serving.versions import views as version_views

urlpatterns = [
    path("settings/erasure/", erasure_views.erasure, name="settings_erasure"),
    path("settings/outgoing/", outgoing_views.outgoing, name="settings_outgoing"),
    path("deploy/", views.deployment, name="deployment"),
    path("deploy/new/", views.deploy, name="deploy_new"),
    path("deploy/endpoint/", views.deploy_endpoint, name="deploy_endpoint"),
    path("deploy/promote/", views.promote, name="deploy_promote"),
    path("deploy/abort/", views.abort, name="deploy_abort"),
    path("deploy/roll-back/", views.roll_back, name="deploy_roll_back"),
    path("deploy/stop/", views.stop, name="deploy_stop"),
    path("deploy/rollout/", rollout_views.rollout, name="deploy_rollout"),
    path("deploy/plan/", rollout_views.plan, name="deploy_plan"),
    path("deploy/settings/", settings_views.settings, name="deploy_settings"),
    path("deploy/settings/policy/", settings_views.policy, name="deploy_policy"),
    path("deploy/settings/resume/", settings_views.resume, name="deploy_resume"),
    path("deploy/settings/sample/", settings_views.sample, name="deploy_sample"),
    path("deploy/settings/recipients/", settings_views.recipients, name="deploy_alert_recipients"),
    path("deploy/confidence/", moved_to("deploy_settings"), name="former_confidence"),
    path("deploy/review/", review_views.review, name="deploy_review"),
    path("deploy/review/decide/", review_views.decide, name="deploy_review_decide"),
    path("deploy/requests/", review_views.request_page, name="deploy_request"),
    path("deploy/accuracy/", moved_to("deploy_review"), name="former_accuracy"),
    path("deploy/versions/", version_views.versions, name="deploy_versions"),
    path("deploy/retraining/dismiss/", version_views.dismiss, name="deploy_retraining_dismiss"),
    path("deploy/monitoring/", monitoring_views.monitoring, name="deploy_monitoring"),
    path("deploy/monitoring/rules/<slug:metric>/", monitoring_views.alert_rule, name="deploy_alert_rule"),
    path("deploy/alerts/", moved_to("deploy_monitoring"), name="former_alerts"),
    path("deploy/drift/", moved_to("deploy_monitoring"), name="former_drift"),
    path("deploy/try/", views.try_document, name="deploy_try"),
    path("deploy/packages/", package_views.packages, name="packages"),
    path("deploy/packages/<int:number>/build/", package_views.build_again, name="package_build"),
    path("deploy/captured/", capture_views.captures, name="captures"),
    path("deploy/captured/collect/", capture_views.collect, name="captures_collect"),
    path("deploy/captured/options/", capture_views.options, name="captures_options"),
    path("deploy/captured/keys/", capture_views.register_key, name="captures_key_new"),
    path("deploy/captured/keys/<int:pk>/remove/", capture_views.remove_key, name="captures_key_remove"),
    path("deploy/captured/instruction/", capture_views.instruction, name="captures_instruction"),
    path("deploy/comparisons/", comparison_views.comparisons, name="traffic_comparisons"),
    path("deploy/comparisons/new/<slug:kind>/", comparison_views.comparison_new, name="traffic_comparison_new"),
    path("deploy/comparisons/<int:number>/", comparison_views.comparison, name="traffic_comparison"),
    path("deploy/comparisons/<int:number>/stop/", comparison_views.comparison_stop, name="traffic_comparison_stop"),
    path("deploy/comparisons/<int:number>/draw/", comparison_views.comparison_draw, name="traffic_comparison_draw"),
    path("deploy/comparisons/<int:number>/issue/", comparison_views.comparison_issue, name="traffic_comparison_issue"),
    path(
        "deploy/comparisons/<int:number>/certificate.<slug:ending>",
        comparison_views.certificate,
        name="traffic_comparison_certificate",
    ),
    path("deploy/batches/", batch_views.batches, name="batches"),
    path("deploy/batches/<int:pk>/result.jsonl", batch_views.result, name="batch_result"),
    path("deploy/batches/<int:pk>/cancel/", batch_views.cancel, name="batch_cancel"),
    path("deploy/batches/<int:pk>/resume/", batch_views.resume, name="batch_resume"),
    path("deploy/usage/", moved_to("deploy_monitoring"), name="former_usage"),
    path("deploy/usage/<int:pk>/", settings_views.limits, name="budget"),
    path("deploy/releases/<int:number>/bundle.zip", package_views.bundle, name="release_bundle"),
    path("deploy/releases/<int:number>/browser.zip", package_views.browser_bundle, name="release_browser_bundle"),
    path("deploy/ab-tests/", moved_to("traffic_comparisons"), name="former_ab_tests"),
    path("deploy/certificates/", moved_to("traffic_comparisons"), name="former_certificates"),
    path("deploy/certificates/<int:number>/", moved_to("traffic_comparison"), name="former_certificate"),
]
