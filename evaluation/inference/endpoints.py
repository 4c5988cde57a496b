"""Models elsewhere: adding, changing, testing and putting aside; and the keys that are sent to them.

A key lives in the environment of the processes alone. A row names its variable, which begins with ``SLM_KEY_``, and the
key is sent only to hosts that the variable ``<name>_HOSTS`` lists, by projects whose slug the variable
``<name>_PROJECTS`` lists (``*``: by any): whoever may add an endpoint can use the keys of their project, and have none
sent to a machine of their own.
"""

import os
import re
import threading
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from evaluation.audit import services as audit_services
from evaluation.gates.holdout import permits
from evaluation.inference.answers import WORDS, Outcome
from evaluation.inference.openai_client import LIMITS, Address, Chat, Said
from evaluation.models import Endpoint
from labeling.annotation import predictions
from labeling.models import Document, Project
from slmstudio.contract.schema.compiled import dumps
from slmstudio.errors import Refused
from slmstudio.web import outbound
from training import prompts

KEY = re.compile(r"SLM_KEY_[A-Z0-9_]{1,60}")
TEST_SECONDS = 30
_CHANGEABLE = (
    "name", "url", "model", "key_variable", "structured", "logprobs", "timeout_seconds", "at_once", "max_tokens",
)  # fmt: skip
#: values that stay where they are not among those given; prices of a million tokens, None: not known
_KEPT = ("price_in", "price_out", "reasoning_effort")
_BOUNDS = {"timeout_seconds": (1, 600), "at_once": (1, 32), "max_tokens": (16, 131_072)}
_TEXT = "ACME SUPPLIES\nInvoice A-1029 of Jan 14, 2026\nTotal USD 1,248.50"


@transaction.atomic
def save_endpoint(*, project: Project, user: User, endpoint: Endpoint | None = None, **values: Any) -> Endpoint:
    """Adds an endpoint, or changes one. Values by the names of its columns; prices and the reasoning effort stay where
    they are not among them.

    Raises:
        Refused: with the name of the value that cannot be used, and why.
    """
    kept = {name: values[name] for name in _KEPT if name in values}
    values = {name: values[name].strip() if isinstance(values[name], str) else values[name] for name in _CHANGEABLE}
    _check(project, endpoint, values)
    row = endpoint or Endpoint(project=project, created_by=user)
    for name, value in {**values, **kept}.items():
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
    for name, words in (("name", "Give it a name."), ("model", "Name the model that is to be asked for.")):
        if not values[name]:
            raise Refused(words, field=name)
    for name, (low, high) in _BOUNDS.items():
        if not low <= values[name] <= high:
            raise Refused(f"This is between {low:,} and {high:,}.", field=name)
    same = Endpoint.objects.in_use(project).filter(name=values["name"])
    if same.exclude(pk=endpoint.pk if endpoint else 0).exists():
        raise Refused("There is an endpoint of this name already.", field="name")
    try:
        outbound.check(values["url"])
    except Refused as refusal:
        raise Refused(str(refusal), field="url") from refusal
    if "?" in values["url"] or "#" in values["url"]:
        raise Refused(
            "An address with ? or # in it is not taken: a key in it would be seen by everybody here.", field="url"
        )
    if values["url"].rstrip("/").endswith("/chat/completions"):
        raise Refused("Leave out /chat/completions: the address usually ends in /v1.", field="url")
    if values["key_variable"]:
        _key(values["key_variable"], values["url"], project)


def _key(variable: str, url: str, project: Project) -> str:
    """The key in a variable, for an address it may be sent to by a project that may use it. Raises Refused."""
    if not KEY.fullmatch(variable):
        raise Refused(
            "The name of a key's variable is SLM_KEY_ and capital letters, digits or _.", field="key_variable"
        )
    key = os.environ.get(variable, "").strip()
    if not key:
        raise Refused(f"{variable} is not set where the studio runs. An administrator sets it.", field="key_variable")
    if not key.isascii() or not key.isprintable():
        raise Refused(f"{variable} holds characters that cannot be sent in a header.", field="key_variable")
    if not {"*", project.slug.casefold()} & set(_listed(f"{variable}_PROJECTS")):
        raise Refused(
            f"This project may not use {variable}: {variable}_PROJECTS does not name {project.slug}. An administrator "
            "sets it.",
            field="key_variable",
        )
    parts = urlsplit(url)
    host = (parts.hostname or "").casefold()
    allowed = _listed(f"{variable}_HOSTS")
    if host not in allowed:
        raise Refused(
            f"This key is not sent to {host}: {variable}_HOSTS names "
            f"{', '.join(allowed) if allowed else 'no host'}. An administrator sets it.",
            field="key_variable",
        )
    if parts.scheme != "https" and not outbound.is_internal(host):
        raise Refused("A key is sent over https:// only.", field="url")
    return key


