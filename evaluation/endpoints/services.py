"""Endpoints: add, change, test and remove them."""

import threading
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from evaluation.audit import services as audit_services
from evaluation.endpoints import permits
from evaluation.inference.clients.document_client import DocumentClient
from evaluation.inference.completion import STATUS_LABELS, Completion, ResponseStatus
from evaluation.inference.endpoint_keys import api_key, endpoint_config
from evaluation.models import Endpoint
from labeling.annotation import predictions
from labeling.models import Document, Project
from slmstudio.access import Action, require
from slmstudio.errors import Refused
from slmstudio.web import outbound

TEST_SECONDS = 30
_TEST_PASSES = (ResponseStatus.VALID, ResponseStatus.INVALID, ResponseStatus.NOT_JSON, ResponseStatus.CUT_OFF)
_CHANGEABLE = (
    "name", "url", "model", "key_variable", "structured", "logprobs", "timeout_seconds", "concurrency", "max_tokens",
)  # fmt: skip
#: values that are kept if they are not passed; prices per million tokens, None: unknown; window size, None: no windows
_OPTIONAL = ("price_in", "price_out", "reasoning_effort", "window_tokens")
_BOUNDS = {
    "timeout_seconds": (1, 600),
    "concurrency": (1, 32),
    "max_tokens": (16, 131_072),
    "window_tokens": (128, 1_000_000),
}
_SAMPLE_TEXT = "ACME SUPPLIES\nInvoice A-1029 of Jan 14, 2026\nTotal USD 1,248.50"


@transaction.atomic
def save_endpoint(*, project: Project, user: User, endpoint: Endpoint | None = None, **values: Any) -> Endpoint:
    """Adds or changes an endpoint. ``values``: by column; prices, reasoning effort and window size are kept if they are
    not passed.

    Raises:
        Refused: ``field`` is the column whose value cannot be used.
    """
    require(project, user, Action.RUN)
    optional = {name: values[name] for name in _OPTIONAL if name in values}
    values = {name: values[name].strip() if isinstance(values[name], str) else values[name] for name in _CHANGEABLE}
    _check(project, endpoint, {**optional, **values})
    row = endpoint or Endpoint(project=project, created_by=user)
    for name, value in {**values, **optional}.items():
        setattr(row, name, value)
    row.full_clean(exclude=["project", "created_by"])
    row.save()
    audit_services.record(
        project=project,
        user=user,
        action="changed" if endpoint else "added",
        about=f"endpoint {row.name}",
        details={name: values[name] for name in ("url", "model", "key_variable")},
    )
    return row


def _check(project: Project, endpoint: Endpoint | None, values: dict[str, Any]) -> None:
    """Raises Refused for the first value that cannot be used."""
    for name, message in (("name", "Enter a name."), ("model", "Enter the model name.")):
        if not values[name]:
            raise Refused(message, field=name)
    for name, (low, high) in _BOUNDS.items():
        if (value := values.get(name)) is not None and not low <= value <= high:
            raise Refused(f"Enter a number between {low:,} and {high:,}.", field=name)
    same = Endpoint.objects.in_use(project).filter(name=values["name"])
    if same.exclude(pk=endpoint.pk if endpoint else 0).exists():
        raise Refused("An endpoint with this name already exists. Choose another name.", field="name")
    try:
        outbound.check(values["url"])
    except Refused as refusal:
        raise Refused(str(refusal), field="url") from refusal
    if "?" in values["url"] or "#" in values["url"]:
        raise Refused("The URL must not contain ? or #: a key in it would be visible to all members.", field="url")
    if values["url"].rstrip("/").endswith("/chat/completions"):
        raise Refused("Remove /chat/completions: the URL usually ends in /v1.", field="url")
    if values["key_variable"]:
        api_key(values["key_variable"], values["url"], project)


def test_endpoint(*, endpoint: Endpoint, user: User) -> dict[str, Any]:
    """Sends one document and stores the result. Never raises for what the endpoint does.

    The document is the first outside the hold-out without withheld pre-labels, because the output is shown; a sample
    text if none of the first hundred qualifies.
    """
    require(endpoint.project, user, Action.RUN)
    project = endpoint.project
    compiled = project.schema_version.compiled
    text = _test_text(project)
    try:
        config = endpoint_config(endpoint)
    except Refused as refusal:
        completion, options = Completion(ResponseStatus.REFUSED, refusal.message), {}
    else:
        instruction, config = project.contract.instruction, config.with_timeout(TEST_SECONDS)
        client = DocumentClient(config, compiled, instruction, threading.Event(), max_attempts=1)
        try:
            completion = client.read(client.windows(text)[0].text)
            options = client.options
            if client.has_answered:
                endpoint.save_detected_options(options)
        finally:
            client.close()
    result = {
        "outcome": str(completion.status),
        "words": STATUS_LABELS[completion.status],
        "detail": completion.detail,
        "ok": completion.status in _TEST_PASSES,
        "text": completion.text[:2000],
        "confidence": bool(completion.confidence),
        "seconds": completion.seconds,
        "tokens": completion.tokens,
        "tokens_thought": completion.reasoning_tokens,
        **options,
    }
    Endpoint.objects.filter(pk=endpoint.pk).update(tested_at=timezone.now(), test_result=result)
    endpoint.refresh_from_db(fields=["tested_at", "test_result"])
    return result


def _test_text(project: Project) -> str:
    keys = Document.objects.filter(project=project, holdout=False).order_by("pk").values_list("pk", flat=True)[:100]
    chosen = next((pk for pk in keys if not predictions.is_withheld(project, pk)), None)
    return _SAMPLE_TEXT if chosen is None else str(Document.objects.values_list("text", flat=True).get(pk=chosen))


@transaction.atomic
def retire(*, endpoint: Endpoint, user: User) -> bool:
    """Removes an endpoint: no more requests are sent, running evaluations stop, and its hold-out permission ends.
    Existing outputs are kept. False if it was removed before.
    """
    require(endpoint.project, user, Action.RUN)
    done = Endpoint.objects.filter(pk=endpoint.pk, retired_at__isnull=True).update(retired_at=timezone.now())
    if done:
        audit_services.record(project=endpoint.project, user=user, action="removed", about=f"endpoint {endpoint.name}")
        for purpose in permits.Purpose:
            permits.withdraw(endpoint=endpoint, user=user, purpose=purpose)
    return bool(done)
