"""The evaluation app: eval runs, comparisons, gates, approvals, the whole loop."""

from typing import TYPE_CHECKING

from django.apps import AppConfig

if TYPE_CHECKING:
    from ninja import Router


class EvaluationConfig(AppConfig):
    """Registers the app's panels, navigation and hooks when Django starts."""

    name = "evaluation"

    def ready(self) -> None:
        from evaluation import navigation  # noqa: F401
        from evaluation.audit import hash_chain
        from evaluation.audit import services as log
        from evaluation.benchmarks import services as benchmarks
        from evaluation.gates.holdout.price import evaluation_price, size_warning
        from evaluation.gates.policy.proposals import propose_from_contract
        from evaluation.label_issues.challenges import open_challenges
        from evaluation.label_issues.label_checks import LABEL_CHECK
        from evaluation.learning_curves.study import LEARNING_CURVE
        from evaluation.pipeline import services as pipeline
        from evaluation.prelabels.services import notify_webhooks
        from evaluation.prompts.study import PROMPT
        from evaluation.runs.erasure import empty_outputs
        from evaluation.runs.services import evaluation_ended, file_keys, holdout_price, need_of_weights
        from evaluation.runs.services import notify_webhooks as notify_of_evaluation
        from labeling.annotation.challenged_labels import challenge_sources
        from labeling.api.routers import more_routers
        from labeling.contract.changes import contract_changed
        from labeling.datasets.queries import holdout_warning
        from labeling.documents.erasure import documents_emptied
        from labeling.studies.kinds import register
        from labeling.studies.services import on_run_changed
        from slmstudio import hooks, panels
        from training.runs.retention import weights_needed

        panels.include("evaluation.panels")
        weights_needed.register(need_of_weights)
        hooks.project_files.register(file_keys)
        documents_emptied.register(empty_outputs)
        hooks.audit_noted.register(log.record)
        hooks.backup_facts.register(hash_chain.backup_facts)
        contract_changed.register(propose_from_contract)
        hooks.run_ended["evaluation.EvalRun"].register(notify_of_evaluation)
        hooks.run_reaped["evaluation.EvalRun"].register(evaluation_ended.call)
        holdout_price.register(evaluation_price)
        holdout_warning.register(size_warning)
        evaluation_ended.register(benchmarks.on_evaluation_ended)
        evaluation_ended.register(pipeline.on_evaluation_ended)
        hooks.run_reaped["evaluation.PrelabelRun"].register(notify_webhooks)
        evaluation_ended.register(on_run_changed)
        for kind in (PROMPT, LEARNING_CURVE, LABEL_CHECK):
            register(kind)
        challenge_sources.register(open_challenges)
        for router in (
            _bundle_router,
            _evaluations_router,
            _gate_reports_router,
            _endpoints_router,
            _benchmarks_router,
        ):
            more_routers.register(router)


def _bundle_router() -> "tuple[str, Router]":
    from evaluation.bundles.api import router

    return "/projects/{slug:slug}/evidence", router


def _evaluations_router() -> "tuple[str, Router]":
    from evaluation.api.evaluations import router

    return "/projects/{slug:slug}/evaluations", router


def _gate_reports_router() -> "tuple[str, Router]":
    from evaluation.api.gate_reports import router

    return "/projects/{slug:slug}/gate-reports", router


def _benchmarks_router() -> "tuple[str, Router]":
    from evaluation.api.benchmarks import router

    return "/projects/{slug:slug}/benchmarks", router


def _endpoints_router() -> "tuple[str, Router]":
    from evaluation.api.endpoints import router

    return "/projects/{slug:slug}/endpoints", router
