"""Ollama as an engine, against a stand-in with the documented shapes of its API."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from serving.ml.engines.ollama import OllamaEngine
from serving.ml.loading import check_enforcement
from serving.replicas.protocol import ModelOutput
from slmstudio.errors import Refused
from tests.serving import event_loop
from tests.serving.ml.engine_rig import RAW, TEXT, listening, nonce_of, served

CONTENT = b"GGUF of the package"
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class StandIn:
    """The part of Ollama's API that the engine uses. ``applies``: False where a schema is ignored, as it is when
    Ollama does not understand it: the answer is 200."""

    applies: bool = True
    blobs: dict[str, bytes] = field(default_factory=dict)
    models: dict[str, str] = field(default_factory=dict)
    generated: list[dict[str, Any]] = field(default_factory=list)
    created: list[dict[str, Any]] = field(default_factory=list)
    error: str = ""

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/api/version", self._version),
            web.head("/api/blobs/{digest}", self._blob),
            web.post("/api/blobs/{digest}", self._upload),
            web.post("/api/create", self._create),
            web.post("/api/show", self._show),
            web.post("/api/generate", self._generate),
        ]

    async def _version(self, request: web.Request) -> web.Response:
        return web.json_response({"version": "0.40.12"})

    async def _blob(self, request: web.Request) -> web.Response:
        return web.Response(status=200 if request.match_info["digest"] in self.blobs else 404)

    async def _upload(self, request: web.Request) -> web.Response:
        body, digest = await request.read(), request.match_info["digest"]
        if digest != f"sha256:{hashlib.sha256(body).hexdigest()}":
            return web.json_response({"error": "digest mismatch"}, status=400)
        self.blobs[digest] = body
        return web.Response(status=201)

    async def _create(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.created.append(body)
        [digest] = body["files"].values()
        self.models[body["model"]] = digest.replace(":", "-")
        return web.json_response({"status": "success"})

    async def _show(self, request: web.Request) -> web.Response:
        name = (await request.json())["model"]
        if name not in self.models:
            return web.json_response({"error": f"model '{name}' not found"}, status=404)
        modelfile = f"# Modelfile generated\nFROM /root/.ollama/models/blobs/{self.models[name]}\nTEMPLATE x\n"
        return web.json_response({"modelfile": modelfile, "details": {"format": "gguf"}})

    async def _generate(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.generated.append(body)
        if self.error:
            return web.json_response({"error": self.error}, status=400)
        nonce = nonce_of(json.dumps(body.get("format")))
        text = (nonce or RAW) if self.applies else "It is an invoice."
        tokens = [text[:5], text[5:]]
        other = {"token": "other", "logprob": -3.0}
        logprobs = [
            {"token": token, "logprob": -0.1, "bytes": list(token.encode()), "top_logprobs": [other]}
            for token in tokens
        ]
        return web.json_response(
            {
                "model": body["model"], "created_at": "2026-11-28T12:00:00Z", "response": text, "done": True,
                "done_reason": "stop", "prompt_eval_count": 30, "eval_count": 12, "logprobs": logprobs,
            }
        )  # fmt: skip


def asked(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch, folder: Path, work: Callable[[OllamaEngine], Any], **spec: Any
) -> Any:
    """The result of ``work`` with an engine that uses the stand-in."""
    file = folder / "model-q8_0.gguf"
    file.write_bytes(CONTENT)

    async def main() -> Any:
        async with listening(*stand_in.routes()) as address:
            monkeypatch.setenv("OLLAMA_URL", address)
            package, builder = served("ollama", gguf=file.name, **spec)
            engine = OllamaEngine(file.parent, package, builder, slots=2)
            try:
                await engine.start()
                return await work(engine)
            finally:
                await engine.close()

    return event_loop.run(main())


def code_of(work: Callable[[], Any]) -> str:
    with pytest.raises(Refused) as caught:
        work()
    return caught.value.code


def test_the_file_is_uploaded_once_and_the_request_is_raw(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stand_in = StandIn()
    answer: ModelOutput = asked(stand_in, monkeypatch, tmp_path, lambda engine: engine.answer(TEXT))
    assert (answer.raw, answer.finish_reason, answer.prompt_tokens, answer.output_tokens) == (RAW, "stop", 30, 12)
    assert answer.confidence["total"] == (0.9048, 0.9048, 0.8551)
    name = f"invoices-1-{DIGEST[:12]}"
    assert stand_in.blobs == {f"sha256:{DIGEST}": CONTENT}
    assert stand_in.created == [{"model": name, "files": {"model-q8_0.gguf": f"sha256:{DIGEST}"}, "stream": False}]
    [body] = stand_in.generated
    schema = body.pop("format")
    assert (schema["type"], list(schema["properties"])) == ("object", ["invoice_id", "total"])
    _, builder = served("ollama", gguf="m.gguf")
    assert body == {
        "model": name, "prompt": builder.text(TEXT), "raw": True, "stream": False, "truncate": False, "shift": False,
        "keep_alive": "30m", "logprobs": True, "top_logprobs": 2,
        "options": {
            "temperature": 0, "top_k": 1, "seed": 17, "num_predict": 60, "num_ctx": 512, "repeat_penalty": 1.0,
        },
    }  # fmt: skip
    asked(stand_in, monkeypatch, tmp_path, lambda engine: engine.answer(TEXT))
    assert len(stand_in.created) == 1


def test_a_server_that_ignores_the_schema_is_not_served(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked(StandIn(), monkeypatch, tmp_path, check_enforcement)
    assert code_of(lambda: asked(StandIn(applies=False), monkeypatch, tmp_path, check_enforcement)) == "enforcement"


def test_another_file_under_the_name_is_not_served(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Stubborn(StandIn):
        async def _create(self, request: web.Request) -> web.Response:
            return web.json_response({"status": "success"})

    stand_in = Stubborn(models={f"invoices-1-{DIGEST[:12]}": f"sha256-{'0' * 64}"})
    assert code_of(lambda: asked(stand_in, monkeypatch, tmp_path, check_enforcement)) == "package"


def test_errors_have_codes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def work(engine: OllamaEngine) -> ModelOutput:
        return await engine.answer(TEXT)

    too_long = StandIn(error="the input length exceeds the context length")
    assert asked(too_long, monkeypatch, tmp_path, work).code == "too_long"
    assert asked(StandIn(error="out of memory"), monkeypatch, tmp_path, work).code == "engine"
    long = asked(StandIn(), monkeypatch, tmp_path, lambda engine: engine.answer("again and again " * 2_000))
    assert (long.finish_reason, long.code) == ("error", "too_long")
