"""Schemas as real generators wrote them (``generators/`` makes the fixtures), and in ``documented.json`` as the
documentation of others shows them: each is accepted and can be decoded, and form, decoder and scorer agree on its
values. ``SCHEMAS=5000`` in the environment looks at more values.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from labeling.form.tree import tree_of
from slmstudio.contract.decoding.grammar import grammar
from slmstudio.contract.translation.translation import translate
from tests.contract.test_consistent_interpretation import check_meaning
from tests.labeling.form_values import sample

FIXTURES = Path(__file__).with_name("fixtures")
#: a type of TypeScript that lists several schemas, of which none is the one
COLLECTIONS = {"ts.*.export", "ts.*.none", "ts.*.all"}
#: schemas whose values are compared; all of them with SCHEMAS
COMPARED = {
    "Invoice", "Invoice.validation", "Total.serialization", "union", "list", "zod3.openApi3.false.node",
    "zod3.refs.relative", "zod3.openAi.true.union", "zod4.draft-2020-12.output.strict", "zod4.draft-4.input.node",
    "typebox.rec", "valibot", "ts.Pay.export",
    "schemars.0.8", "schemars.1", "NJsonSchema", "NJsonSchema.inheritance", "invopop", "OpenAPI.3.0", "OpenAPI.3.1",
    "OpenAI.tool", "Anthropic.tool", "Gemini.tool", "Gemini.responseSchema",
}  # fmt: skip
EVERY = "SCHEMAS" in os.environ
#: releases whose schemas differ little from those of the newest
OLDER = {f"pydantic-{release}" for release in ("2.0", "2.4", "2.8", "2.9", "2.12")}


def _cases() -> Iterator[Any]:
    for file in sorted(FIXTURES.glob("*.json")):
        for name, schema in json.loads(file.read_text()).items():
            if name not in COLLECTIONS:
                yield pytest.param(name, json.dumps(schema), file.stem in OLDER, id=f"{file.stem}:{name}")


@pytest.mark.parametrize(("name", "text", "is_older"), [*_cases()])
def test_generated_schemas_are_accepted(name: str, text: str, is_older: bool) -> None:
    compiled = translate(text).compiled
    assert compiled.fields
    assert grammar(compiled.schema)
    if not EVERY and (name not in COMPARED or is_older):
        return
    random = Random(7)
    values = [sample(tree_of(compiled), random) for _ in range(200)]
    valid = [value for value in values if not compiled.validate(value)]
    for value in valid[: 30 if EVERY else 6]:
        check_meaning(compiled, value)
    assert valid
