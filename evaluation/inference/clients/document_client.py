"""Reads documents with an endpoint: each in one request, or a long one in windows whose outputs are merged."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from evaluation.inference.clients.client import Client, client_for
from evaluation.inference.clients.endpoint_config import EndpointConfig
from evaluation.inference.clients.openai_client import MAX_ATTEMPTS
from evaluation.inference.completion import Completion
from evaluation.inference.output_text import classify_output
from evaluation.inference.response_status import ResponseStatus
from slmstudio.contract.schema.compiled import CompiledSchema, dumps
from slmstudio.contract.windows.gold import window_schema
from slmstudio.contract.windows.merge import merge_outputs
from slmstudio.contract.windows.windows import MAX_WINDOWS, Window, split_windows
from training import prompts

#: statuses of an output that windows are merged from
_COMPLETE = (ResponseStatus.VALID, ResponseStatus.INVALID)
#: bytes of UTF-8 for a token: fewer than of most texts, so that windows are rather too small
_BYTES_PER_TOKEN = 3


class DocumentClient:
    """One contract at one endpoint during one run. ``read`` may be called from several threads."""

    def __init__(
        self,
        config: EndpointConfig,
        compiled: CompiledSchema,
        instruction: str,
        stop: threading.Event,
        *,
        examples: Sequence[Mapping[str, str]] = (),
        max_attempts: int = MAX_ATTEMPTS,
    ) -> None:
        """``stop``: once set, no request is sent. ``examples``: ``{"text", "answer"}``, which precede every document.
        ``max_attempts``: requests per document or window.
        """
        self._window_tokens = config.window_tokens
        self._compiled = compiled
        self._part = window_schema(compiled) if config.window_tokens else compiled
        self._instruction = instruction
        self._examples = [prompts.FewShotExample(one["text"], one["answer"]) for one in examples]
        self._client: Client = client_for(config, stop, max_attempts=max_attempts)

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    @property
    def has_answered(self) -> bool:
        """Whether the endpoint has answered with the current options."""
        return self._client.has_answered

    @property
    def options(self) -> dict[str, Any]:
        """The current ``response_format``, ``logprobs``, ``limit_name`` and ``temperature``."""
        return self._client.options

    def read(self, text: str) -> Completion:
        """The completion for a document, or why there is none. Never raises for what a server does.

        Windows are read one after another; the first without a complete output is the completion of the document.
        """
        size = self._window_tokens
        if size is None or (tokens := estimated_tokens(text)) <= size:
            return self._complete(self._compiled, text)
        if tokens > MAX_WINDOWS * size:
            detail = f"It has about {tokens:,} tokens, more than {MAX_WINDOWS} windows."
            return Completion(ResponseStatus.TOO_LONG, detail)
        windows = split_windows(text, limit=size, count=estimated_tokens)
        found: list[Completion] = []
        for window in windows:
            found.append(self._complete(self._part, window.text))
            if found[-1].status not in _COMPLETE:
                return _joined(found, found[-1])
        return _joined(found, self._merged(text, windows, found))

    def _complete(self, compiled: CompiledSchema, text: str) -> Completion:
        chat = prompts.chat(
            instruction=self._instruction,
            document=text,
            schema_text=dumps(prompts.prompt_schema(compiled.schema)),
            examples=self._examples,
        )
        return self._client.complete(chat, compiled)

    def _merged(self, text: str, windows: Sequence[Window], found: Sequence[Completion]) -> Completion:
        confidences = [{path: (low, low) for path, low in one.confidence.items()} for one in found]
        merged = merge_outputs(self._compiled, text, windows, [one.text for one in found], confidences)
        status, detail = classify_output(self._compiled, merged.raw, truncated=False)
        confidence = {path: known[0] for path, known in merged.confidence.items()}
        return Completion(status, detail, merged.raw, confidence, merged.raw)


def estimated_tokens(text: str) -> int:
    """The tokens of a text for a tokenizer that is not known: one for three bytes of UTF-8, rather too many."""
    return -(-len(text.encode("utf-8", "surrogatepass")) // _BYTES_PER_TOKEN)


def _joined(found: Sequence[Completion], last: Completion) -> Completion:
    """``last`` with the requests, tokens and time of all windows that were read."""
    return replace(
        last,
        tokens=sum(one.tokens for one in found),
        output_tokens=sum(one.output_tokens for one in found),
        reasoning_tokens=sum(one.reasoning_tokens for one in found),
        estimated=any(one.estimated for one in found),
        attempts=sum(one.attempts for one in found),
        seconds=round(sum(one.seconds for one in found), 3),
        windows=len(found),
    )
