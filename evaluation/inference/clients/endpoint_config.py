"""How an endpoint is called: URL, model, key and options."""

from dataclasses import dataclass, field, replace

from evaluation.inference.clients.openai_options import TOKEN_LIMIT_PARAMETERS


@dataclass(frozen=True, slots=True)
class EndpointConfig:
    """How an endpoint is called. ``key`` goes into the Authorization header and nowhere else.

    ``reasoning_effort``: as OpenAI names it; "" sends none. ``limit_name`` and ``temperature``: which token limit
    parameter it was found to take, and whether it takes a temperature. ``limit_known``: it has answered with this
    limit name before. ``window_tokens``: a longer document is read in windows of this size; None: never.
    """

    url: str
    model: str
    key: str = field(default="", repr=False)
    structured: str = "auto"
    logprobs: bool = True
    timeout_seconds: float = 60
    at_once: int = 4
    max_tokens: int = 1024
    reasoning_effort: str = ""
    limit_name: str = TOKEN_LIMIT_PARAMETERS[0]
    temperature: bool = True
    limit_known: bool = False
    window_tokens: int | None = None

    def with_timeout(self, seconds: float) -> "EndpointConfig":
        """The same with a timeout of at most ``seconds``."""
        return replace(self, timeout_seconds=min(self.timeout_seconds, seconds))
