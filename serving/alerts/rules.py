"""The rules of a project: defaults, changes, recipients."""

from collections.abc import Iterable, Mapping
from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction
from django.utils import timezone

from evaluation.audit import services as audit_services
from labeling.models import Contract, Project
from serving.alerts.metrics import METRICS
from serving.models import AlertRecipients, AlertRule
from slmstudio.access import Action, require
from slmstudio.errors import Refused

MAX_RECIPIENTS = 20
COLUMNS = ("limit", "window_seconds", "for_seconds", "min_requests", "missing_fires", "enabled")


def ensure_rules(project: Project) -> None:
    """Creates the rules that a project does not have yet, with their defaults."""
    known = set(AlertRule.objects.filter(project=project).values_list("metric", flat=True))
    missing = [metric for key, metric in METRICS.items() if key not in known]
    if not missing:
        return
    constraints = Contract.objects.filter(project=project).values_list("constraints", flat=True).first() or {}
    AlertRule.objects.bulk_create(
        [
            AlertRule(
                project=project, metric=metric.key, window_seconds=metric.window, for_seconds=metric.for_seconds,
                min_requests=metric.min_requests, enabled=metric.enabled,
                limit=float((metric.key == "p95" and constraints.get("latency_p95_ms")) or metric.limit),
            )
            for metric in missing
        ],
        ignore_conflicts=True,
    )  # fmt: skip


def rules_of(project: Project) -> list[AlertRule]:
    """The rules in the order of the metrics."""
    ensure_rules(project)
    rules = {rule.metric: rule for rule in AlertRule.objects.filter(project=project)}
    return [rules[key] for key in METRICS if key in rules]


def change(*, project: Project, user: User, metric: str, values: Mapping[str, Any]) -> AlertRule:
    """Changes a rule; its state starts over where the rule itself changed.

    Raises:
        Refused: there is no such metric, or a value is out of range; ``field`` names it.
    """
    require(project, user, Action.DEPLOY)
    if metric not in METRICS:
        raise Refused("There is no such alert.", field="form", code="metric")
    ensure_rules(project)
    with transaction.atomic():
        rule = AlertRule.objects.select_for_update().get(project=project, metric=metric)
        before = {name: getattr(rule, name) for name in COLUMNS}
        for name in COLUMNS:
            setattr(rule, name, values[name])
        after = {name: getattr(rule, name) for name in COLUMNS}
        if before == after:
            return rule
        try:
            rule.full_clean(exclude=["project"])
        except ValidationError as error:
            field, messages = next(iter(error.message_dict.items()))
            raise Refused(" ".join(messages), field=field, code="value") from error
        rule.state, rule.since, rule.clear_since, rule.checked_at = AlertRule.State.OK, timezone.now(), None, None
        rule.save()
        details = {"alert": metric, "before": before, "after": after}
        audit_services.record(project=project, user=user, action="changed", about="alerts", details=details)
    return rule


def set_recipients(*, project: Project, user: User, addresses: Iterable[str]) -> AlertRecipients:
    """Stores who gets mail.

    Raises:
        Refused: an address is invalid, or there are too many.
    """
    require(project, user, Action.DEPLOY)
    found = list(dict.fromkeys(one.strip() for one in addresses if one.strip()))
    if len(found) > MAX_RECIPIENTS:
        raise Refused(f"Enter at most {MAX_RECIPIENTS} addresses.", field="addresses", code="too_many")
    for one in found:
        try:
            validate_email(one)
        except ValidationError as error:
            raise Refused(f"{one[:80]} is not a valid email address.", field="addresses", code="address") from error
    with transaction.atomic():
        recipients, _ = AlertRecipients.objects.update_or_create(project=project, defaults={"addresses": found})
        audit_services.record(
            project=project, user=user, action="changed", about="alerts", details={"recipients": len(found)}
        )
    return recipients
