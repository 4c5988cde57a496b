"""Webhooks of a project: adding one, changing it, its secret, and the log of what was sent."""

from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from labeling.integrations import webhooks as service
from labeling.models import Webhook, WebhookDelivery
from labeling.projects.settings_forms import WebhookForm
from slmstudio.access import Action, object_for, project_for
from slmstudio.errors import Refused
from slmstudio.web.paging import page
from slmstudio.web.requests import SignedInRequest

PER_PAGE = 30


@require_http_methods(["GET", "POST"])
def add(request: SignedInRequest, slug: str) -> HttpResponse:
    """The form of a new webhook; POST adds it."""
    project = project_for(request.user, slug, Action.ADMINISTER)
    form = WebhookForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            hook = service.create(project=project, user=request.user, **form.cleaned_data)
        except Refused as refusal:
            form.add_error(None if refusal.field == "form" else refusal.field, refusal.message)
        else:
            messages.success(request, "Added. Give the receiver the secret, then send a test.")
            return redirect("webhook", slug, hook.pk)
    return render(
        request,
        "labeling/integrations/webhook_new.html",
        {"project": project, "form": form},
        status=422 if form.errors else 200,
    )


@require_http_methods(["GET", "POST"])
def webhook(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """One webhook with its log; POST changes it."""
    project, hook = object_for(request.user, slug, Action.ADMINISTER, Webhook, pk=pk)
    form = WebhookForm(initial={"url": hook.url, "events": hook.events, "active": hook.active})
    if request.method == "POST":
        form = WebhookForm(request.POST)
        if form.is_valid():
            try:
                service.change(webhook=hook, user=request.user, **form.cleaned_data)
            except Refused as refusal:
                form.add_error(None if refusal.field == "form" else refusal.field, refusal.message)
            else:
                messages.success(request, "Saved.")
                return redirect("webhook", slug, hook.pk)
    log = _log(request, hook)
    context = {
        "project": project,
        "hook": hook,
        "form": form,
        "secret": service.secret_of(hook),
        "log": log,
        "live": any(row.status == WebhookDelivery.Status.WAITING for row in log.rows),
        "pauses": service.pauses_in_words(),
        "kept_days": service.KEPT_DAYS,
    }
    fragment = request.htmx and not request.htmx.history_restore_request  # type: ignore[attr-defined]
    template = f"labeling/integrations/webhook.html{'#log' if fragment else ''}"
    return render(request, template, context, status=422 if form.errors else 200)


@require_POST
def new_secret(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """Makes another secret."""
    _, hook = object_for(request.user, slug, Action.ADMINISTER, Webhook, pk=pk)
    service.new_secret(webhook=hook, user=request.user)
    messages.success(request, "There is another secret now. Give it to the receiver; the old one signs nothing more.")
    return redirect("webhook", slug, pk)


@require_POST
def send_test(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """Sends a test."""
    _, hook = object_for(request.user, slug, Action.ADMINISTER, Webhook, pk=pk)
    service.send_test(webhook=hook, user=request.user)
    messages.info(request, "A test is on its way; the log shows how it went.")
    return redirect("webhook", slug, pk)


@require_POST
def remove(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """Removes a webhook and its log."""
    _, hook = object_for(request.user, slug, Action.ADMINISTER, Webhook, pk=pk)
    service.remove(webhook=hook, user=request.user)
    messages.success(request, f"{service.shown_url(hook.url)} is told nothing any longer.")
    return redirect("settings", slug)


@require_POST
def redeliver(request: SignedInRequest, slug: str, pk: int, delivery: int) -> HttpResponse:
    """Sends a message again."""
    _, hook = object_for(request.user, slug, Action.ADMINISTER, Webhook, pk=pk)
    row = get_object_or_404(WebhookDelivery, webhook=hook, pk=delivery)
    try:
        service.redeliver(delivery=row)
        messages.info(request, "It is sent again, under the same id.")
    except Refused as refusal:
        messages.warning(request, refusal.message)
    return redirect("webhook", slug, pk)


def _log(request: SignedInRequest, hook: Webhook) -> Any:
    """A page of the log, the newest first; what is no number in the address is left out."""
    keys = {}
    for name in ("after", "before"):
        text = request.GET.get(name, "")
        if text.isascii() and text.isdigit() and len(text) < 19:
            keys[name] = int(text)
    return page(hook.deliveries.all(), newest=True, size=PER_PAGE, **keys)
