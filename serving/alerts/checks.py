"""Checks the rules of all deployments, and informs people of what changed.

``check_all`` runs in the loop of ``manage.py serve``, on any number of hosts: a host locks the rules of a project while
it checks them, others skip them, and rules that were just checked are left alone.
"""

import logging
from datetime import datetime

from django.db import DatabaseError, connection, transaction
from django.urls import reverse

from labeling.integrations import events
from serving.alerts import messages
from serving.alerts.metrics import METRICS, Measured, Metric, Situation
from serving.alerts.rules import ensure_rules
from serving.alerts.states import Change, Level, State, level, step
from serving.models import AlertEvent, AlertRecipients, AlertRule, Deployment

logger = logging.getLogger(__name__)
CHECK_SECONDS = 15.0
_STATEMENT_TIMEOUT = "5s"
Kind = AlertEvent.Kind


def check_all(now: datetime) -> int:
    """Checks every deployment; returns how many alerts changed."""
    changed = 0
    for pk in Deployment.objects.order_by("pk").values_list("pk", flat=True):
        try:
            changed += check(pk, now)
        except DatabaseError:
            raise
        except Exception:  # other projects are checked all the same
            logger.exception("alerts of deployment %s", pk)
    return changed


def check(deployment_id: int, now: datetime) -> int:
    """Checks the rules of one deployment; returns how many alerts began to fire or were resolved."""
    deployment: Deployment = Deployment.objects.with_releases().get(pk=deployment_id)
    ensure_rules(deployment.project)
    situation = Situation(deployment.project, deployment, now)
    changed = 0
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('statement_timeout', %s, true)", [_STATEMENT_TIMEOUT])
        rules = AlertRule.objects.select_for_update(skip_locked=True).filter(project=deployment.project, enabled=True)
        for rule in rules.order_by("pk"):
            recently = rule.checked_at is not None and (now - rule.checked_at).total_seconds() < CHECK_SECONDS / 2
            if rule.metric in METRICS and not recently:
                changed += _check(rule, METRICS[rule.metric], situation)
    return changed


def _check(rule: AlertRule, metric: Metric, situation: Situation) -> bool:
    now = situation.now
    state = State(rule.state, rule.since, rule.clear_since, rule.checked_at, rule.measured_at)
    if not situation.deployment.serving:
        measured, found = Measured(None), Level.UNKNOWN
        if state.name == AlertRule.State.FIRING:  # nothing is served, so nothing is wrong with it
            rule.state, rule.since, rule.clear_since = AlertRule.State.OK, now, None
            rule.save()
            _inform(rule, Kind.RESOLVED, Measured(None), f"{metric.title}: nothing is deployed anymore.", situation)
            return True
    else:
        measured = metric.measure(situation, rule.window_seconds)
        found = _level(rule, metric, measured)
    state, change = step(state, found, now, for_seconds=rule.for_seconds)
    rule.state, rule.since, rule.clear_since = state.name, state.since, state.clear_since
    rule.checked_at, rule.measured_at = state.checked_at, state.measured_at
    rule.value = None if found == Level.UNKNOWN else measured.value
    rule.note = measured.note[:300]
    rule.save()
    if change == Change.NONE:
        return False
    kind = Kind.FIRING if change == Change.FIRED else Kind.RESOLVED
    sentence = messages.event_sentence(rule, metric, measured, change, situation.project.currency)
    _inform(rule, kind, measured, sentence, situation)
    return True


def _level(rule: AlertRule, metric: Metric, measured: Measured) -> Level:
    if metric.needs_requests:
        if rule.missing_fires and not measured.requests:
            return Level.OVER
        if (measured.requests or 0) < max(1, rule.min_requests):
            return Level.UNKNOWN
    return level(measured.value, rule.limit, is_lower=metric.is_lower)


def _inform(rule: AlertRule, kind: str, measured: Measured, sentence: str, situation: Situation) -> None:
    """Stores the event, and sends it to webhooks; mail is sent by a later step."""
    project = situation.project
    recipients = AlertRecipients.objects.filter(project=project).first()
    event = AlertEvent.objects.create(
        project=project, metric=rule.metric, kind=kind, value=measured.value, limit=rule.limit, sentence=sentence,
        created_at=situation.now,
        mail=AlertEvent.Mail.WAITING if recipients and recipients.addresses else AlertEvent.Mail.NONE,
    )  # fmt: skip
    payload = {
        "project": project.slug, "alert": rule.metric, "state": kind, "value": measured.value, "limit": rule.limit,
        "sentence": sentence, "at": situation.now.isoformat(), "event": event.pk,
        "url": reverse("deploy_monitoring", args=[project.slug]),
    }  # fmt: skip
    events.emit(project, f"alert.{kind}", payload)
    logger.info("alert %s of %s: %s", kind, project.slug, sentence)
