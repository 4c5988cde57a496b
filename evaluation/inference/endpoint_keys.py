"""How an endpoint is called: its key and its settings.

A key exists only in the environment. An endpoint names its variable, which starts with ``SLM_KEY_``. The key is sent
only to hosts in ``<name>_HOSTS``, and only for projects whose slug is in ``<name>_PROJECTS`` (``*``: any project).
So a user who can add an endpoint can use the keys of the project, and cannot have one sent to another machine.
"""

import os
import re
from typing import Any
from urllib.parse import urlsplit

from evaluation.inference.clients.openai_options import TOKEN_LIMIT_PARAMETERS, EndpointConfig
from evaluation.inference.model_columns import ExternalModel
from labeling.models import Project
from slmstudio.errors import Refused
from slmstudio.web import outbound

_VARIABLE = re.compile(r"SLM_KEY_[A-Z0-9_]{1,60}")


def api_key(variable: str, url: str, project: Project) -> str:
    """The key in an environment variable. Raises Refused if the project may not use it, or not for this URL."""
    if not _VARIABLE.fullmatch(variable):
        raise Refused(
            "The variable name must be SLM_KEY_ followed by capital letters, digits or _.", field="key_variable"
        )
    key = os.environ.get(variable, "").strip()
    if not key:
        raise Refused(f"Environment variable {variable} is not set. Ask an administrator.", field="key_variable")
    if not key.isascii() or not key.isprintable():
        raise Refused(f"{variable} contains characters that cannot be sent in a header.", field="key_variable")
    if not {"*", project.slug.casefold()} & set(_comma_list(f"{variable}_PROJECTS")):
        raise Refused(
            f"This project cannot use {variable}: {variable}_PROJECTS does not list {project.slug}. "
            "Ask an administrator.",
            field="key_variable",
        )
    parts = urlsplit(url)
    host = (parts.hostname or "").casefold()
    allowed = _comma_list(f"{variable}_HOSTS")
    if host not in allowed:
        raise Refused(
            f"The key is not sent to {host}: {variable}_HOSTS lists "
            f"{', '.join(allowed) if allowed else 'no host'}. Ask an administrator.",
            field="key_variable",
        )
    if parts.scheme != "https" and not outbound.is_internal(host):
        raise Refused("Keys are only sent over https://.", field="url")
    return key


def _comma_list(variable: str) -> list[str]:
    """The comma-separated values of an environment variable."""
    return [value.strip().casefold() for value in os.environ.get(variable, "").split(",") if value.strip()]


def endpoint_config(endpoint: ExternalModel) -> EndpointConfig:
    """What a client needs, including the key. Raises Refused if the key is missing or must not be sent."""
    return EndpointConfig(
        url=endpoint.url,
        model=endpoint.model,
        key=api_key(endpoint.key_variable, endpoint.url, endpoint.project) if endpoint.key_variable else "",
        structured=endpoint.structured,
        logprobs=endpoint.logprobs,
        timeout_seconds=endpoint.timeout_seconds,
        concurrency=endpoint.concurrency,
        max_tokens=endpoint.max_tokens,
        reasoning_effort=endpoint.reasoning_effort,
        window_tokens=endpoint.window_tokens,
        **_detected_options(endpoint),
    )


def _detected_options(endpoint: ExternalModel) -> dict[str, Any]:
    """The options that this model at this URL accepted before; {} before the first answer."""
    known = endpoint.accepts
    same = (known.get("url"), known.get("model")) == (endpoint.url, endpoint.model)
    if not same or known.get("limit_name") not in TOKEN_LIMIT_PARAMETERS:
        return {}
    temperature = bool(known.get("temperature", True))
    return {"limit_name": known["limit_name"], "temperature": temperature, "limit_known": True}
