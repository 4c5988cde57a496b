"""The evaluation app: eval runs, comparisons, gates, approvals, the whole loop."""

from django.apps import AppConfig


class EvaluationConfig(AppConfig):
    """Registers the app's panels, and what follows when a lost evaluation is swept, when Django starts."""

    name = "evaluation"

    def ready(self) -> None:
        from evaluation import panels  # noqa: F401
        from evaluation.audit import services as log
        from evaluation.benchmarks.services import advance_live as advance_benchmarks
        from evaluation.gates.policy.proposals import propose_from_contract
        from evaluation.label_issues.challenges import doubts_of, look_everywhere
        from evaluation.pipeline.services import advance_live
        from evaluation.prelabels.services import tell
        from evaluation.runs.services import file_keys, tell_loop
        from labeling.projects.contract_changes import follow
        from labeling.review.challenges import known_to
        from slmstudio.audit import keep_in
        from slmstudio.runs.reaper import after_each_sweep, when_swept
        from slmstudio.storage.quotas import files_at

        files_at(file_keys)
        keep_in(log.record)
        follow(propose_from_contract)
        when_swept("evaluation.EvalRun", tell_loop)
        when_swept("evaluation.PrelabelRun", tell)
        after_each_sweep(advance_live)
        after_each_sweep(advance_benchmarks)
        known_to(doubts_of)
        after_each_sweep(look_everywhere)
