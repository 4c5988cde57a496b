"""ONNX Runtime as an engine: the encoder of a package. The windows of documents that wait take turns; in fp32 they are
computed together, in int8 one by one (see ``training.ml.encoders.onnx_export``).
"""

import asyncio
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import metadata
from pathlib import Path

from serving.engines import ENGINES
from serving.ml.engines.engine import SingleThread
from serving.packages.spec import ServeSpec
from serving.replicas.protocol import Confidence, ModelOutput
from slmstudio.errors import Refused
from slmstudio.workers.hardware import allowed_cores
from training.ml.data.rows import compiled
from training.ml.encoders.onnx_scorer import load_onnx_predictor
from training.ml.encoders.output_decoder import Scores
from training.ml.encoders.predictor import NO_TEXT, Predictor
from training.ml.encoders.windows import TokenWindow
from training.ml.events import describe_error

#: tokens of the windows that are computed together, before they are padded: more are hardly faster on a processor, and
#: a new document waits longer. One: each window by itself.
BATCH_TOKENS = {"fp32": 1024, "int8": 1}


@dataclass(eq=False)
class _Document:
    """A document whose windows are computed. ``scores``: of its first windows."""

    windows: Sequence[TokenWindow]
    done: "asyncio.Future[list[Scores]]"
    arrived: float = field(default_factory=time.perf_counter)
    begun: float = 0.0
    scores: list[Scores] = field(default_factory=list)


class WindowQueue:
    """Computes the windows of concurrent documents in batches. Each document has its turn in every batch, so that none
    waits for all windows of a long one, and an error is that of its own document.
    """

    def __init__(self, score: Callable[[Sequence[TokenWindow]], list[Scores]], tokens: int) -> None:
        """``score``: as ``Predictor.scored``; it runs in one thread. ``tokens``: of a batch, see ``BATCH_TOKENS``."""
        self._score = score
        self._tokens = tokens
        self._thread = SingleThread()
        self._waiting: deque[_Document] = deque()
        self._worker: asyncio.Task[None] | None = None

    async def scores(self, windows: Sequence[TokenWindow]) -> tuple[list[Scores], float]:
        """The scores of the windows of one document, and the milliseconds that it waited. Raises what ``score`` does;
        where the caller gives up, windows that are not computed yet are dropped.
        """
        document = _Document(windows, asyncio.get_running_loop().create_future())
        self._waiting.append(document)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return await document.done, round((document.begun - document.arrived) * 1000, 2)

    async def _work(self) -> None:
        while batch := self._next_batch():
            for document, _ in batch:
                document.begun = document.begun or time.perf_counter()
            windows = [window for _, window in batch]
            results = await self._thread.run(partial(self._computed, windows))
            for (document, _), result in zip(batch, results, strict=True):
                _deliver(document, result)
            # Behind those that came in the meantime.
            self._waiting.extend(dict.fromkeys(document for document, _ in batch if not document.done.done()))

    def _next_batch(self) -> list[tuple[_Document, TokenWindow]]:
        """One window of each document in turn, until there are enough tokens."""
        turns = deque((document, len(document.scores)) for document in self._waiting if not document.done.done())
        batch: list[tuple[_Document, TokenWindow]] = []
        tokens = 0
        while turns:
            document, number = turns[0]
            window = document.windows[number]
            tokens += len(window.tokens)
            if batch and tokens > self._tokens:
                break
            batch.append((document, window))
            turns.popleft()
            if number + 1 < len(document.windows):
                turns.append((document, number + 1))
        served = {document for document, _ in batch}
        self._waiting = deque(document for document in self._waiting if document not in served)
        return batch

    def _computed(self, windows: Sequence[TokenWindow], queue_ms: float = 0.0) -> list[Scores | Exception]:
        """The scores of each window, or why there are none: of a batch that fails, each is computed by itself."""
        try:
            return list(self._score(windows))
        except Exception as error:
            if len(windows) > 1:
                return [result for window in windows for result in self._computed([window])]
            traceback.print_exc()
            return [error]

    def close(self) -> None:
        """No more windows are computed."""
        if self._worker is not None:
            self._worker.cancel()
        self._thread.close()


def _deliver(document: _Document, result: Scores | Exception) -> None:
    if document.done.done():  # the caller has given up, or another window has failed
        return
    if isinstance(result, Exception):
        document.done.set_exception(result)
        return
    document.scores.append(result)
    if len(document.scores) == len(document.windows):
        document.done.set_result(document.scores)


class EncoderEngine:
    """Answers with the ONNX file of an encoder."""

    def __init__(self, folder: Path, spec: ServeSpec, builder: None = None, *, slots: int = 1) -> None:
        self._folder = folder / spec.model
        self._precision = ENGINES[spec.engine].precision
        self._schema = compiled(spec.contract)
        self._predictor: Predictor | None = None
        self._queue: WindowQueue | None = None

    @property
    def version(self) -> str:
        return f"ONNX Runtime {metadata.version('onnxruntime')}"

    async def start(self) -> None:
        self._predictor = await asyncio.to_thread(self._load)
        self._queue = WindowQueue(self._predictor.scored, BATCH_TOKENS[self._precision])

    def _load(self) -> Predictor:
        cores = len(allowed_cores())
        predictor = load_onnx_predictor(self._folder, self._schema, precision=self._precision, threads=cores)
        predictor.predict("0")  # the first call imports and allocates
        return predictor

    async def answer(self, text: str) -> ModelOutput:
        assert self._predictor is not None, "the engine is not started"
        assert self._queue is not None
        if not text.strip():
            return ModelOutput.failed("engine", NO_TEXT)
        started, queue_ms = time.perf_counter(), 0.0
        try:
            windows = await asyncio.to_thread(self._predictor.windows, text)
            scores, queue_ms = await self._queue.scores(windows)
            made = await asyncio.to_thread(self._predictor.prediction, text, windows, scores)
        except Exception as error:
            code = "too_long" if isinstance(error, Refused) and error.code == "length" else "engine"
            return ModelOutput.failed(code, describe_error(error)[1], queue_ms=queue_ms, model_ms=_since(started))
        confidence: Confidence = {path: (round(value, 6), round(value, 6)) for path, value in made.confidence.items()}
        model_ms = round(_since(started) - queue_ms, 2)
        return ModelOutput(made.text, "stop", queue_ms, model_ms, made.tokens, 0, confidence)

    async def metrics(self) -> str:
        return ""

    async def close(self) -> None:
        if self._queue is not None:
            self._queue.close()
        self._predictor = self._queue = None


def _since(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 2)
