"""Whatever is pasted, the answer is a draft or a refusal, in time linear in the text."""

import json
import time
from typing import Any

import pytest

from slmstudio.contract.decoding.grammar import output_bound, unsupported
from slmstudio.contract.schema import work
from slmstudio.contract.schema.checks import SchemaError
from slmstudio.contract.schema.compiled import compile_schema
from slmstudio.contract.schema.structure import Node
from slmstudio.contract.sources.detection import GENERATORS, draft_schema
from slmstudio.contract.sources.examples import SourceError
from tests.contract.hostile_schemas import TEXTS, hostile_schema, statements

#: of processor time; the slowest takes a quarter of it
SECONDS = 4


@pytest.mark.slow
@pytest.mark.parametrize("name", TEXTS)
def test_a_long_text_is_read_or_refused_in_time(name: str) -> None:
    text = TEXTS[name]()
    began = time.process_time()
    try:
        draft = draft_schema(text)
    except SourceError:
        pass
    else:
        unsupported(draft.schema)
        output_bound(draft.schema)
    assert time.process_time() - began < SECONDS


def test_a_statement_that_contains_statements_is_a_schema() -> None:
    compiled = compile_schema(draft_schema(json.dumps(statements())).schema)
    paths = {node.pattern for node in compiled.root.nodes()}
    assert {"actor", "object", "object.a"} <= paths
    inner: dict[str, Any] = {"actor": "x", "object": {"a": "y"}}
    assert compiled.validate({"actor": "x", "object": {"actor": "x", "object": inner}})  # fits more than one of six
    assert compiled.canonical(inner) == '{"actor":"x","object":{"a":"y"}}'


def test_the_tree_of_a_recursive_schema_ends() -> None:
    def depth(node: Node) -> int:
        inner = [*node.children.values(), *([node.item] if node.item else [])]
        return 1 + max(map(depth, inner), default=0)

    accepted = 0
    for seed in range(60):
        try:
            compiled = compile_schema(draft_schema(json.dumps(hostile_schema(seed))).schema)
        except SourceError:
            continue
        accepted += 1
        assert depth(compiled.root) <= 64, seed
        assert compiled.validate({"a": {"a": {"a": {"b": 1}}}}) is not None
    assert accepted > 30


def test_a_chain_of_references_that_cannot_be_followed_is_refused() -> None:
    chain = {f"d{number}": {"allOf": [{"$ref": f"#/$defs/d{number + 1}"}]} for number in range(2_000)}
    schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/d0"}}, "$defs": {**chain, "d2000": {}}}
    with pytest.raises(SchemaError):
        compile_schema(schema)


def test_values_that_a_schema_cannot_check_have_a_problem() -> None:
    chain = {f"d{number}": {"allOf": [{"$ref": f"#/$defs/d{number + 1}"}]} for number in range(20)}
    last = {"type": "object", "properties": {"a": {"$ref": "#/$defs/d0"}}}
    compiled = compile_schema({**last, "$defs": {**chain, "d20": last}})
    value: dict[str, Any] = {}
    for _ in range(60):
        value = {"a": value}
    assert [problem.rule for problem in compiled.validate(value)] == ["json"]
    assert compiled.validate({"a": {"a": {}}}) == []


def test_steps_are_counted_together_also_where_limits_are_nested() -> None:
    with work.limited(10):
        work.spend(4)
        with work.limited(5):
            work.spend(5)
        with pytest.raises(work.TooMuchWorkError), work.limited(5):
            work.spend(2)
    work.spend(10**9)


def test_source_code_is_refused_with_the_line_that_prints_its_schema() -> None:
    for text, library in (
        ("from pydantic import BaseModel\n\nclass Order(BaseModel):\n    total: float\n", "Pydantic 2"),
        ("@dataclass\nclass Order:\n    total: float\n", "Pydantic 2"),
        ("```python\nclass Order(BaseModel):\n    total: float\n```", "Pydantic 2"),
        ("export interface Order { total: number; note?: string }", "TypeScript"),
        ("type Order = { total: number };", "TypeScript"),
        ("export enum Kind { A, B }", "TypeScript"),
        ('import { z } from "zod";\nexport const Order = z.object({ total: z.number() })', "zod 4"),
    ):
        command = next(generator.command for generator in GENERATORS if generator.library == library)
        with pytest.raises(SourceError) as caught:
            draft_schema(text)
        assert command in caught.value.message, text


def test_other_notations_are_refused() -> None:
    for text in ("- total: 1\n", "a: -\n", "just words", "[-]", "-", "+", ".", "{'a': 1}", "\0", "\ud800"):
        with pytest.raises(SourceError):
            draft_schema(text)
