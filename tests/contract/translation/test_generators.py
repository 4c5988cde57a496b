"""Schemas as real generators wrote them (``generators/`` makes the fixtures), and in ``documented.json`` as the
documentation of others shows them: each is accepted and can be decoded, and form, decoder and scorer agree on its
values. ``SCHEMAS=5000`` in the environment looks at more values.
"""

import json
import os
from pathlib import Path
from random import Random

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


@pytest.mark.parametrize("file", sorted(FIXTURES.glob("*.json")), ids=lambda file: file.stem)
def test_generated_schemas_are_accepted(file: Path) -> None:
    for name, schema in json.loads(file.read_text()).items():
        if name in COLLECTIONS:
            continue
        compiled = translate(json.dumps(schema)).compiled
        assert compiled.fields, name
        assert grammar(compiled.schema), name
        if EVERY or (name in COMPARED and file.stem not in OLDER):
            random = Random(7)
            values = [sample(tree_of(compiled), random) for _ in range(200 if EVERY else 60)]
            valid = [value for value in values if not compiled.validate(value)]
            assert valid, name
            for value in valid[: 30 if EVERY else 4]:
                check_meaning(compiled, value)
