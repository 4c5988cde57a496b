"""Mail about alerts: sent by the loop of ``manage.py serve``, tried again where the mail server does not answer."""

import logging
from datetime import datetime, timedelta
from smtplib import SMTPException

from django.conf import settings
from django.core.mail import EmailMessage
from django.db import transaction
from django.urls import reverse

from serving.alerts import messages
from serving.models import AlertEvent, AlertRecipients
from slmstudio.text.formatting import format_date_time

logger = logging.getLogger(__name__)
Mail = AlertEvent.Mail
MAX_ATTEMPTS = 5
#: between attempts, times their number
RETRY = timedelta(minutes=1)
#: messages of one pass, so that a slow mail server does not hold up the loop
_BATCH = 5


def send_waiting(now: datetime) -> int:
    """Sends what waits; returns the number of messages sent. Each is sent by one process: its row is locked."""
    sent = 0
    if not settings.EMAIL_HOST and settings.EMAIL_BACKEND.endswith("smtp.EmailBackend"):
        waiting = AlertEvent.objects.filter(mail=Mail.WAITING)
        waiting.update(mail=Mail.FAILED, mail_error="The mail server is not set up.")
        return 0
    for pk in list(AlertEvent.objects.filter(mail=Mail.WAITING).order_by("pk").values_list("pk", flat=True)[:_BATCH]):
        sent += _send(pk, now)
    return sent


def _send(pk: int, now: datetime) -> bool:
    with transaction.atomic():
        rows = AlertEvent.objects.select_for_update(skip_locked=True, of=("self",)).select_related("project")
        event = rows.filter(pk=pk, mail=Mail.WAITING).first()
        if event is None or now < event.created_at + event.mail_attempts * RETRY:
            return False
        recipients = AlertRecipients.objects.filter(project=event.project).first()
        event.mail_attempts += 1
        try:
            _message(event, recipients.addresses if recipients else []).send()
            event.mail, event.mail_error = Mail.SENT, ""
        except (SMTPException, OSError) as error:
            logger.warning("mail about alert %s: %s", pk, error)
            event.mail_error = str(error)[:300]
            if event.mail_attempts >= MAX_ATTEMPTS:
                event.mail = Mail.FAILED
        event.save(update_fields=["mail", "mail_attempts", "mail_error"])
        return event.mail == Mail.SENT


def _message(event: AlertEvent, addresses: list[str]) -> EmailMessage:
    project = event.project
    subject = f"[{project.name}] {event.get_kind_display()}: {messages.title(event.metric)}"
    path = reverse("deploy_monitoring", args=[project.slug])
    body = f"{event.sentence}\n\n{format_date_time(event.created_at)}\n{settings.STUDIO_URL.rstrip('/')}{path}\n"
    # A name with a line break would be a header of its own; Django rejects it.
    return EmailMessage(" ".join(subject.split()), body, settings.DEFAULT_FROM_EMAIL, to=[], bcc=addresses)
