"""transformers as an engine: the generator of evaluations with the weights of the package, one document at a time."""

from importlib import metadata
from pathlib import Path
from typing import Any

from evaluation.ml.generator import Generator
from evaluation.ml.hybrid import generator_of
from evaluation.ml.prompts import PromptBuilder
from serving.ml.engines.engine import SingleThread
from serving.packages.spec import ServeSpec
from serving.replicas.protocol import ModelOutput
from slmstudio.contract.decoding import grammar
from slmstudio.contract.json_text import loads
from training.ml.data.rows import Row
from training.ml.decoding.constraint import Grammar
from training.ml.decoding.decoder import Decoder, Loaded, load
from training.ml.hardware import device as machine


class TransformersEngine:
    """Answers with the weights; concurrent documents wait for their turn."""

    def __init__(self, folder: Path, spec: ServeSpec, builder: PromptBuilder, *, slots: int = 1) -> None:
        self._folder = folder / spec.model
        self._builder, self._encoder = builder, builder.encoder
        self._thread = SingleThread()
        self.metrics = self._thread.metrics
        self._loaded: Loaded | None = None
        self._generator: Generator | None = None

    @property
    def version(self) -> str:
        return f"transformers {metadata.version('transformers')}"

    async def start(self) -> None:
        await self._thread.run(lambda _: self._load())

    def _load(self) -> None:
        machine.set_threads()
        self._loaded = load(str(self._folder))
        # The same document gets the same output and confidence, whatever was answered before it. In fp32 it does also
        # where earlier outputs are proposed.
        learns = self._loaded.precision == "fp32"
        options = {"confidence": True, "learns": learns}
        self._generator = generator_of(self._folder, self._builder, self._loaded, self._encoder, **options)
        # Two documents that share nothing: what their prompts share is the instruction with its examples.
        self._generator.warm([Row(id=name, split="", text=name, gold=None) for name in ("0", "a")])

    async def answer(self, text: str) -> ModelOutput:
        return await self._thread.run(lambda queue_ms: self._answer(text, queue_ms))

    def _answer(self, text: str, queue_ms: float) -> ModelOutput:
        assert self._generator is not None, "the engine is not started"
        output = self._generator.answer(Row(id="request", split="", text=text, gold=None))
        if output.finish_reason == "error":
            code = "too_long" if output.error.startswith("The prompt has ") else "engine"
            return ModelOutput.failed(code, output.error, queue_ms=queue_ms, model_ms=output.latency_ms)
        return ModelOutput(
            output.raw, output.finish_reason, queue_ms, output.latency_ms, output.prompt_tokens, output.output_tokens,
            dict(output.confidence or {}),
        )  # fmt: skip

    async def answer_prompt(self, prompt: str, schema: str, tokens: int) -> str:
        return await self._thread.run(lambda _: self._answer_prompt(prompt, loads(schema), tokens))

    def _answer_prompt(self, prompt: str, schema: Any, tokens: int) -> str:
        assert self._loaded is not None, "the engine is not started"
        held = Grammar(
            grammar.grammar(schema),
            self._encoder.tokenizer,
            vocabulary=self._loaded.model.get_output_embeddings().weight.shape[0],
            stop_ids=self._encoder.stop_ids,
        )
        ids = list(self._encoder.tokenizer(prompt)["input_ids"])
        decoder = Decoder(self._loaded, self._encoder, speculate=False)
        return decoder.answer(lambda: ids, max_new_tokens=tokens, constraint=held.constraint()).text

    async def close(self) -> None:
        self._thread.close()
        self._generator = self._loaded = None
