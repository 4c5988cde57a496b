"""llama.cpp as an engine: a server of this process on a UNIX socket that only this process knows.

Prompts are token ids of the model's own tokenizer, the grammar comes with each request, and every output is checked
against it: where a grammar does not compile, llama.cpp continues without it and answers 200.
"""

import asyncio
import contextlib
import math
import os
import secrets
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

from evaluation.ml.prompts import PromptBuilder
from serving.engines import DEFAULT_CONTEXT
from serving.ml.engines.engine import (
    Slots,
    Turn,
    compact_grammar,
    field_confidence,
    prepare,
    violates,
)
from serving.ml.engines.http import ModelServer, ServerError
from serving.packages.spec import ServeSpec
from serving.replicas.protocol import Confidence, ModelOutput
from slmstudio.contract.decoding.grammar import exceeds_optional_limit
from slmstudio.errors import Refused
from slmstudio.workers.hardware import allowed_cores
from training.ml.llama_cpp.gguf import check_file
from training.ml.llama_cpp.runtime import stdout_to_stderr

#: of speculation: tokens that have to match, and tokens of a draft
_NGRAM, _DRAFT = 3, 8


class LlamaCppEngine:
    """Answers with a GGUF file. ``slots``: concurrent documents."""

    def __init__(self, folder: Path, spec: ServeSpec, builder: PromptBuilder, *, slots: int = 1) -> None:
        if spec.mode != "free" and exceeds_optional_limit(builder.schema.schema):
            raise Refused(
                "llama.cpp does not support that many optional fields. Serve the weights instead.", code="schema"
            )
        self._file = folder / spec.gguf
        self._builder, self._encoder = builder, builder.encoder
        self._number = slots
        self._slots = Slots(slots)
        #: keeps the instruction and the few-shot examples, which all prompts start with, in the cache of a slot
        self.cache_prompt = True
        #: drafts tokens that follow the last three somewhere in the prompt; they are verified, so outputs stay the same
        self.speculate = False
        self._key = secrets.token_urlsafe(16)
        self._folder = tempfile.TemporaryDirectory(prefix="slm-llama-")
        self._llama: Any = None
        self._server: ModelServer | None = None

    @property
    def version(self) -> str:
        return f"llama.cpp {metadata.version('xllamacpp')}"

    async def start(self) -> None:
        check_file(self._file)
        socket = Path(self._folder.name) / "llama.sock"
        self._llama = await asyncio.to_thread(self._load, str(socket))
        self._server = ModelServer("http://llama", key=self._key, socket=socket)

    def _load(self, socket: str) -> Any:
        import xllamacpp

        parameters = xllamacpp.CommonParams()
        parameters.model.path = str(self._file)
        parameters.hostnames, parameters.port, parameters.api_keys = [socket], 0, [self._key]
        parameters.n_ctx = (self._builder.context or DEFAULT_CONTEXT) * self._number
        parameters.n_parallel, parameters.cache_ram_mib = self._number, 0
        parameters.cpuparams.n_threads = len(allowed_cores())
        if self.speculate:
            speculative = parameters.speculative
            speculative.types = [xllamacpp.common_speculative_type.COMMON_SPECULATIVE_TYPE_NGRAM_SIMPLE]
            speculative.ngram_simple.size_n, speculative.ngram_simple.size_m = _NGRAM, _DRAFT
        parameters.ui = parameters.endpoint_slots = parameters.endpoint_props = False
        parameters.endpoint_metrics, parameters.warmup = True, True
        with stdout_to_stderr():
            try:
                return xllamacpp.Server(parameters)
            except Exception as error:
                raise Refused(f"llama.cpp cannot load {self._file.name}: {error}", code="engine") from error

    async def answer(self, text: str) -> ModelOutput:
        return await self._slots.answer(self._builder, text, prepare, self._ask)

    async def _ask(self, prepared: tuple[list[int], str], turn: Turn) -> ModelOutput:
        prompt, grammar = prepared
        constraint = {"grammar": grammar} if grammar else {}
        limit = self._builder.max_output_tokens(prompt)
        try:
            response = await self._complete(prompt, limit, n_probs=2, return_tokens=True, **constraint)
        except ServerError as error:
            return turn.failed("engine", f"llama.cpp: {error}")
        return await asyncio.to_thread(self._read, response, grammar, len(prompt), turn)

    def _read(self, response: dict[str, Any], grammar: str, prompt: int, turn: Turn) -> ModelOutput:
        model_ms = turn.model_ms
        tokens = [int(token) for token in response["tokens"]]
        raw = self._encoder.decode(tokens)
        finish = "length" if response.get("stop_type") == "limit" or response.get("truncated") else "stop"
        if violates(grammar, raw, finish):
            return turn.failed("grammar", "The output violates its grammar: llama.cpp did not apply it.")
        confidence = self._confidence(raw, response.get("completion_probabilities") or [])
        return ModelOutput(raw, finish, turn.queue_ms, model_ms, prompt, len(tokens), confidence)

    def _confidence(self, raw: str, probabilities: list[dict[str, Any]]) -> Confidence:
        tokens = [int(token["id"]) for token in probabilities]
        ends = [len(self._encoder.decode(tokens[: count + 1])) for count in range(len(tokens))]
        # A more probable token than the written one was excluded by the grammar.
        others = [
            max(
                (float(other["logprob"]) for other in token.get("top_logprobs") or () if other["id"] != token["id"]),
                default=-math.inf,
            )
            for token in probabilities
        ]
        return field_confidence(raw, ends, [float(token["logprob"]) for token in probabilities], others)

    async def answer_prompt(self, prompt: str, schema: str, tokens: int) -> str:
        return str((await self._complete(prompt, tokens, grammar=compact_grammar(schema)))["content"])

    async def _complete(self, prompt: str | list[int], limit: int, **more: Any) -> dict[str, Any]:
        body = {
            "prompt": prompt, "n_predict": limit, "temperature": 0.0, "top_k": 1, "cache_prompt": self.cache_prompt,
            "seed": 1,
            **more,
        }  # fmt: skip
        return await self._asked().post("/completion", body)

    def _asked(self) -> ModelServer:
        assert self._server is not None, "the engine is not started"
        return self._server

    async def tokenize(self, content: str | list[int | str]) -> list[int]:
        """Token ids that llama.cpp reads from a prompt given as text, or as first token ids and text."""
        body = {"content": content, "add_special": True, "parse_special": True}
        return [int(token) for token in (await self._asked().post("/tokenize", body))["tokens"]]

    async def metrics(self) -> str:
        return await self._asked().text("/metrics")

    async def close(self) -> None:
        if self._server is not None:
            await self._server.close()
        self._llama = None
        with contextlib.suppress(OSError):
            os.unlink(Path(self._folder.name) / "llama.sock")
        self._folder.cleanup()
