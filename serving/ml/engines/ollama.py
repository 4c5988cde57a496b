"""Ollama as an engine: a server at ``OLLAMA_URL`` that gets the GGUF file of the package.

The rendered prompt goes to ``/api/generate`` with ``raw``, the schema as ``format``
(https://docs.ollama.com/api/generate). Ollama writes its own grammar from the schema, so white space is free, and it
answers without one where it does not understand the schema: every output is validated by the gateway.
"""

import asyncio
import json
import math
import os
from pathlib import Path
from typing import Any

from evaluation.ml.prompts import PromptBuilder
from serving.engines import DEFAULT_CONTEXT, OLLAMA_API_KEY, OLLAMA_URL, urls
from serving.ml.engines.engine import Slots, Turn, field_confidence
from serving.ml.engines.http import ModelServer, ServerError
from serving.packages.spec import ServeSpec
from serving.replicas.protocol import Confidence, ModelOutput
from slmstudio.contract.decoding.grammar import decoder_schema
from slmstudio.contract.json_text import dumps, loads
from slmstudio.errors import Refused
from slmstudio.storage.hashing import sha256_file

KEEP_ALIVE = "30m"
#: words of an error about the length of a prompt
_TOO_LONG = ("context length", "context_length", "exceeds the context", "input length")


class OllamaEngine:
    """Answers with a GGUF file on an Ollama server. ``slots``: concurrent documents."""

    def __init__(self, folder: Path, spec: ServeSpec, builder: PromptBuilder, *, slots: int = 1) -> None:
        self._file = folder / spec.gguf
        self._spec, self._builder = spec, builder
        self._slots = Slots(slots)
        self._server: ModelServer | None = None
        self._version = ""
        #: a file has its own name, so that another build does not replace it while it answers
        self._name = ""

    @property
    def version(self) -> str:
        return f"Ollama {self._version}"

    async def start(self) -> None:
        if self._spec.mode == "grounded":
            raise Refused("Ollama does not support grounded decoding. Serve it with llama.cpp.", code="engine")
        addresses = urls(OLLAMA_URL)
        if len(addresses) != 1:
            raise Refused("Set OLLAMA_URL to the address of an Ollama server.", code="engine")
        self._server = ModelServer(addresses[0], key=os.environ.get(OLLAMA_API_KEY, ""))
        try:
            self._version = str((await self._server.get("/api/version")).get("version", "unknown"))
            digest = await asyncio.to_thread(sha256_file, self._file)
            self._name = f"{self._spec.name or 'slm'}-{digest[:12]}"
            await self._create(self._server, digest)
            await self._check_file(self._server, digest)
        except ServerError as error:
            raise Refused(f"Ollama: {error}", code="engine") from error

    async def _create(self, server: ModelServer, digest: str) -> None:
        """Uploads the file and creates the model, where the server does not have it."""
        if await self._has_model(server, digest):
            return
        if not await server.exists(f"/api/blobs/sha256:{digest}"):
            await server.upload(f"/api/blobs/sha256:{digest}", self._file)
        body = {"model": self._name, "files": {self._file.name: f"sha256:{digest}"}, "stream": False}
        await server.post("/api/create", body)

    async def _has_model(self, server: ModelServer, digest: str) -> bool:
        try:
            return _names_file(await server.post("/api/show", {"model": self._name}), digest)
        except ServerError as error:
            if error.status == 404:
                return False
            raise

    async def _check_file(self, server: ModelServer, digest: str) -> None:
        """The model on the server has the file of the package, by its hash."""
        if not _names_file(await server.post("/api/show", {"model": self._name}), digest):
            raise Refused(f"The model {self._name} on the Ollama server has a different file.", code="package")

    async def answer(self, text: str) -> ModelOutput:
        return await self._slots.answer(self._builder, text, self._prepare, self._ask)

    def _prepare(self, builder: PromptBuilder, text: str) -> tuple[list[int], str, dict[str, Any] | None]:
        return builder.prompt_within_context(text), builder.text(text), self._schema_of(builder)

    def _schema_of(self, builder: PromptBuilder) -> dict[str, Any] | None:
        if self._spec.mode == "free":
            return None
        return _inlined(json.loads(dumps(decoder_schema(builder.schema.schema))))

    async def _ask(self, prepared: tuple[list[int], str, dict[str, Any] | None], turn: Turn) -> ModelOutput:
        tokens, prompt, schema = prepared
        try:
            response = await self._generate(prompt, self._builder.max_output_tokens(tokens), schema)
        except ServerError as error:
            code = "too_long" if any(word in str(error).lower() for word in _TOO_LONG) else "engine"
            return turn.failed(code, f"Ollama: {error}")
        return _read(response, turn)

    async def _generate(self, prompt: str, limit: int, schema: dict[str, Any] | None) -> dict[str, Any]:
        assert self._server is not None, "the engine is not started"
        options = {
            "temperature": 0, "top_k": 1, "seed": self._spec.seed, "num_predict": limit,
            "num_ctx": self._spec.context or DEFAULT_CONTEXT, "repeat_penalty": 1.0,
        }  # fmt: skip
        body = {
            "model": self._name, "prompt": prompt, "raw": True, "stream": False, "truncate": False, "shift": False,
            "keep_alive": KEEP_ALIVE, "logprobs": True, "top_logprobs": 2, "options": options,
        }  # fmt: skip
        return await self._server.post("/api/generate", {**body, "format": schema} if schema else body)

    async def answer_prompt(self, prompt: str, schema: str, tokens: int) -> str:
        try:
            return str((await self._generate(prompt, tokens, loads(schema))).get("response", ""))
        except ServerError as error:
            raise Refused(f"Ollama rejects a schema: {error}", code="enforcement") from error

    async def metrics(self) -> str:
        return ""

    async def close(self) -> None:
        if self._server is not None:
            await self._server.close()


def _read(response: dict[str, Any], turn: Turn) -> ModelOutput:
    raw = response.get("response")
    if not isinstance(raw, str) or not response.get("done"):
        return turn.failed("engine", "Ollama sent no output.")
    finish = "length" if response.get("done_reason") == "length" else "stop"
    return ModelOutput(
        raw, finish, turn.queue_ms, turn.model_ms, int(response.get("prompt_eval_count") or 0),
        int(response.get("eval_count") or 0), _confidence(raw, response.get("logprobs")),
    )  # fmt: skip


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema whose root is no reference."""
    name = str(schema.get("$ref", "")).removeprefix("#/$defs/")
    return {**schema["$defs"][name], "$defs": schema["$defs"]} if name else schema


def _names_file(model: dict[str, Any], digest: str) -> bool:
    """Whether a model's Modelfile starts from a blob with this hash."""
    lines = str(model.get("modelfile", "")).splitlines()
    return any(line.startswith("FROM ") and line.rstrip().endswith(f"sha256-{digest}") for line in lines)


def _confidence(raw: str, logprobs: Any) -> Confidence:
    """From ``[{token, logprob, bytes, top_logprobs}]``; {} where the server sends none."""
    if not isinstance(logprobs, list) or not all(isinstance(token, dict) and "logprob" in token for token in logprobs):
        return {}
    written, ends, others = b"", [], []
    for token in logprobs:
        part = token.get("bytes")
        written += bytes(part) if isinstance(part, list) else str(token.get("token", "")).encode()
        ends.append(len(written.decode(errors="ignore")))
        top = [other for other in token.get("top_logprobs") or () if other.get("token") != token.get("token")]
        others.append(max((float(other["logprob"]) for other in top), default=-math.inf))
    return field_confidence(raw, ends, [float(token["logprob"]) for token in logprobs], others)
