"""The engine of encoders: windows of documents that wait are computed together, and a failing one affects no other."""

import asyncio
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from serving.engines import ENGINES
from serving.ml.engines.encoder import EncoderEngine, WindowQueue
from serving.packages.spec import OutputTokens, ServeSpec
from tests.training.ml.encoders.test_onnx import LONG, compiled, exported
from training.ml.encoders.onnx_scorer import load_onnx_predictor
from training.ml.encoders.predictor import NO_TEXT
from training.ml.encoders.windows import TokenWindow
from training.spec import ContractRef

#: of a batch
TOKENS = 1024


class Scores:
    """Stands for a model: the score of a window is its first token; a negative one is an error. ``calls``: the first
    tokens of each call. ``go``: computing waits for it.
    """

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.go = threading.Event()

    def __call__(self, windows: Sequence[TokenWindow]) -> list[Mapping[str, Any]]:
        self.calls.append([window.tokens[0] for window in windows])
        assert self.go.wait(10)
        if any(window.tokens[0] < 0 for window in windows):
            raise ValueError(f"no score of {min(self.calls[-1])}")
        return [{"score": window.tokens[0]} for window in windows]

    async def begun(self) -> None:
        """Until the first call is waiting."""
        while not self.calls:
            await asyncio.sleep(0.001)


def windows(*numbers: int, tokens: int = 10) -> list[TokenWindow]:
    return [TokenWindow([number] * tokens, 0, [0], [1]) for number in numbers]


def asked(queue: WindowQueue, *numbers: int, tokens: int = 10) -> "asyncio.Task[list[int]]":
    """The scores of a document, asked for."""

    async def ask() -> list[int]:
        scores, waited = await queue.scores(windows(*numbers, tokens=tokens))
        assert waited >= 0
        return [score["score"] for score in scores]

    return asyncio.create_task(ask())


async def test_documents_that_wait_are_computed_together_and_fail_alone() -> None:
    model = Scores()
    queue = WindowQueue(model, TOKENS)
    first = asked(queue, 1)
    await model.begun()
    others = [asked(queue, 2, 3), asked(queue, 4, -5), asked(queue, 6), asked(queue, 7)]
    await asyncio.sleep(0)
    others[3].cancel()
    await asyncio.sleep(0)
    model.go.set()
    assert await first == [1]
    assert await others[0] == [2, 3]
    with pytest.raises(ValueError, match="no score of -5"):
        await others[1]
    assert await others[2] == [6]
    assert model.calls[:2] == [[1], [2, 4, 6, 3, -5]]
    assert not any(7 in call for call in model.calls)
    queue.close()


async def test_a_long_document_delays_no_other() -> None:
    model = Scores()
    queue = WindowQueue(model, TOKENS)
    long = asked(queue, *range(100), tokens=TOKENS // 4)
    await model.begun()
    short = [asked(queue, number) for number in (1000, 1001)]
    await asyncio.sleep(0)
    model.go.set()
    assert [await task for task in short] == [[1000], [1001]]
    assert [1000 in call for call in model.calls[:2]] == [False, True]
    assert len(model.calls[0]) == 4  # as many windows as fit, where no other document waits
    assert await long == list(range(100))
    gone = asked(queue, *range(100), tokens=TOKENS)
    await asyncio.sleep(0.01)
    gone.cancel()
    before = len(model.calls)
    assert await asked(queue, 5) == [5]
    assert len(model.calls) <= before + 2
    queue.close()


@pytest.mark.parametrize("name", ["encoder", "encoder_fp32"])
async def test_concurrent_answers_are_those_of_one_document_after_another(name: str) -> None:
    folder: Path = exported()
    contract = ContractRef(instruction="x", schema=compiled().schema)
    spec = ServeSpec(engine=name, contract=contract, output_tokens=OutputTokens(reserved=0, maximum=0), model=".")
    engine = EncoderEngine(folder, spec)
    await engine.start()
    texts = [LONG[start : start + length] for start, length in ((0, 40), (3, 900), (11, 300), (17, 90), (5, 41))]
    answers = await asyncio.gather(*map(engine.answer, [*texts, " ", "a" * 1_000_001]))
    empty, too_long = answers[-2:]
    assert (empty.error, empty.code, too_long.code) == (NO_TEXT, "engine", "too_long")
    predictor = load_onnx_predictor(folder, compiled(), precision=ENGINES[name].precision)
    for text, answer in zip(texts, answers[:-2], strict=True):
        wanted = predictor.predict(text)
        assert (answer.finish_reason, answer.raw, answer.prompt_tokens) == ("stop", wanted.text, wanted.tokens)
        assert {path: low for path, (low, _) in answer.confidence.items()} == pytest.approx(wanted.confidence, abs=1e-5)
    await engine.close()
