"""vLLM as an engine: a server that this process starts on a UNIX socket, or one that runs elsewhere.

Prompts are token ids of the model's own tokenizer on the completion endpoint, the grammar comes with each request as
``structured_outputs`` (https://docs.vllm.ai/en/latest/features/structured_outputs/), and every output is checked
against it. ``VLLM_COMMAND`` starts a server; ``VLLM_URL`` names running ones.
"""

import asyncio
import contextlib
import math
import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

from evaluation.ml.prompts import PromptBuilder
from serving.engines import (
    MIN_VLLM,
    SEQUENCES,
    VLLM_API_KEY,
    VLLM_COMMAND,
    VLLM_URL,
    urls,
    vllm_options,
    vllm_serve,
)
from serving.ml.engines.engine import Slots, Turn, compact_grammar, field_confidence, prepare, violates
from serving.ml.engines.http import ModelServer, ServerError
from serving.packages.spec import ServeSpec
from serving.replicas.protocol import Confidence, ModelOutput
from slmstudio.errors import Refused
from slmstudio.runs.parent_death import die_with_parent
from training.ml.llama_cpp.runtime import TEXTS


class VllmEngine:
    """Answers with the weights of a package; the server itself makes documents wait."""

    def __init__(self, folder: Path, spec: ServeSpec, builder: PromptBuilder, *, slots: int = 1) -> None:
        self._folder = folder / spec.model
        self._spec, self._builder, self._encoder = spec, builder, builder.encoder
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
        return field_confidence(raw, ends, [float(value) for value in own], others)

    async def answer_prompt(self, prompt: str, schema: str, tokens: int) -> str:
        grammar = compact_grammar(schema)
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


#: seconds that it may take to load a model
START_SECONDS = 900.0
STOP_SECONDS = 20.0
_POLL_SECONDS = 0.25
#: no statistics are sent, and nothing is downloaded
_ENVIRONMENT = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1", "VLLM_DO_NOT_TRACK": "1"}


class VllmServer:
    """The process. ``folder``: of the model."""

    def __init__(self, command: str, folder: Path, spec: ServeSpec) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="slm-vllm-")
        self._socket = Path(self._folder.name) / "vllm.sock"
        self._key = secrets.token_urlsafe(16)
        options = vllm_options(name=spec.name, context=spec.context, seed=spec.seed)
        self._argv = vllm_serve(command, str(folder), [*options, "--uds", str(self._socket)])
        self._child: subprocess.Popen[bytes] | None = None
        self._last: deque[str] = deque(maxlen=40)

    async def start(self) -> ModelServer:
        """Starts it; returns once it answers. Raises Refused."""
        parent = os.getpid()
        # The key is in the environment, where other accounts do not see it.
        environment = {**os.environ, **_ENVIRONMENT, VLLM_API_KEY: self._key}
        try:
            # From the main thread: the kernel ends the child with the thread that started it.
            self._child = subprocess.Popen(
                self._argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                env=environment, preexec_fn=lambda: die_with_parent(parent, by=signal.SIGTERM),
            )  # fmt: skip
        except OSError as error:
            raise Refused(f"VLLM_COMMAND cannot be started: {error}", code="engine") from error
        threading.Thread(target=self._copy_log, daemon=True).start()
        server = ModelServer("http://vllm", key=self._key, socket=self._socket)
        give_up = time.monotonic() + START_SECONDS
        try:
            while not await self._answers(server):
                if self._child.poll() is not None:
                    raise Refused(f"vLLM ended with exit code {self._child.returncode}: {self._reason}", code="engine")
                if time.monotonic() > give_up:
                    raise Refused(f"vLLM did not respond within {START_SECONDS:g} s.", code="engine")
                await asyncio.sleep(_POLL_SECONDS)
        except BaseException:
            await server.close()
            await self.stop()
            raise
        return server

    async def _answers(self, server: ModelServer) -> bool:
        try:
            await server.get("/health")
        except ServerError:
            return False
        return True

    def _copy_log(self) -> None:
        """Its log goes to the log of this process; standard output is for events."""
        assert self._child is not None
        assert self._child.stdout is not None
        for line in self._child.stdout:
            text = line.decode(errors="replace").rstrip()
            self._last.append(text)
            sys.stderr.write(f"{text}\n")
            sys.stderr.flush()

    @property
    def _reason(self) -> str:
        errors = [line for line in self._last if "Error" in line]
        return (errors or [*self._last, "no message"])[-1][-300:]

    async def stop(self) -> None:
        """Ends it with its own children."""
        child = self._child
        if child is not None and child.poll() is None:
            child.terminate()
            try:
                await asyncio.to_thread(child.wait, STOP_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()
                await asyncio.to_thread(child.wait)
        with contextlib.suppress(OSError):
            self._folder.cleanup()
