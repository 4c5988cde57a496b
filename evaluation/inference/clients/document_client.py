"""Reads documents with an endpoint: each in one request, or a long one in windows whose outputs are merged."""

import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from evaluation.inference.clients.openai_client import MAX_ATTEMPTS, OpenAIClient
from evaluation.inference.clients.openai_options import EndpointConfig
from evaluation.inference.completion import Completion, ResponseStatus, classify_output
from slmstudio.contract.json_text import dumps, loads
from slmstudio.contract.schema.compiled import CompiledSchema
from slmstudio.contract.windows.gold import nullable_window_schema
from slmstudio.contract.windows.merge import merge_outputs
from slmstudio.contract.windows.windows import MAX_WINDOWS, Window, split_windows
from training import prompts

#: statuses of an output that windows are merged from
_COMPLETE = (ResponseStatus.VALID, ResponseStatus.INVALID)
#: digits, punctuation and symbols, each of which can be a token
_SINGLE = re.compile(r"[\d_]|[^\w\s]")
_CAPITAL = re.compile(r"[A-Z]")
#: for a token: capital letters, bytes of anything else
_CAPITALS_PER_TOKEN, _BYTES_PER_TOKEN = 2, 3
#: characters that are counted at once
_PART = 65_536


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
        self._part = nullable_window_schema(compiled) if config.window_tokens else compiled
        self._instruction = instruction
        self._examples = [prompts.FewShotExample(example["text"], example["answer"]) for example in examples]
        self._client = OpenAIClient(config, stop, max_attempts=max_attempts)

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

    def windows(self, text: str) -> list[Window]:
        """The windows in which a document is sent; one with all of it where it is sent as a whole."""
        size = self._window_tokens
        return [Window(0, len(text), text)] if size is None else split_windows(text, limit=size, count=estimated_tokens)

    def read(
        self, text: str, *, seconds: float | None = None, is_cancelled: Callable[[], bool] = lambda: False
    ) -> Completion:
        """The completion for a document, or why there is none. Never raises for what a server does.

        Windows are read one after another; the first without a complete output is the completion of the document. No
        further window is sent after ``seconds``, or where ``is_cancelled`` says that no caller waits any more.
        """
        started, size = time.monotonic(), self._window_tokens
        if size is not None and (tokens := estimated_tokens(text)) > MAX_WINDOWS * size:
            return Completion(
                ResponseStatus.TOO_LONG, f"It has about {tokens:,} tokens and needs more than {MAX_WINDOWS} windows."
            )
        windows = self.windows(text)
        if len(windows) == 1:
            return self._complete(self._compiled, text, is_cancelled)
        if len(windows) > MAX_WINDOWS:
            return Completion(
                ResponseStatus.TOO_LONG, f"It needs {len(windows):,} windows; the maximum is {MAX_WINDOWS}."
            )
        completions: list[Completion] = []
        for window in windows:
            if is_cancelled():
                return _joined(completions, Completion(ResponseStatus.WAITING))
            if seconds is not None and time.monotonic() - started > seconds:
                detail = f"{len(completions)} of {len(windows)} windows were answered within {seconds:g} s."
                return _joined(completions, Completion(ResponseStatus.TIMEOUT, detail))
            completions.append(self._complete(self._part, window.text, is_cancelled))
            if completions[-1].status not in _COMPLETE:
                return _joined(completions, completions[-1])
        return _joined(completions, self._merged(text, windows, completions))

    def _complete(self, compiled: CompiledSchema, text: str, is_cancelled: Callable[[], bool]) -> Completion:
        chat = prompts.chat(
            instruction=self._instruction,
            document=text,
            schema_text=dumps(prompts.prompt_schema(compiled.schema)),
            examples=self._examples,
        )
        return self._client.complete(chat, compiled, is_cancelled)

    def _merged(self, text: str, windows: Sequence[Window], completions: Sequence[Completion]) -> Completion:
        confidences = [{path: (low, low) for path, low in completion.confidence.items()} for completion in completions]
        merged = merge_outputs(
            self._compiled, text, windows, [completion.text for completion in completions], confidences
        )
        value = loads(merged.raw)
        nodes = self._compiled.root.children
        # Null says that no window has the value; it is no value where the contract does not allow null.
        absent = [name for name, item in value.items() if item is None and name in nodes and not nodes[name].nullable]
        raw = dumps({name: item for name, item in value.items() if name not in absent})
        status, detail = classify_output(self._compiled, raw, truncated=False)
        confidence = {path: known[0] for path, known in merged.confidence.items() if path not in absent}
        return Completion(status, detail, raw, confidence, raw)


def estimated_tokens(text: str) -> int:
    """About the tokens of a text for a tokenizer that is not known, in prose too many: one for each digit, punctuation
    mark and symbol, one for two capital letters, and one for three bytes of UTF-8 of anything else.
    """
    # In parts, between which other threads run.
    return sum(_estimated(text[start : start + _PART]) for start in range(0, len(text), _PART))


def _estimated(text: str) -> int:
    words, singles = _SINGLE.subn("", text)
    rest, capitals = _CAPITAL.subn("", words)
    size = len(rest.encode("utf-8", "surrogatepass"))
    return singles - (-capitals // _CAPITALS_PER_TOKEN) - (-size // _BYTES_PER_TOKEN)


def _joined(completions: Sequence[Completion], last: Completion) -> Completion:
    """``last`` with the repeated attempts, the tokens and the time of all windows that were read."""
    return replace(
        last,
        tokens=sum(completion.tokens for completion in completions),
        output_tokens=sum(completion.output_tokens for completion in completions),
        reasoning_tokens=sum(completion.reasoning_tokens for completion in completions),
        estimated=any(completion.estimated for completion in completions),
        attempts=1 + sum(completion.attempts - 1 for completion in completions),
        seconds=round(sum(completion.seconds for completion in completions), 3),
        windows=len(completions),
    )
