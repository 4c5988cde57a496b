"""URLs of evaluation, below /p/<slug>/."""

from django.urls import path

from evaluation.approvals import views as approval_views
from evaluation.audit import views as audit_views
from evaluation.benchmarks import services as benchmark_services
from evaluation.benchmarks import views as benchmark_views
from evaluation.bundles import views as bundle_views
from evaluation.comparison import views as comparison_views
from evaluation.endpoints import views as endpoint_views
from evaluation.gates import views as gate_views
from evaluation.gates.policy import views as policy_views
from evaluation.http import moved_to
from evaluation.hybrids import views as hybrid_views
from evaluation.label_issues import views as label_issue_views
from evaluation.models import Benchmark, EvalRun, PrelabelRun
from evaluation.pipeline import views as pipeline_views
from evaluation.prelabels import services as prelabel_services
from evaluation.prelabels import views as prelabel_views
from evaluation.regression_suite import views as regression_suite_views
from evaluation.runs import services as run_services
from evaluation.runs import views as run_views
from labeling.studies.urls import former_pages
from slmstudio.runs import controls

urlpatterns = [
    *former_pages("benchmark/prompts/", "prompt"),
    *former_pages("evaluation/label-checks/", "label-check"),
    *former_pages("evaluation/learning-curves/", "learning-curve"),
    path("benchmark/", benchmark_views.benchmarks, name="benchmarks"),
    path("benchmark/new/", benchmark_views.new, name="benchmark_new"),
    path("benchmark/<int:number>/", benchmark_views.benchmark, name="benchmark"),
    path(
        "benchmark/<int:number>/cancel/",
        controls.cancel_run,
        {"kind": Benchmark, "service": benchmark_services.cancel},
        name="benchmark_cancel",
    ),
    path("evaluation/", run_views.evaluations, name="evaluation"),
    path("evaluation/new/", run_views.new, name="eval_new"),
    path("evaluation/compare/", comparison_views.comparison, name="comparison"),
    path("evaluation/compare/comparison.json", comparison_views.comparison_json, name="comparison_json"),
    path("evaluation/compare/comparison.md", comparison_views.comparison_markdown_file, name="comparison_markdown"),
    path("evaluation/suite/", regression_suite_views.suite, name="eval_suite"),
    path("evaluation/suite/pin-fixed/", comparison_views.pin_fixed, name="eval_pin_fixed"),
    path("evaluation/suite/<int:document>/pin/", regression_suite_views.pin, name="eval_pin"),
    path("evaluation/suite/<int:document>/unpin/", regression_suite_views.unpin, name="eval_unpin"),
    path("evaluation/<int:number>/", run_views.run, name="eval_run"),
    path(
        "evaluation/<int:number>/cancel/",
        controls.cancel_run,
        {"kind": EvalRun, "service": run_services.cancel},
        name="eval_cancel",
    ),
    path(
        "evaluation/<int:number>/resume/",
        controls.resume_run,
        {"kind": EvalRun, "service": run_services.resume},
        name="eval_resume",
    ),
    path("evaluation/<int:number>/outputs.jsonl", run_views.download, name="eval_outputs"),
    path("evaluation/<int:number>/outputs/<int:document>/", run_views.output, name="eval_output"),
    path("evaluation/<int:number>/outputs/<int:document>/challenge/", label_issue_views.challenge, name="challenge"),
    path("evaluation/<int:number>/outputs/<int:document>/gold/", moved_to("challenge"), name="former_challenge"),
    path("evaluation/<int:number>/open/", gate_views.open_outputs, name="eval_open"),
    path("evaluation/<int:number>/rescore/", label_issue_views.rescore, name="eval_rescore"),
    path("evaluation/<int:number>/measure/", run_views.measure, name="eval_measure"),
    path("evaluation/<int:number>/measure/cancel/", run_views.cancel, name="eval_measure_cancel"),
    path("evaluation/<int:number>/hybrid/", hybrid_views.new, name="hybrid_new"),
    path("evaluation/<int:number>/lookalikes/", label_issue_views.queue_lookalikes, name="lookalikes"),
    path("evaluation/lookalikes/<int:pk>/", label_issue_views.lookalikes_queued, name="lookalikes_queued"),
    path("evaluation/challenges/", label_issue_views.challenge_list, name="challenges"),
    path("evaluation/challenges/freeze/", label_issue_views.freeze, name="challenges_freeze"),
    path("evaluation/challenges/rescore/", label_issue_views.rescore_all, name="challenges_rescore"),
    path("studies/label-check/<int:number>/challenge/", label_issue_views.challenge_first, name="suspects_challenge"),
    path("evaluation/gold/", moved_to("challenges"), name="former_challenges"),
    path("evaluation/gold/freeze/", moved_to("challenges_freeze"), name="former_challenges_freeze"),
    path("evaluation/gold/rescore/", moved_to("challenges_rescore"), name="former_challenges_rescore"),
    path("evaluation/pipeline/", pipeline_views.panel, name="pipeline_panel"),
    path("prelabels/", prelabel_views.prelabel_list, name="prelabels"),
    path("prelabels/new/", prelabel_views.new, name="prelabel_new"),
    path("prelabels/<int:number>/", prelabel_views.run, name="prelabel_run"),
    path(
        "prelabels/<int:number>/cancel/",
        controls.cancel_run,
        {"kind": PrelabelRun, "service": prelabel_services.cancel},
        name="prelabel_cancel",
    ),
    path("prelabels/endpoints/new/", endpoint_views.new, name="endpoint_new"),
    path("prelabels/endpoints/<int:pk>/", endpoint_views.endpoint, name="endpoint"),
    path("prelabels/endpoints/<int:pk>/test/", endpoint_views.test, name="endpoint_test"),
    path("prelabels/endpoints/<int:pk>/permit/", endpoint_views.permit, name="endpoint_permit"),
    path("prelabels/endpoints/<int:pk>/remove/", endpoint_views.remove, name="endpoint_remove"),
    path("gates/", approval_views.gates, name="gates"),
    path("gates/policy/", policy_views.policy, name="gate_policy"),
    path("gates/policy/proposals/<int:number>/", policy_views.answer, name="policy_proposal"),
    path("gates/new/", gate_views.new_report, name="gate_report_new"),
    path("gates/judge/", moved_to("gate_report_new"), name="former_gate_report_new"),
    path("gates/<int:number>/", approval_views.report, name="gate_report"),
    path("gates/<int:number>/verify/", approval_views.recompute, name="gate_verify"),
    path("gates/<int:number>/decide/", approval_views.decide, name="gate_decide"),
    path("gates/<int:number>/confirm/", approval_views.confirm, name="gate_confirm"),
    path("gates/<int:number>/withdraw/", approval_views.withdraw, name="gate_withdraw"),
    path("gates/<int:number>/labels/<slug:key>/", gate_views.queue, name="gate_labels"),
    path("gates/<int:number>/report.pdf", approval_views.report_pdf, name="gate_pdf"),
    path("gates/<int:number>/bundle.zip", bundle_views.bundle, name="gate_bundle"),
    path("gates/<int:number>/bundle.sha256", bundle_views.bundle_sha256, name="gate_bundle_sha256"),
    path("gates/<int:number>/report.md", approval_views.report_file, name="gate_markdown"),
    path("gates/audit/", audit_views.audit_log, name="gate_audit"),
    path("gates/audit/export/", audit_views.export, name="gate_audit_export"),
]
