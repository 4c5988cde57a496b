"""scikit-learn as an engine: the classical model of a package, one document at a time."""

from importlib import metadata
from pathlib import Path

from evaluation.ml.classical.answer import TOO_LONG, answer
from evaluation.ml.classical.model import ClassicalPredictors
from serving.ml.engines.engine import SingleThread
from serving.packages.spec import ServeSpec
from serving.replicas.protocol import ModelOutput
from training.ml.data.rows import Row, compiled


class SklearnEngine:
    """Answers with a classical model; concurrent documents wait for their turn."""

    def __init__(self, folder: Path, spec: ServeSpec, builder: None = None, *, slots: int = 1) -> None:
        self._folder = folder / spec.model
        self._schema = compiled(spec.contract)
        self._thread = SingleThread()
        self.metrics = self._thread.metrics
        self._model: ClassicalPredictors | None = None

    @property
    def version(self) -> str:
        return f"scikit-learn {metadata.version('scikit-learn')}"

    async def start(self) -> None:
        await self._thread.run(lambda _: self._load())

    def _load(self) -> None:
        self._model = ClassicalPredictors.load(self._folder, self._schema)
        self._model.predict("")  # the first call imports and allocates

    async def answer(self, text: str) -> ModelOutput:
        return await self._thread.run(lambda queue_ms: self._answer(text, queue_ms))

    def _answer(self, text: str, queue_ms: float) -> ModelOutput:
        assert self._model is not None, "the engine is not started"
        output = answer(self._model, Row(id="request", split="", text=text, gold=None))
        if output.finish_reason == "error":
            code = "too_long" if output.error.startswith(TOO_LONG) else "engine"
            return ModelOutput.failed(code, output.error, queue_ms=queue_ms, model_ms=output.latency_ms)
        return ModelOutput(output.raw, "stop", queue_ms, output.latency_ms, confidence=dict(output.confidence or {}))

    async def close(self) -> None:
        self._thread.close()
        self._model = None
