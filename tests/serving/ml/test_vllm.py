"""vLLM as an engine, against a stand-in with the API of vLLM 0.32."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from serving.engines import vllm_options, vllm_serve
from serving.ml.engines.http import ModelServer
from serving.ml.engines.vllm import VllmEngine, VllmServer
from serving.ml.loading import LoadedPackage, check_enforcement, check_fingerprint, fingerprint
from serving.packages.spec import FINGERPRINTS
from serving.replicas.protocol import ModelOutput
from slmstudio.errors import Refused
from tests.serving import event_loop
from tests.serving.ml.engine_rig import RAW, TEXT, listening, nonce_of, served


@dataclass
class StandIn:
    """The part of vLLM's API that the engine uses. ``write``: the output of a prompt under a grammar."""

    version: str = "0.32.0"
    models: tuple[str, ...] = ("invoices-1",)
    length: int = 512
    split: Callable[[list[int]], list[int]] = list
    write: Callable[[dict[str, Any]], str] = lambda body: RAW
    applies: bool = True
    asked: list[dict[str, Any]] = field(default_factory=list)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    waits: bool = False

    def routes(self) -> list[web.RouteDef]:
        self.encoder = served("vllm")[1].encoder
        return [
            web.get("/version", self._version),
            web.get("/v1/models", self._models),
            web.post("/tokenize", self._tokenize),
            web.post("/v1/completions", self._complete),
            web.get("/metrics", self._metrics),
        ]

    async def _version(self, request: web.Request) -> web.Response:
        return web.json_response({"version": self.version}) if self.version else web.Response(status=404)

    async def _models(self, request: web.Request) -> web.Response:
        data = [{"id": name, "object": "model", "max_model_len": self.length} for name in self.models]
        return web.json_response({"object": "list", "data": data})

    async def _tokenize(self, request: web.Request) -> web.Response:
        body = await request.json()
        ids = list(self.encoder.tokenizer(body["prompt"], add_special_tokens=body["add_special_tokens"])["input_ids"])
        return web.json_response({"count": len(ids), "max_model_len": self.length, "tokens": self.split(ids)})

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.Response(text="vllm:num_requests_running 0\n")

    async def _complete(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.asked.append(body)
        if self.waits:
            try:
                await asyncio.sleep(60)
            finally:
                self.gone.set()
        nonce = nonce_of(json.dumps(body).replace("\\", ""))
        text = nonce if nonce and self.applies else self.write(body)
        tokens = [*self.encoder.tokenizer(text, add_special_tokens=False)["input_ids"], self.encoder.end_id]
        logprobs = {
            "token_logprobs": [-0.5] * len(tokens), "tokens": ["own"] * len(tokens), "text_offset": [0],
            "top_logprobs": [{"own": -0.5, "other": -1.5}] * len(tokens),
        }  # fmt: skip
        choice = {
            "index": 0, "text": text, "finish_reason": "stop", "token_ids": tokens,
            "logprobs": logprobs if "logprobs" in body else None,
        }  # fmt: skip
        return web.json_response({"id": "cmpl-1", "object": "text_completion", "choices": [choice]})


def asked(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch, work: Callable[[VllmEngine], Any]) -> Any:
    """The result of ``work`` with an engine that uses the stand-in."""

    async def main() -> Any:
        async with listening(*stand_in.routes()) as address:
            monkeypatch.setenv("VLLM_URL", address)
            monkeypatch.delenv("VLLM_COMMAND", raising=False)
            engine = VllmEngine(Path("none"), *served("vllm"))
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


def test_the_request_has_token_ids_and_the_grammar(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = StandIn()
    answer: ModelOutput = asked(stand_in, monkeypatch, lambda engine: engine.answer(TEXT))
    assert (answer.raw, answer.finish_reason) == (RAW, "stop")
    assert answer.confidence["invoice_id"] == pytest.approx((0.6065, 0.6065, 0.3834), abs=1e-3)
    [body] = stand_in.asked
    _, builder = served("vllm")
    encoder = builder.encoder
    assert body == {
        "model": "invoices-1", "prompt": builder.prompt(TEXT), "max_tokens": 60, "temperature": 0, "seed": 17,
        "add_special_tokens": False, "return_token_ids": True, "stop_token_ids": list(encoder.stop_ids), "logprobs": 2,
        "structured_outputs": {"grammar": builder.grammar(TEXT)},
    }  # fmt: skip
    assert (answer.prompt_tokens, answer.output_tokens) == (len(body["prompt"]), len(encoder.completion(RAW)))


def test_a_server_that_ignores_the_grammar_is_not_served(monkeypatch: pytest.MonkeyPatch) -> None:
    asked(StandIn(), monkeypatch, check_enforcement)
    assert code_of(lambda: asked(StandIn(applies=False), monkeypatch, check_enforcement)) == "enforcement"


def test_another_server_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    others: list[tuple[dict[str, Any], str]] = [
        ({"models": ("other",)}, "engine"), ({"length": 256}, "engine"), ({"split": lambda ids: [*ids, 1]}, "tokens"),
    ]  # fmt: skip
    for changes, code in others:
        stand_in = StandIn(**changes)
        assert code_of(lambda: asked(stand_in, monkeypatch, lambda engine: engine.metrics())) == code  # noqa: B023


def test_a_router_has_another_version_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    async def version(engine: VllmEngine) -> str:
        return engine.version

    assert asked(StandIn(version="0.1.7"), monkeypatch, version) == "vLLM 0.1.7"
    assert asked(StandIn(version=""), monkeypatch, version) == "vLLM of an unknown version"


def test_a_started_server_that_is_too_old_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async def started(address: str) -> str:
        engine = VllmEngine(Path("none"), *served("vllm"))
        engine._server = ModelServer(address)
        engine._child = VllmServer("vllm", Path("none"), served("vllm")[0])
        try:
            return await engine._checked_version()
        finally:
            await engine.close()

    async def main(version: str) -> str:
        async with listening(*StandIn(version=version).routes()) as address:
            return await started(address)

    assert event_loop.run(main("0.32.0")) == "0.32.0"
    for version in ("0.31.0", ""):
        assert code_of(lambda: event_loop.run(main(version))) == "engine"  # noqa: B023


def test_a_server_with_another_model_is_not_served(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def package(engine: VllmEngine) -> LoadedPackage:
        spec, builder = served("vllm", key="vllm")
        return LoadedPackage(spec, "", builder.schema, engine, builder)

    prints = asked(StandIn(), monkeypatch, lambda engine: fingerprint(package(engine)))
    (tmp_path / FINGERPRINTS).parent.mkdir()
    (tmp_path / FINGERPRINTS).write_text(json.dumps({"vllm": prints}))
    asked(StandIn(), monkeypatch, lambda engine: check_fingerprint(tmp_path, package(engine)))
    other = StandIn(write=lambda body: '{"invoice_id":"X","total":null}')
    code = code_of(lambda: asked(other, monkeypatch, lambda engine: check_fingerprint(tmp_path, package(engine))))
    assert code == "identity"


def test_a_cancelled_request_closes_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = StandIn()

    async def work(engine: VllmEngine) -> bool:
        stand_in.waits = True
        request = asyncio.ensure_future(engine.answer(TEXT))
        while not stand_in.asked:
            await asyncio.sleep(0.01)
        request.cancel()
        await asyncio.gather(request, return_exceptions=True)
        await asyncio.wait_for(stand_in.gone.wait(), 5)
        return True

    assert asked(stand_in, monkeypatch, work)


def test_a_long_document_and_a_server_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    answer: ModelOutput = asked(StandIn(), monkeypatch, lambda engine: engine.answer("again and again " * 2_000))
    assert (answer.finish_reason, answer.code) == ("error", "too_long")
    talking = StandIn(write=lambda body: "Here you are: {}")
    answer = asked(talking, monkeypatch, lambda engine: engine.answer(TEXT))
    assert (answer.finish_reason, answer.code) == ("error", "grammar")

    async def away(engine: VllmEngine) -> ModelOutput:
        assert engine._server is not None
        engine._server.url = "http://127.0.0.1:1"
        return await engine.answer(TEXT)

    answer = asked(StandIn(), monkeypatch, away)
    assert (answer.finish_reason, answer.code) == ("error", "engine")


def test_the_command_is_a_program_or_a_virtual_environment(tmp_path: Path) -> None:
    options = vllm_options(name="invoices-1", context=512, seed=17)
    assert options[:4] == ["--served-model-name", "invoices-1", "--max-model-len", "512"]
    command = vllm_serve("vllm --enforce-eager", "m", ["--seed", "1"])
    assert (command[:5], command[-1]) == (["vllm", "serve", "m", "--seed", "1"], "--enforce-eager")
    assert vllm_serve(str(tmp_path), "m", [])[0] == f"{tmp_path}/bin/python"
