"""What pages show of alerts."""

from dataclasses import dataclass

from django.conf import settings
from django.urls import reverse

from labeling.models import Project
from serving.alerts import messages, rules
from serving.models import AlertEvent, AlertRecipients, AlertRule
from slmstudio.access import Action

MAX_EVENTS = 50
State = AlertRule.State
#: metric -> the page that shows its requests, for users who may review, and the text of the link
_REVIEW = {
    "invalid": ("failure", "Review invalid outputs"),
    "fallback": ("fallback", "Review fallback answers"),
}
_PAGES = {"replicas": ("deployment", "View versions"), "drift": ("deploy_drift", "View drift")}
_BADGES = {State.OK: ("done", "ok"), State.PENDING: ("queued", "pending"), State.FIRING: ("failed", "firing")}


@dataclass(frozen=True)
class AlertLine:
    """A rule with what it says."""

    rule: AlertRule
    title: str
    sentence: str
    value: str
    #: where the user sees more of it, and the text of the link
    url: str
    link: str

    @property
    def badge(self) -> tuple[str, str]:
        """The state of its badge, and its label."""
        if not self.rule.enabled:
            return "cancelled", "off"
        if self.rule.checked_at is None and self.rule.state == State.OK:
            return "new", "not checked"
        return _BADGES[State(self.rule.state)]


@dataclass(frozen=True)
class EventLine:
    """Something that happened."""

    event: AlertEvent
    title: str


def lines(project: Project) -> list[AlertLine]:
    """All rules."""
    return [_line(project, rule) for rule in rules.rules_of(project)]


def firing(project: Project) -> list[AlertLine]:
    """The alerts that fire, the oldest first."""
    return [_line(project, rule) for rule in AlertRule.objects.firing().filter(project=project).order_by("since")]


def _line(project: Project, rule: AlertRule) -> AlertLine:
    value = messages.shown(rule.metric, rule.value, project.currency) if rule.enabled else "–"
    sentence = messages.rule_sentence(rule, project.currency)
    return AlertLine(rule, messages.title(rule.metric), sentence, value, *_more(project, rule.metric))


def _more(project: Project, metric: str) -> tuple[str, str]:
    if metric in _REVIEW and Action.REVIEW in getattr(project, "can", ()):
        reason, link = _REVIEW[metric]
        return f"{reverse('deploy_review', args=[project.slug])}?reason={reason}", link
    view, link = _PAGES.get(metric, ("deploy_monitoring", "View traffic"))
    return reverse(view, args=[project.slug]), link


def events(project: Project) -> list[EventLine]:
    """The newest events."""
    rows = AlertEvent.objects.filter(project=project).order_by("-pk")[:MAX_EVENTS]
    return [EventLine(row, messages.title(row.metric)) for row in rows]


def addresses(project: Project) -> str:
    """Who gets mail, one a line."""
    found = AlertRecipients.objects.filter(project=project).first()
    return "\n".join(found.addresses) if found else ""


def mail_problem() -> str:
    """Why no mail is sent from here, as a sentence."""
    smtp = settings.EMAIL_BACKEND.endswith("smtp.EmailBackend")
    problem = "No email is sent: the mail server is not set up. Ask an administrator."
    return problem if smtp and not settings.EMAIL_HOST else ""
