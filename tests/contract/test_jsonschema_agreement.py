"""The validator agrees with jsonschema on schemas of every accepted kind, for valid values and for damaged ones.

Left aside are the documented differences: formats, patterns (RE2), and fractions, which are binary there, exact here.
``SCHEMAS=5000`` in the environment looks at more.
"""

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from slmstudio.contract.json_text import dumps
from slmstudio.contract.schema.compiled import SchemaError, compile_schema
from tests.contract.schema_values import Values, schemas_of_every_kind
from tests.contract.test_consistent_interpretation import EXAMPLES

DIFFERENT = {"$schema", "format", "pattern", "patternProperties"}
SEEN: Counter[str] = Counter()


def comparable(part: Any) -> Any:
    """A schema without the documented differences."""
    if isinstance(part, list):
        return [comparable(inner) for inner in part]
    if not isinstance(part, dict):
        return part
    return {
        key: comparable(inner)
        for key, inner in part.items()
        if key not in DIFFERENT and not (key == "multipleOf" and inner != int(inner))
    }


def plain(part: Any) -> Any:
    """As the json module reads it."""
    return json.loads(dumps(part))


@st.composite
def damaged(draw: st.DrawFn, value: Any) -> Any:
    """A value with one place changed: another type, a missing or additional field, a repeated or missing item."""
    other = st.sampled_from([None, True, 0, 7, -1, "", "x", [], {}, [1, 1], {"a": 1}])
    if isinstance(value, dict) and value and draw(st.integers(0, 3)):
        name = draw(st.sampled_from(sorted(value)))
        rest = {key: inner for key, inner in value.items() if key != name}
        kind = draw(st.sampled_from(["inside", "inside", "missing", "additional"]))
        if kind == "inside":
            return {**rest, name: draw(damaged(value[name]))}
        return rest if kind == "missing" else {**value, "unknown": draw(other)}
    if isinstance(value, list) and value and draw(st.booleans()):
        place = draw(st.integers(0, len(value) - 1))
        new = draw(st.sampled_from([[], [value[place]] * 2])) if draw(st.booleans()) else [draw(damaged(value[place]))]
        return [*value[:place], *new, *value[place + 1 :]]
    return draw(other)


@pytest.mark.slow
@settings(
    max_examples=2 * EXAMPLES,
    deadline=None,
    derandomize=EXAMPLES < 1000,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(schemas_of_every_kind(), st.data())
def test_valid_means_what_jsonschema_means(made: tuple[dict[str, Any], Values], data: st.DataObject) -> None:
    schema, values = made
    schema = comparable(schema)
    try:
        compiled = compile_schema(schema)
    except SchemaError:
        SEEN["refused"] += 1
        return
    reference = Draft202012Validator(plain(schema))
    value = data.draw(values)
    for tried in (value, data.draw(damaged(value))):
        expected = reference.is_valid(plain(tried))
        SEEN["valid" if expected else "not valid"] += 1
        problems = compiled.validate(tried)
        assert (not problems) == expected, f"{dumps(schema)}\n{dumps(tried)}\n{problems}"


@pytest.mark.slow
def test_both_answers_occurred() -> None:
    print(dict(SEEN))
    assert SEEN["valid"] > EXAMPLES / 4
    assert SEEN["not valid"] > EXAMPLES / 4
