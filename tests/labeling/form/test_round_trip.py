"""Any schema becomes a form or says why not; any value survives being opened in it and saved from it."""

from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labeling.form.codec import from_entry, leaf_values, to_entry
from labeling.form.tree import form_for, node_at, tree_of
from slmstudio.contract.json_text import dumps, loads
from slmstudio.contract.schema.compiled import SchemaError, compile_schema
from tests.contract.samples import json_values
from tests.contract.schema_values import Values, schemas_of_every_kind
from tests.labeling.form_values import EVERYTHING, raw_parts, sample, survives

NAMES = [
    *EVERYTHING["properties"],
    "by",
    "number",
    "iban",
    "name",
    "kind",
    "text",
    "key",
    "value",
    "$json",
    "$form",
    "$value",
    "$more",
]
VALUES = st.recursive(
    json_values | st.sampled_from(["card", "bank", "company"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(schemas_of_every_kind(), json_values, st.integers(0, 10**6))
def test_any_value_round_trips_through_the_form_of_any_schema(
    made: tuple[dict[str, Any], Values], value: Any, seed: int
) -> None:
    try:
        compiled = compile_schema(loads(dumps(made[0])))
    except SchemaError:
        return
    tree = tree_of(compiled)
    assert all(node.reason for node in tree.nodes() if node.shape == "json")
    for number in range(3):
        assert survives(tree, sample(tree, Random(seed + number)))
    assert survives(tree, value)
    list(leaf_values(tree, value))
    form_for(compiled, value, read_only=True)


@settings(max_examples=100, deadline=None)
@given(VALUES)
def test_any_value_or_entry_is_read_by_the_full_form(entry: Any) -> None:
    compiled = compile_schema(loads(dumps(EVERYTHING)))
    tree = tree_of(compiled)
    assert survives(tree, entry)
    value = from_entry(tree, entry).value
    compiled.validate(value)
    dumps(value)


def test_form_values_are_not_shown_as_json_and_their_leaves_have_the_nodes_of_their_paths() -> None:
    tree = tree_of(compile_schema(loads(dumps(EVERYTHING))))
    for seed in range(60):
        value = sample(tree, Random(seed))
        assert raw_parts(tree, to_entry(tree, value)) == []
        for path, node, _ in leaf_values(tree, value):
            at_path = node_at(tree, path)
            is_form = at_path.shape == "variants" or path.startswith(("paid", "parts"))
            assert at_path is node or is_form or node.shape == "json"
