"""Sampling within a time limit."""

import itertools
from types import SimpleNamespace
from typing import Any

import pytest

from slmstudio.contract.schema.compiled import compile_schema
from tests.training.ml_data import SCHEMA
from training.ml.data.rows import Row
from training.ml.lengths import EncodedRow
from training.ml.loop import samples


class Answers:
    """A decoder that is always wrong."""

    def __init__(self, *_: Any) -> None:
        return

    def warm(self, prompts: list[Any]) -> None:
        return

    def answer(self, prompt: Any, **_: Any) -> Any:
        return SimpleNamespace(text="{}", finish_reason="stop")


def sampler(seconds: float | None) -> samples.ValidationSampler:
    gold = {"invoice_id": "A", "total": None}
    rows = [Row(str(index), "validation", "A", gold) for index in range(6)]
    documents = [[EncodedRow(row, prompt=[1], completion=[2])] for row in rows]
    encoder: Any = None
    return samples.ValidationSampler(
        documents, schema=compile_schema(SCHEMA), encoder=encoder, limit=9, seconds=seconds
    )


def ids(result: dict[str, Any]) -> list[str]:
    return [row["id"] for row in result["rows"]]


def test_documents_beyond_the_time_limit_are_left_out_of_all_evaluations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "Decoder", Answers)
    clock = itertools.count(0.0, 10.0)
    monkeypatch.setattr("training.ml.loop.samples.time.monotonic", lambda: next(clock))
    limited, unlimited = sampler(25.0), sampler(None)
    loaded: Any = None
    first = limited.sample(loaded, stopped=lambda: False)
    assert ids(first) == ["0", "1", "2"]
    assert first["field_exact"] is not None
    clock = itertools.count(0.0, 1000.0)
    assert ids(limited.sample(loaded, stopped=lambda: False)) == ["0", "1", "2"]
    assert len(ids(unlimited.sample(loaded, stopped=lambda: False))) == 6
    assert ids(sampler(1.0).sample(loaded, stopped=lambda: False)) == ["0"], "at least one document is scored"
