"""The protocol of a client, and ``client_for``. Another API is a module in this package and a line there."""

import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from evaluation.inference.clients.endpoint_config import EndpointConfig
from evaluation.inference.clients.openai_client import MAX_ATTEMPTS, OpenAIClient
from evaluation.inference.completion import Completion
from slmstudio.contract.schema.compiled import CompiledSchema
from training.prompts import Message


class Client(Protocol):
    """One endpoint during one run. ``complete`` may be called from several threads."""

    @property
    def has_answered(self) -> bool:
        """Whether the endpoint has answered with the current options."""

    @property
    def options(self) -> dict[str, Any]:
        """The current ``response_format``, ``logprobs``, ``limit_name`` and ``temperature``."""

    def complete(
        self,
        messages: Sequence[Message],
        compiled: CompiledSchema,
        is_cancelled: Callable[[], bool] = lambda: False,
    ) -> Completion:
        """The completion for one prompt, or why there is none. Never raises for what a server does.

        ``compiled``: the schema of the output. No attempt is made once ``is_cancelled``.
        """

    def close(self) -> None:
        """Closes the connections."""


def client_for(config: EndpointConfig, stop: threading.Event, *, max_attempts: int = MAX_ATTEMPTS) -> Client:
    """The client of an endpoint. Every endpoint has an OpenAI-compatible API.

    ``stop``: once set, no request is sent and no pause continues. ``max_attempts``: requests per prompt.
    """
    return OpenAIClient(config, stop, max_attempts=max_attempts)
