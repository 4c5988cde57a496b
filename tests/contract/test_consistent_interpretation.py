"""Form, validator, decoder and scorer interpret a schema in the same way.

For any accepted schema and any valid value the canonical text is valid and can be written under the grammar, the form
gives the value back, and scoring it against itself is exact. ``SCHEMAS=5000`` in the environment looks at more.
"""

import os
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labeling.form.tree import tree_of
from slmstudio.contract.decoding.grammar import grammar, output_bound, unsupported
from slmstudio.contract.decoding.grounding import GroundingPlan, build_plan, grammar_of
from slmstudio.contract.json_text import dumps
from slmstudio.contract.schema.compiled import CompiledSchema, SchemaError, compile_schema
from slmstudio.contract.scoring.scorer import score_document
from tests.contract.schema_values import Values, schemas_of_every_kind
from tests.contract.test_grammar import accepts
from tests.contract.test_grounding import accepts as accepts_lark
from tests.labeling.form_values import survives

EXAMPLES = int(os.environ.get("SCHEMAS", "60"))
#: how many of what were looked at; ``-s`` shows it
SEEN: Counter[str] = Counter()


def turned(value: Any) -> Any:
    """The same value with every object's names in the opposite order."""
    if isinstance(value, dict):
        return {name: turned(inner) for name, inner in reversed(value.items())}
    return [turned(inner) for inner in value] if isinstance(value, list) else value


def words_of(value: Any) -> list[str]:
    """Every text in a value."""
    if isinstance(value, dict | list):
        return [text for inner in (value.values() if isinstance(value, dict) else value) for text in words_of(inner)]
    return [value] if isinstance(value, str) else []


def check_meaning(compiled: CompiledSchema, value: Any) -> None:
    """One valid value of one schema: see above."""
    text = compiled.canonical(value)
    again, problems = compiled.check(text)
    assert not problems, (problems, text)
    assert compiled.canonical(again) == text
    assert compiled.ordered(value) == value
    bound = output_bound(compiled.schema)
    assert bound is None or len(text) <= bound

    assert survives(tree_of(compiled), value)

    for raw in (text, dumps(value)):
        score = score_document(compiled, text="", gold=value, raw=raw)
        assert score.exact, (raw, [row for row in score.fields if row.outcome not in ("correct", "both_absent")])
        assert score.no_extra_keys

    assert accepts(grammar(compiled.schema), text), text
    assert accepts(grammar(compiled.schema), compiled.canonical(turned(value))), text
    assert accepts_lark(grammar_of(compiled, GroundingPlan(), ""), text), text
    document = "\n".join(words_of(value))
    assert accepts_lark(grammar_of(compiled, build_plan(compiled, [(document, value)]), document), text), (
        text,
        document,
    )


@pytest.mark.slow
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=EXAMPLES < 1000,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(schemas_of_every_kind(), st.data())
def test_valid_values_agree_in_form_decoder_and_scorer(
    made: tuple[dict[str, Any], Values], data: st.DataObject
) -> None:
    schema, values = made
    SEEN["schemas"] += 1
    try:
        compiled = compile_schema(schema)
    except SchemaError as error:
        SEEN[f"refused: {error.message[:40]}"] += 1
        return
    for _ in range(3):
        value = data.draw(values)
        if compiled.validate(value):
            SEEN["values that are not valid"] += 1
            continue
        if any("does not support this schema" in sentence for sentence in unsupported(schema)):
            SEEN["no grammar, with a reason"] += 1
            return
        SEEN["values"] += 1
        try:
            check_meaning(compiled, value)
        except AssertionError as error:
            raise AssertionError(f"{dumps(schema)}\n{dumps(value)}\n{error}") from error


@pytest.mark.slow
def test_the_number_of_examined_documents() -> None:
    print(dict(SEEN))
    assert SEEN["values"] > EXAMPLES
    assert SEEN["no grammar, with a reason"] <= SEEN["schemas"] / 50
