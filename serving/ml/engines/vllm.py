"""vLLM as an engine: a server that this process starts on a UNIX socket, or one that runs elsewhere.

Prompts are token ids of the model's own tokenizer on the completion endpoint, the grammar comes with each request as
``structured_outputs`` (https://docs.vllm.ai/en/latest/features/structured_outputs/), and every output is checked
against it. ``VLLM_COMMAND`` starts a server; ``VLLM_URL`` names running ones.
"""

import asyncio
import contextlib
import json
import math
import os
import re
from pathlib import Path
from typing import Any

from evaluation.ml.prompts import PromptBuilder
from serving.ml.engines.http import ModelServer, ServerError
from serving.ml.engines.slots import Slots, Turn, prepare, violates
from serving.ml.engines.token_confidence import of_ends
from serving.ml.engines.vllm_server import VllmServer
from serving.packages.external_engines import (
    MIN_VLLM,
    SEQUENCES,
    VLLM_API_KEY,
    VLLM_COMMAND,
    VLLM_URL,
    urls,
)
from serving.packages.spec import ServeSpec
from serving.replicas.protocol import Confidence, ModelOutput
from slmstudio.errors import Refused
from training.ml.data.encoder import Encoder
from training.ml.llama_cpp.runtime import TEXTS


class VllmEngine:
    """Answers with the weights of a package. ``folder``: of the model."""

    def __init__(self, folder: Path, spec: ServeSpec, builder: PromptBuilder, encoder: Encoder) -> None:
        self._folder = folder
        self._spec = spec
        self._builder = builder
        self._encoder = encoder
        self._slots = Slots(SEQUENCES)
        self._child: VllmServer | None = None
        self._server: ModelServer | None = None
        self._version = ""

    @property
    def version(self) -> str:
        return f"vLLM {self._version}"

    @property
    def is_remote(self) -> bool:
        """Whether another program started the server, so that its weights cannot be hashed."""
        return self._child is None

    async def start(self) -> None:
        command = os.environ.get(VLLM_COMMAND, "")
        if command:
            self._child = VllmServer(command, self._folder, self._spec)
            self._server = await self._child.start()
        else:
            self._server = await self._find()
        self._version = await self._checked_version()
        await self._check_tokens()

    async def _find(self) -> ModelServer:
        """The server of ``VLLM_URL`` that serves the model under the package's name."""
        addresses = urls(VLLM_URL)
        if not addresses:
            raise Refused("Set VLLM_COMMAND, or set VLLM_URL to the address of a running server.", code="engine")
        problem = ""
        for address in addresses:
            server = ModelServer(address, key=os.environ.get(VLLM_API_KEY, ""))
            try:
                models = (await server.get("/v1/models")).get("data", [])
                served = next((model for model in models if model.get("id") == self._spec.name), None)
                problem = self._problem(address, served)
            except ServerError as error:
                problem = str(error)
            if not problem:
                return server
            await server.close()
        raise Refused(problem, code="engine")

    def _problem(self, address: str, model: dict[str, Any] | None) -> str:
        if model is None:
            return f"{address} does not serve a model named {self._spec.name}. Start it with vllm.sh of the package."
        length, needed = model.get("max_model_len"), self._spec.context
        if needed and isinstance(length, int) and length < needed:
            return f"{address} serves {self._spec.name} with a context of {length} tokens instead of {needed}."
        return ""

    async def _checked_version(self) -> str:
        """The version. Of a server elsewhere it is not checked: a router has its own, or none, and the probe finds
        servers that do not know ``structured_outputs``.
        """
        try:
            text = str((await self._asked().get("/version")).get("version", ""))
        except ServerError as error:
            if not self.is_remote or error.status != 404:
                raise Refused(f"vLLM does not report its version: {error}", code="engine") from error
            text = ""
        if self.is_remote:
            return text or "of an unknown version"
        parts = re.match(r"(\d+)\.(\d+)", text)
        if parts is None or (int(parts[1]), int(parts[2])) < MIN_VLLM:
            wanted = ".".join(map(str, MIN_VLLM))
            raise Refused(f"The server runs vLLM {text or 'of an unknown version'}; {wanted} is needed.", code="engine")
        return text

    async def _check_tokens(self) -> None:
        """The server has the package's tokenizer: the same ids for texts that tokenizers split differently."""
        for text in TEXTS:
            body = {"model": self._spec.name, "prompt": text, "add_special_tokens": False}
            try:
                ids = (await self._asked().post("/tokenize", body)).get("tokens")
            except ServerError as error:
                if error.status == 404 and self.is_remote:  # a router in front has no such page
                    return
                raise Refused(f"vLLM cannot tokenize: {error}", code="engine") from error
            if ids != list(self._encoder.tokenizer(text, add_special_tokens=False)["input_ids"]):
                raise Refused("The server tokenizes text differently from the model's tokenizer.", code="tokens")

    def _asked(self) -> ModelServer:
        assert self._server is not None, "the engine is not started"
        return self._server

    async def answer(self, text: str) -> ModelOutput:
        return await self._slots.answer(self._builder, text, prepare, self._ask)

    async def _ask(self, prepared: tuple[list[int], str], turn: Turn) -> ModelOutput:
        prompt, grammar = prepared
        constraint = {"structured_outputs": {"grammar": grammar}} if grammar else {}
        try:
            choice = await self._complete(prompt, self._builder.max_output_tokens(prompt), logprobs=2, **constraint)
        except ServerError as error:
            return turn.failed("engine", f"vLLM: {error}")
        return await asyncio.to_thread(self._read, choice, grammar, len(prompt), turn)

    async def _complete(self, prompt: list[int] | str, limit: int, **more: Any) -> dict[str, Any]:
        body = {
            "model": self._spec.name, "prompt": prompt, "max_tokens": limit, "temperature": 0, "seed": self._spec.seed,
            "add_special_tokens": False, "return_token_ids": True, "stop_token_ids": list(self._encoder.stop_ids),
            **more,
        }  # fmt: skip
        response = await self._asked().post("/v1/completions", body)
        choices = response.get("choices")
        if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
            raise ServerError(200, "the response has no choices")
        choice: dict[str, Any] = choices[0]
        return choice

    def _read(self, choice: dict[str, Any], grammar: str, prompt: int, turn: Turn) -> ModelOutput:
        model_ms = turn.model_ms
        tokens = choice.get("token_ids")
        if not isinstance(tokens, list):
            return turn.failed("engine", "vLLM sent no token IDs.")
        raw = self._encoder.decode(tokens)
        finish = "length" if choice.get("finish_reason") == "length" else "stop"
        if violates(grammar, raw, finish):
            return turn.failed("grammar", "The output violates its grammar: vLLM did not apply it.")
        confidence = self._confidence(raw, tokens, choice.get("logprobs") or {})
        return ModelOutput(raw, finish, turn.queue_ms, model_ms, prompt, len(tokens), confidence)

    def _confidence(self, raw: str, tokens: list[int], logprobs: dict[str, Any]) -> Confidence:
        """From ``{tokens, token_logprobs, top_logprobs: [{text: logprob}]}``; {} where the server sends none."""
        own, texts, top = (logprobs.get(key) or [] for key in ("token_logprobs", "tokens", "top_logprobs"))
        if not len(own) == len(texts) == len(top) == len(tokens) or None in own:
            return {}
        others = [
            max((float(value) for text, value in (tops or {}).items() if text != texts[at]), default=-math.inf)
            for at, tops in enumerate(top)
        ]
        ends = [len(self._encoder.decode(tokens[: count + 1])) for count in range(len(tokens))]
        return of_ends(raw, ends, [float(value) for value in own], others)

    async def answer_prompt(self, prompt: str, schema: str, tokens: int) -> str:
        # Compact JSON: free white space would let a weak model write nothing else.
        compact = {**json.loads(schema), "x-guidance": {"whitespace_flexible": False}}
        grammar = f"%llguidance {{}}\nstart: %json {json.dumps(compact)}"
        try:
            choice = await self._complete(prompt, tokens, structured_outputs={"grammar": grammar})
        except ServerError as error:
            raise Refused(f"vLLM rejects a grammar: {error}", code="enforcement") from error
        return str(choice.get("text", ""))

    async def metrics(self) -> str:
        return await self._asked().text("/metrics")

    async def close(self) -> None:
        if self._server is not None:
            await self._server.close()
        if self._child is not None:
            with contextlib.suppress(OSError):
                await self._child.stop()
