"""Addresses of the evaluation side, below /p/<slug>/."""

from django.urls import path

from evaluation.views import benchmarks, comparisons, decisions, endpoints, evals, gates, prelabels, runs

urlpatterns = [
    path("benchmark/", benchmarks.benchmarks, name="benchmarks"),
    path("benchmark/new/", benchmarks.new, name="benchmark_new"),
    path("benchmark/<int:number>/", benchmarks.benchmark, name="benchmark"),
    path("benchmark/<int:number>/cancel/", benchmarks.cancel, name="benchmark_cancel"),
    path("evaluation/", evals.evaluations, name="evaluation"),
    path("evaluation/new/", evals.new, name="eval_new"),
    path("evaluation/compare/", comparisons.comparison, name="comparison"),
    path("evaluation/<int:number>/", runs.run, name="eval_run"),
    path("evaluation/<int:number>/cancel/", evals.cancel, name="eval_cancel"),
    path("evaluation/<int:number>/outputs.jsonl", runs.download, name="eval_outputs"),
    path("evaluation/<int:number>/outputs/<int:document>/", runs.output, name="eval_output"),
    path("evaluation/loop/", evals.loop, name="loop_panel"),
    path("prelabels/", prelabels.prelabel_list, name="prelabels"),
    path("prelabels/new/", prelabels.new, name="prelabel_new"),
    path("prelabels/<int:number>/", prelabels.run, name="prelabel_run"),
    path("prelabels/<int:number>/cancel/", prelabels.cancel, name="prelabel_cancel"),
    path("prelabels/endpoints/new/", endpoints.new, name="endpoint_new"),
    path("prelabels/endpoints/<int:pk>/", endpoints.endpoint, name="endpoint"),
    path("prelabels/endpoints/<int:pk>/test/", endpoints.test, name="endpoint_test"),
    path("prelabels/endpoints/<int:pk>/remove/", endpoints.remove, name="endpoint_remove"),
    path("gates/", gates.gates, name="gates"),
    path("gates/policy/", gates.policy, name="gate_policy"),
    path("gates/judge/", gates.judge, name="gate_judge"),
    path("gates/<int:number>/", decisions.report, name="gate_report"),
    path("gates/<int:number>/verify/", decisions.verify, name="gate_verify"),
    path("gates/<int:number>/decide/", decisions.decide, name="gate_decide"),
]
