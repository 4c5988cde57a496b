"""The pages of a webhook: create, change, rotate its secret, and its delivery log."""

import json
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from labeling.integrations import deliveries
from labeling.integrations import webhooks as service
from labeling.integrations.forms import WebhookForm
from labeling.models import Webhook, WebhookDelivery
from slmstudio.access import Action, object_for, project_for
from slmstudio.web.forms import FieldErrors, RefusalMessage
from slmstudio.web.paging import page
from slmstudio.web.requests import SignedInRequest

PER_PAGE = 30


@require_http_methods(["GET", "POST"])
def add(request: SignedInRequest, slug: str) -> HttpResponse:
    """The form of a new webhook; POST creates it."""
    project = project_for(request.user, slug, Action.ADMINISTER)
    form = WebhookForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        with FieldErrors(form):
            hook = service.create(project=project, user=request.user, **form.cleaned_data)
            messages.success(request, "Webhook added. Give the secret to the receiver, then send a test.")
            return redirect("webhook", slug, hook.pk)
    return render(
        request,
        "labeling/integrations/webhook_new.html",
        {"project": project, "form": form},
        status=422 if form.errors else 200,
    )


@require_http_methods(["GET", "POST"])
def webhook(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """A webhook with its log; POST changes it."""
    project, hook = object_for(request.user, slug, Action.ADMINISTER, Webhook, pk=pk)
    form = WebhookForm(initial={"url": hook.url, "events": hook.events, "active": hook.active})
    if request.method == "POST":
        form = WebhookForm(request.POST)
        if form.is_valid():
            with FieldErrors(form):
                service.change(webhook=hook, user=request.user, **form.cleaned_data)
                messages.success(request, "Saved.")
                return redirect("webhook", slug, hook.pk)
    log = _log(request, hook)
    context = {
        "project": project,
        "hook": hook,
        "form": form,
        "secret": deliveries.secret_of(hook),
        "log": log,
        "live": any(row.status == WebhookDelivery.Status.WAITING for row in log.rows),
        "retry_schedule": deliveries.retry_schedule(),
        "retention_days": deliveries.RETENTION_DAYS,
    }
    fragment = request.htmx and not request.htmx.history_restore_request  # type: ignore[attr-defined]
    template = f"labeling/integrations/webhook.html{'#log' if fragment else ''}"
    return render(request, template, context, status=422 if form.errors else 200)


@require_POST
def rotate_secret(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """Replaces the secret."""
    _, hook = object_for(request.user, slug, Action.ADMINISTER, Webhook, pk=pk)
    service.rotate_secret(webhook=hook, user=request.user)
    messages.success(request, "The secret was replaced. Give the new one to the receiver.")
    return redirect("webhook", slug, pk)


@require_POST
def send_test(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """Sends a test event."""
    _, hook = object_for(request.user, slug, Action.ADMINISTER, Webhook, pk=pk)
    deliveries.send_test(webhook=hook, user=request.user)
    messages.info(request, "A test was sent. The log shows its result.")
    return redirect("webhook", slug, pk)


@require_POST
def delete(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """Deletes a webhook and its log."""
    _, hook = object_for(request.user, slug, Action.ADMINISTER, Webhook, pk=pk)
    service.delete(webhook=hook, user=request.user)
    messages.success(request, f"The webhook {service.redacted_url(hook.url)} was deleted.")
    return redirect("settings", slug)


@require_POST
def redeliver(request: SignedInRequest, slug: str, pk: int, delivery: int) -> HttpResponse:
    """Sends a delivery again."""
    _, hook = object_for(request.user, slug, Action.ADMINISTER, Webhook, pk=pk)
    row = get_object_or_404(WebhookDelivery, webhook=hook, pk=delivery)
    with RefusalMessage(request):
        deliveries.redeliver(delivery=row, user=request.user)
        messages.info(request, "The delivery was queued again with the same ID.")
    return redirect("webhook", slug, pk)


def _log(request: SignedInRequest, hook: Webhook) -> Any:
    """A page of the log, the newest first. Invalid parameters are ignored."""
    keys = {}
    for name in ("after", "before"):
        text = request.GET.get(name, "")
        if text.isascii() and text.isdigit() and len(text) < 19:
            keys[name] = int(text)
    log = page(hook.deliveries.all(), newest=True, size=PER_PAGE, **keys)
    for row in log.rows:
        row.data_text = json.dumps(row.payload, indent=2, ensure_ascii=False)
    return log
