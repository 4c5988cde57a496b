"""Alerts: limits on figures, checked by a periodic task, with mail and webhooks about what changed.

An alert fires once its metric has exceeded the limit at every check for ``for_seconds``, and is resolved once it has
been clear of the limit, with a margin, for as long, and for at least ``MIN_CLEAR_SECONDS``: a value that swings around
the limit neither fires nor resolves at each swing. A check without enough requests concludes nothing.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from smtplib import SMTPException
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.mail import EmailMessage
from django.core.validators import validate_email
from django.db import transaction
from django.urls import reverse
from django.utils import timezone

from evaluation.audit import services as audit_services
from labeling.integrations import events
from labeling.models import Contract, Project
from serving.deployments.services import is_waiting_for_package
from serving.models import AlertEvent, AlertRecipients, AlertRule, Deployment, Replica
from serving.monitoring import drift
from serving.monitoring.figures import Cost, Figures, costs, recent
from slmstudio.access import Action, require
from slmstudio.database.transactions import statement_timeout
from slmstudio.errors import Refused
from slmstudio.periodic import for_each
from slmstudio.text.formatting import (
    NONE,
    duration,
    exact_percent,
    format_date_time,
    format_money,
    milliseconds,
    percent,
    short_number,
)

logger = logging.getLogger(__name__)
CHECK_SECONDS = 15.0
_STATEMENT_MS = 5_000
State, Kind, Mail = AlertRule.State, AlertEvent.Kind, AlertEvent.Mail
#: a firing alert is clear where its metric is this share of the limit or less (of a lower limit: this much above it)
CLEAR_SHARE = 0.9
MIN_CLEAR_SECONDS = 300
#: checks that are farther apart do not show that the limit was exceeded in between
MAX_GAP = timedelta(minutes=5)
#: a firing alert that cannot be measured for so long is resolved
FORGET = timedelta(hours=6)
MAX_RECIPIENTS = 20
MAX_EVENTS = 50
#: attempts of a mail, the time between them (times their number), and messages of one pass
MAX_ATTEMPTS, RETRY, _BATCH = 5, timedelta(minutes=1), 5


# -- metrics ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measured:
    """A value, None where nothing can be concluded; ``requests`` in the window; ``note``: more about it."""

    value: float | None
    requests: int = 0
    note: str = ""


@dataclass
class Situation:
    """What metrics are measured in; figures of a window are read once."""

    deployment: Deployment
    now: datetime
    _figures: dict[int, Figures] = field(default_factory=dict)
    _cost: Cost | None = None

    def figures(self, seconds: int) -> Figures:
        """What callers got in the last so many seconds."""
        minutes = max(1, seconds // 60)
        if minutes not in self._figures:
            project = self.deployment.project
            self._cost = self._cost or costs(project, {release.pk for release in self.deployment.serving})
            self._figures[minutes] = recent(project.pk, minutes, self.now, self._cost)
        return self._figures[minutes]


@dataclass(frozen=True)
class Metric:
    """Something that can exceed a limit, with the defaults of its rule.

    ``unit``: percent (values are shares), ms, number or money. ``needs_requests``: concluded from enough requests only.
    """

    key: str
    title: str
    unit: str
    measure: Callable[[Situation, int], Measured]
    limit: float
    window: int = 600
    for_seconds: int = 300
    min_requests: int = 20
    is_lower: bool = False
    needs_requests: bool = True
    enabled: bool = True
    has_limit: bool = True

    def shown(self, value: float | None, currency: str = "") -> str:
        """A value as text."""
        if value is None:
            return NONE
        if self.unit == "money":
            return format_money(value, currency)
        if self.unit == "number":
            return short_number(round(value, 2))
        return percent(value) if self.unit == "percent" else milliseconds(value)


def _measured(value: Callable[[Figures], float | None]) -> Callable[[Situation, int], Measured]:
    def measure(situation: Situation, seconds: int) -> Measured:
        figures = situation.figures(seconds)
        return Measured(value(figures), figures.requests)

    return measure


def _invalid(situation: Situation, seconds: int) -> Measured:
    figures = situation.figures(seconds)
    return Measured(figures.invalid_share, figures.validated)


def _missing_versions(situation: Situation, seconds: int) -> Measured:
    """Versions that should answer and have no replica that does; not those whose package is being built."""
    serving = [release for release in situation.deployment.serving if release.package_id is not None]
    releases = [release for release in serving if not is_waiting_for_package(release)]
    ready = set(Replica.objects.ready().filter(release__in=releases).values_list("release_id", flat=True))
    missing = [release for release in releases if release.pk not in ready]
    return Measured(float(len(missing)), note=", ".join(str(release) for release in missing))


def _drift(situation: Situation, seconds: int) -> Measured:
    """Metrics that the newest daily check found changed; None without a comparison in the last three days."""
    since = (situation.now - timedelta(days=3)).date()
    checks = drift.checks(situation.deployment.project).filter(day__gte=since, problem="")
    check = checks.first()
    if check is None:
        return Measured(None)
    changed = [finding.sentence for finding in drift.findings(check) if finding.changed]
    return Measured(float(check.changed), note=" ".join(changed))


METRICS: dict[str, Metric] = {
    metric.key: metric
    for metric in (
        Metric("failures", "Failed requests", "percent", _measured(lambda sums: sums.failure_share), 0.05),
        Metric("invalid", "Invalid outputs", "percent", _invalid, 0.02, window=1_800, for_seconds=600, min_requests=50),
        Metric("p95", "p95 latency", "ms", _measured(lambda sums: sums.time("total", 0.95)), 10_000, for_seconds=600),
        Metric(
            "queue", "p95 time in the queue", "ms", _measured(lambda sums: sums.time("queue", 0.95)), 5_000,
            for_seconds=600
        ),
        Metric("rejected", "Rejected: queue full", "percent", _measured(lambda sums: sums.rejected_share), 0.01),
        Metric(
            "fallback", "Answered by the fallback", "percent", _measured(lambda sums: sums.fallback_share), 0.3,
            window=3_600, for_seconds=1_800, min_requests=50,
        ),
        Metric(
            "cost", "Cost per 1,000 requests", "money", _measured(lambda sums: sums.cost_per_thousand), 10,
            window=3_600, for_seconds=1_800, min_requests=50, enabled=False,
        ),
        Metric(
            "traffic", "Minimum requests per minute", "number", _measured(lambda sums: sums.per_minute), 0.1,
            window=3_600, for_seconds=600, is_lower=True, needs_requests=False, enabled=False, min_requests=0,
        ),
        Metric(
            "replicas", "Versions not responding", "number", _missing_versions, 0, window=60, for_seconds=120,
            needs_requests=False, min_requests=0,
        ),
        Metric(
            "drift", "Drift", "number", _drift, 0, for_seconds=0, min_requests=0, needs_requests=False, has_limit=False
        ),
    )
}  # fmt: skip


# -- rules ------------------------------------------------------------------------------------------------------------

COLUMNS = ("limit", "window_seconds", "for_seconds", "min_requests", "missing_fires", "enabled")


def rules_of(project: Project) -> list[AlertRule]:
    """The rules in the order of the metrics; those that the project does not have yet are created with defaults."""
    rules = {rule.metric: rule for rule in AlertRule.objects.filter(project=project)}
    missing = [metric for key, metric in METRICS.items() if key not in rules]
    if missing:
        constraints = Contract.objects.filter(project=project).values_list("constraints", flat=True).first() or {}
        new = [
            AlertRule(
                project=project, metric=metric.key, window_seconds=metric.window, for_seconds=metric.for_seconds,
                min_requests=metric.min_requests, enabled=metric.enabled,
                limit=float((metric.key == "p95" and constraints.get("latency_p95_ms")) or metric.limit),
            )
            for metric in missing
        ]  # fmt: skip
        AlertRule.objects.bulk_create(new, ignore_conflicts=True)
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
    if METRICS[metric].unit == "percent" and values["limit"] > 1:
        raise Refused("A limit for a share can be at most 100%.", field="limit", code="value")
    rules_of(project)
    with transaction.atomic():
        rule = AlertRule.objects.select_for_update().get(project=project, metric=metric)
        before = {name: getattr(rule, name) for name in COLUMNS}
        if before == values:
            return rule
        for name in COLUMNS:
            setattr(rule, name, values[name])
        try:
            rule.full_clean(exclude=["project"])
        except ValidationError as error:
            name, messages = next(iter(error.message_dict.items()))
            raise Refused(" ".join(messages), field=name, code="value") from error
        rule.state, rule.since, rule.clear_since, rule.checked_at = State.OK, timezone.now(), None, None
        rule.save()
        details = {"alert": metric, "before": before, "after": dict(values)}
        audit_services.record(project=project, user=user, action="changed", about="alerts", details=details)
    return rule


def set_recipients(*, project: Project, user: User, addresses: Iterable[str]) -> AlertRecipients:
    """Stores who gets mail.

    Raises:
        Refused: an address is invalid, or there are too many.
    """
    require(project, user, Action.DEPLOY)
    stripped = list(dict.fromkeys(address.strip() for address in addresses if address.strip()))
    if len(stripped) > MAX_RECIPIENTS:
        raise Refused(f"Enter at most {MAX_RECIPIENTS} addresses.", field="addresses", code="too_many")
    for address in stripped:
        try:
            validate_email(address)
        except ValidationError as error:
            message = f"{address[:80]} is not a valid email address."
            raise Refused(message, field="addresses", code="address") from error
    with transaction.atomic():
        recipients, _ = AlertRecipients.objects.update_or_create(project=project, defaults={"addresses": stripped})
        audit_services.record(
            project=project, user=user, action="changed", about="alerts", details={"recipients": len(stripped)}
        )
    return recipients


def recipients_of(project: Project) -> list[str]:
    """Who gets mail."""
    row = AlertRecipients.objects.filter(project=project).first()
    return row.addresses if row is not None else []


# -- checks -----------------------------------------------------------------------------------------------------------


def check_all(now: datetime) -> int:
    """Checks every deployment, on any number of hosts; returns how many alerts changed."""
    deployments = Deployment.objects.with_releases().order_by("pk")
    return for_each("alerts", deployments, lambda deployment: check(deployment, now))


def check(deployment: Deployment, now: datetime) -> int:
    """Checks the rules of a deployment; returns how many alerts began to fire or were resolved.

    A host locks the rules while it checks them; others skip them, and rules that were just checked.
    """
    rules_of(deployment.project)
    situation = Situation(deployment, now)
    changed = 0
    with statement_timeout(_STATEMENT_MS):
        rows = AlertRule.objects.select_for_update(skip_locked=True)
        for rule in rows.filter(project=deployment.project, enabled=True, metric__in=METRICS).order_by("pk"):
            if rule.checked_at is None or (now - rule.checked_at).total_seconds() >= CHECK_SECONDS / 2:
                changed += _check(rule, METRICS[rule.metric], situation)
    return changed


def _check(rule: AlertRule, metric: Metric, situation: Situation) -> bool:
    was_firing = rule.state == State.FIRING
    if not situation.deployment.serving:  # nothing is wrong with what is not served
        measured, is_over = Measured(None), None
        rule.checked_at = situation.now
        if rule.state != State.OK:
            rule.state, rule.since, rule.clear_since = State.OK, situation.now, None
        sentence = f"{metric.title}: nothing is deployed anymore."
    else:
        measured = metric.measure(situation, rule.window_seconds)
        is_over = exceeds(rule, metric, measured)
        step(rule, is_over, is_clear(rule, metric, measured), situation.now)
        sentence = _sentence(rule, metric, measured, is_over, situation.deployment.project.currency)
    rule.value = None if is_over is None else measured.value
    rule.note = measured.note[:300]
    rule.save()
    if was_firing == (rule.state == State.FIRING):
        return False
    _inform(rule, measured, sentence, situation)
    return True


def exceeds(rule: AlertRule, metric: Metric, measured: Measured) -> bool | None:
    """Whether a value exceeds the limit of a rule; None: not enough requests."""
    if metric.needs_requests:
        if rule.missing_fires and not measured.requests:
            return True
        if measured.requests < max(1, rule.min_requests):
            return None
    if measured.value is None:
        return None
    return measured.value < rule.limit if metric.is_lower else measured.value > rule.limit


def is_clear(rule: AlertRule, metric: Metric, measured: Measured) -> bool:
    """Whether a value is within the limit with a margin, so that a firing alert can be resolved."""
    if measured.value is None:
        return False
    if metric.is_lower:
        return measured.value >= rule.limit * (2 - CLEAR_SHARE)
    return measured.value <= rule.limit * CLEAR_SHARE


def step(rule: AlertRule, is_over: bool | None, clear: bool, now: datetime) -> None:
    """Moves the state of a rule by one check."""
    gap = rule.checked_at is not None and now - rule.checked_at > MAX_GAP
    rule.checked_at = now
    if rule.state != State.FIRING:
        if not is_over:
            # Without requests a pending alert starts over: what is not measured is not exceeded.
            if rule.state == State.PENDING:
                rule.state, rule.since = State.OK, now
        elif rule.state == State.OK or gap:
            rule.state, rule.since = State.PENDING, now
        if rule.state == State.PENDING and (now - rule.since).total_seconds() >= rule.for_seconds:
            rule.state, rule.since, rule.clear_since = State.FIRING, now, None
    elif is_over is None:
        rule.clear_since = None
        if now - (rule.measured_at or rule.since) >= FORGET:
            rule.state, rule.since = State.OK, now
    elif not clear:
        rule.clear_since = None
    else:
        rule.clear_since = now if gap else rule.clear_since or now
        if (now - rule.clear_since).total_seconds() >= max(rule.for_seconds, MIN_CLEAR_SECONDS):
            rule.state, rule.since, rule.clear_since = State.OK, now, None
    if is_over is not None:
        rule.measured_at = now


def _sentence(rule: AlertRule, metric: Metric, measured: Measured, is_over: bool | None, currency: str) -> str:
    """What happened, with the figures."""
    note = f" {measured.note}." if measured.note else ""
    if is_over is None:
        return f"{metric.title}: resolved because there have been too few requests to measure it for hours."
    if not metric.has_limit:
        return f"{metric.title}:{note}" if is_over else f"{metric.title}: no longer found."
    window = f"in the last {duration(rule.window_seconds)}"
    if measured.value is None:
        return f"{metric.title}: no requests {window}."
    value, limit = metric.shown(measured.value, currency), metric.shown(rule.limit, currency)
    return f"{metric.title}: {value} {window}, limit {limit}.{note}"


def _inform(rule: AlertRule, measured: Measured, sentence: str, situation: Situation) -> None:
    """Stores the event, and sends it to webhooks; mail is sent by a later step."""
    project, kind = situation.deployment.project, Kind.FIRING if rule.state == State.FIRING else Kind.RESOLVED
    event = AlertEvent.objects.create(
        project=project, metric=rule.metric, kind=kind, value=measured.value, limit=rule.limit, sentence=sentence,
        created_at=situation.now, mail=Mail.WAITING if recipients_of(project) else Mail.NONE,
    )  # fmt: skip
    payload = {
        "project": project.slug, "alert": rule.metric, "state": kind, "value": measured.value, "limit": rule.limit,
        "sentence": sentence, "at": situation.now.isoformat(), "event": event.pk,
        "url": reverse("deploy_monitoring", args=[project.slug]),
    }  # fmt: skip
    events.emit(project, f"alert.{kind}", payload)
    logger.info("alert %s of %s: %s", kind, project.slug, sentence)


# -- mail -------------------------------------------------------------------------------------------------------------


def mail_problem() -> str:
    """Why no mail is sent from here, as a sentence."""
    server = settings.EMAIL_BACKEND.endswith(("smtp.EmailBackend", "dummy.EmailBackend"))
    problem = "No email is sent: the mail server is not set up. Ask an administrator."
    return problem if server and not settings.EMAIL_HOST else ""


def send_waiting(now: datetime) -> int:
    """Sends what waits; returns the number of messages sent. Each is sent by one process: its row is locked."""
    waiting = AlertEvent.objects.filter(mail=Mail.WAITING)
    if mail_problem():
        waiting.update(mail=Mail.FAILED, mail_error="The mail server is not set up.")
        return 0
    return sum(_send(pk, now) for pk in list(waiting.order_by("pk").values_list("pk", flat=True)[:_BATCH]))


def _send(pk: int, now: datetime) -> bool:
    with transaction.atomic():
        rows = AlertEvent.objects.select_for_update(skip_locked=True, of=("self",)).select_related("project")
        event = rows.filter(pk=pk, mail=Mail.WAITING).first()
        if event is None or now < event.created_at + event.mail_attempts * RETRY:
            return False
        event.mail_attempts += 1
        try:
            _message(event).send()
            event.mail, event.mail_error = Mail.SENT, ""
        except (SMTPException, OSError) as error:
            logger.warning("mail about alert %s: %s", pk, error)
            event.mail_error = str(error)[:300]
            if event.mail_attempts >= MAX_ATTEMPTS:
                event.mail = Mail.FAILED
        event.save(update_fields=["mail", "mail_attempts", "mail_error"])
        return event.mail == Mail.SENT


def _message(event: AlertEvent) -> EmailMessage:
    project, metric = event.project, METRICS.get(event.metric)
    subject = f"[{project.name}] {event.get_kind_display()}: {metric.title if metric else event.metric}"
    path = reverse("deploy_monitoring", args=[project.slug])
    body = f"{event.sentence}\n\n{format_date_time(event.created_at)}\n{settings.STUDIO_URL.rstrip('/')}{path}\n"
    # A name with a line break would be a header of its own; Django rejects it.
    return EmailMessage(
        " ".join(subject.split()), body, settings.DEFAULT_FROM_EMAIL, to=[], bcc=recipients_of(project)
    )  # fmt: skip


# -- pages ------------------------------------------------------------------------------------------------------------

#: metric -> the reason of the review queue with its requests, and the text of the link
_REVIEW = {"invalid": ("failure", "Review invalid outputs"), "fallback": ("fallback", "Review fallback answers")}
_BADGES = {State.OK: ("done", "ok"), State.PENDING: ("queued", "pending"), State.FIRING: ("failed", "firing")}


@dataclass(frozen=True)
class AlertLine:
    """A rule with what pages show: its value as text, where a user sees more of it, and the text of that link."""

    rule: AlertRule
    title: str
    sentence: str
    value: str
    url: str
    link: str

    @property
    def badge(self) -> tuple[str, str]:
        """The state of its badge, and its label."""
        if not self.rule.enabled:
            return "cancelled", "off"
        if self.rule.checked_at is None and self.rule.state == State.OK:
            return "new", "not checked"
        if self.rule.value is None and self.rule.state == State.OK:
            return "new", "no data"
        return _BADGES[State(self.rule.state)]


def lines(project: Project) -> list[AlertLine]:
    """All rules."""
    return [_line(project, rule) for rule in rules_of(project)]


def firing(project: Project) -> list[AlertLine]:
    """The alerts that fire, the oldest first."""
    rows = AlertRule.objects.firing().filter(project=project, metric__in=METRICS)
    return [_line(project, rule) for rule in rows.order_by("since")]


def history(project: Project) -> list[AlertEvent]:
    """The newest events."""
    return list(AlertEvent.objects.filter(project=project).order_by("-pk")[:MAX_EVENTS])


def _line(project: Project, rule: AlertRule) -> AlertLine:
    metric = METRICS[rule.metric]
    value = metric.shown(rule.value, project.currency) if rule.enabled else NONE
    url, link = f"{reverse('deploy_monitoring', args=[project.slug])}#figures", "View traffic"
    if rule.metric in _REVIEW and Action.REVIEW in getattr(project, "can", ()):
        reason, link = _REVIEW[rule.metric]
        url = f"{reverse('deploy_review', args=[project.slug])}?reason={reason}"
    elif rule.metric == "replicas":
        url, link = reverse("deployment", args=[project.slug]), "View versions"
    elif rule.metric == "drift":
        url, link = f"{reverse('deploy_monitoring', args=[project.slug])}#drift", "View drift"
    return AlertLine(rule, metric.title, _condition(rule, metric, project.currency), value, url, link)


def _condition(rule: AlertRule, metric: Metric, currency: str) -> str:
    """When a rule fires."""
    if not metric.has_limit:
        return "when the daily check finds drift"
    limit = exact_percent(rule.limit) if metric.unit == "percent" else metric.shown(rule.limit, currency)
    text = f"{'less' if metric.is_lower else 'more'} than {limit}"
    if metric.key != "replicas":
        text += f" over the last {duration(rule.window_seconds)}"
    if rule.for_seconds:
        text += f", for {duration(rule.for_seconds)}"
    if metric.needs_requests and rule.min_requests:
        text += f" (at least {rule.min_requests:,} request{'' if rule.min_requests == 1 else 's'})"
    return text