def _listed(variable: str) -> list[str]:
    """The values of a variable, which stand between commas."""
    return [one.strip().casefold() for one in os.environ.get(variable, "").split(",") if one.strip()]


def address_of(endpoint: Endpoint) -> Address:
    """What a call needs, the key included. Raises Refused where the key is not there or may not be sent."""
    return Address(
        url=endpoint.url,
        model=endpoint.model,
        key=_key(endpoint.key_variable, endpoint.url, endpoint.project) if endpoint.key_variable else "",
        structured=endpoint.structured,
        logprobs=endpoint.logprobs,
        timeout_seconds=endpoint.timeout_seconds,
        at_once=endpoint.at_once,
        max_tokens=endpoint.max_tokens,
        reasoning_effort=endpoint.reasoning_effort,
        **_found(endpoint),
    )


def _found(endpoint: Endpoint) -> dict[str, Any]:
    """How this model at this address was found to take its parameters; {} where it was not asked yet."""
    known = endpoint.accepts
    same = (known.get("url"), known.get("model")) == (endpoint.url, endpoint.model)
    if not same or known.get("limit_name") not in LIMITS:
        return {}
    temperature = bool(known.get("temperature", True))
    return {"limit_name": known["limit_name"], "temperature": temperature, "limit_known": True}


def remember(endpoint: Endpoint, way: Mapping[str, Any]) -> None:
    """Keeps how an endpoint was asked in the end, so that the next run need not find out again."""
    found = {"url": endpoint.url, "model": endpoint.model}
    found |= {name: way[name] for name in ("limit_name", "temperature")}
    if found != endpoint.accepts:
        Endpoint.objects.filter(pk=endpoint.pk, url=endpoint.url, model=endpoint.model).update(accepts=found)
        endpoint.accepts = found


def test_endpoint(*, endpoint: Endpoint) -> dict[str, Any]:
    """Asks about one document and notes what came of it. Never raises for what the endpoint does.

    The document is the first that is not held out and whose pre-labels are not withheld, because the answer is shown;
    or a made-up one where the first hundred have none such.
    """
    project = endpoint.project
    compiled = project.schema_version.compiled
    text = _shown_text(project)
    try:
        address = address_of(endpoint)
    except Refused as refusal:
        said, way = Said(Outcome.REFUSED, refusal.message), {}
    else:
        chat = Chat(address.within(TEST_SECONDS), compiled, threading.Event(), tries=1)
        try:
            said = chat.ask(messages(project.contract.instruction, compiled.schema, text))
            way = chat.way
            if chat.answered:
                remember(endpoint, way)
        finally:
            chat.close()
    result = {
        "outcome": str(said.outcome),
        "words": WORDS[said.outcome],
        "detail": said.detail,
        "ok": said.outcome in (Outcome.VALID, Outcome.INVALID, Outcome.NOT_JSON, Outcome.CUT_OFF),
        "text": said.text[:2000],
        "confidence": bool(said.confidence),
        "seconds": said.seconds,
        "tokens": said.tokens,
        "tokens_thought": said.tokens_thought,
        **way,
    }
    Endpoint.objects.filter(pk=endpoint.pk).update(tested_at=timezone.now(), test_result=result)
    endpoint.refresh_from_db(fields=["tested_at", "test_result"])
    return result


def _shown_text(project: Project) -> str:
    keys = Document.objects.filter(project=project, holdout=False).order_by("pk").values_list("pk", flat=True)[:100]
    chosen = next((pk for pk in keys if not predictions.withheld(project, pk)), None)
    return _TEXT if chosen is None else str(Document.objects.values_list("text", flat=True).get(pk=chosen))


def messages(
    instruction: str, schema: dict[str, Any], text: str, examples: list[dict[str, Any]] | None = None
) -> list[prompts.Message]:
    """The turns that a model elsewhere is sent: instruction and schema, solved examples, the document."""
    solved = [prompts.Example(one["text"], one["answer"]) for one in examples or []]
    return prompts.chat(
        instruction=instruction, document=text, schema_text=dumps(prompts.shown_schema(schema)), examples=solved
    )


@transaction.atomic
def retire(*, endpoint: Endpoint, user: User) -> bool:
    """Puts an endpoint aside: nothing more is sent to it, by an evaluation that is at work either, and a permit for
    hold-out documents ends. What it answered stays. False where that was done already.
    """
    done = Endpoint.objects.filter(pk=endpoint.pk, retired_at__isnull=True).update(retired_at=timezone.now())
    if done:
        audit_services.record(project=endpoint.project, user=user, action="removed", about=f"endpoint {endpoint.name}")
        permits.withdraw(endpoint=endpoint, user=user)
    return bool(done)
