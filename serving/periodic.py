"""The periodic tasks of the serving app."""

from collections.abc import Callable
from datetime import datetime

from django.utils import timezone

from serving.batches import services as batches
from serving.comparisons import split
from serving.confidence import policy
from serving.monitoring import alerts, drift, figures
from serving.retention import services as retention
from serving.review import judgments, retraining, sampling
from serving.rollouts import watch as rollouts
from slmstudio.periodic import PeriodicTask


def _at_this_time(function: Callable[[datetime], object]) -> Callable[[], object]:
    return lambda: function(timezone.now())


TASKS = [
    PeriodicTask("rollouts", rollouts.CHECK_SECONDS, _at_this_time(rollouts.check_all)),
    PeriodicTask("live splits", split.CHECK_SECONDS, _at_this_time(split.check_all)),
    PeriodicTask("error budgets", 15, _at_this_time(policy.check_budgets)),
    PeriodicTask("traffic", 5, _at_this_time(lambda now: figures.count_marked(now) >= figures.MAX_MINUTES)),
    PeriodicTask("alerts", alerts.CHECK_SECONDS, _at_this_time(alerts.check_all)),
    PeriodicTask("mail", 10, _at_this_time(alerts.send_waiting)),
    PeriodicTask("sampling", 30, sampling.draw_all),
    PeriodicTask("gold labels of requests", 30, judgments.judge_all, lock="judgments"),
    PeriodicTask("retraining", 30, retraining.propose_all, lock="retraining"),
    PeriodicTask("drift", 600, _at_this_time(drift.check_due)),
    PeriodicTask("old figures", 3_600, _at_this_time(figures.delete_old)),
    PeriodicTask("retention", 3_600, retention.run_retention, lock="retention"),
    PeriodicTask("files of batches", 3_600, batches.erase_expired, lock="retention"),
]
