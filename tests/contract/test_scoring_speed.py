"""Scoring thousands of documents of twelve flat fields takes seconds, not minutes."""

import random
import time
from decimal import Decimal

import pytest

from slmstudio.contract.schema.compiled import compile_schema, dumps
from slmstudio.contract.scoring.scorer import score_document, summarize
from tests.contract.samples import object_schema

NAMES = [f"t{i}" for i in range(6)]
AMOUNTS = [f"n{i}" for i in range(4)]
DAYS = ["issued", "due"]


@pytest.mark.slow
def test_two_thousand_documents() -> None:
    properties = {name: {"type": "string"} for name in NAMES}
    properties |= {name: {"type": "number", "multipleOf": 0.01} for name in AMOUNTS}  # type: ignore[dict-item]
    properties |= {name: {"type": "string", "format": "date"} for name in DAYS}
    compiled = compile_schema(object_schema(properties, required=list(properties), additionalProperties=False))
    source = random.Random(17)
    documents = []
    for _ in range(2_000):
        gold: dict[str, object] = {name: f"word {source.randrange(10**6)}" for name in NAMES}
        gold |= {name: Decimal(source.randrange(10**6)) / 100 for name in AMOUNTS}
        gold |= {name: f"2026-{source.randrange(1, 13):02}-{source.randrange(1, 28):02}" for name in DAYS}
        output = {
            name: "2020-01-01" if name in DAYS and source.random() < 0.2 else value for name, value in gold.items()
        }
        documents.append(("\n".join(map(str, gold.values())) + "\nlorem ipsum" * 50, gold, dumps(output)))
    seconds = float("inf")
    for _ in range(3):  # a machine that is busy with other work gets three tries
        start = time.process_time()
        figures = summarize([score_document(compiled, text=text, gold=gold, raw=raw) for text, gold, raw in documents])
        seconds = min(seconds, time.process_time() - start)
        assert figures["documents"] == 2_000
        assert 0.9 < figures["field_exact"]["rate"] < 1
        if seconds < 1.2:
            break
    # Measured: 1.5 s for 10,000 documents on one core (docs/evaluation.md); slack for slower and shared ones.
    assert seconds < 1.2
