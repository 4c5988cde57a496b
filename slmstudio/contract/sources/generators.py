"""Source code that defines data, and the line with which its library prints the JSON Schema."""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Generator:
    """``command`` prints the schema. ``pattern`` finds source code of the library; it takes linear time."""

    library: str
    command: str
    pattern: re.Pattern[str]


_NEVER = re.compile(r"(?!)")
#: shown in this order; of those whose pattern is in a text, the first is named
GENERATORS = (
    Generator(
        "Pydantic 2",
        "import json; print(json.dumps(Model.model_json_schema()))",
        re.compile(
            r"^[ \t]*+(?:class[ \t]++\w++(?:\([^()\n]{0,400}\))?[ \t]*+:|(?:from|import)[ \t]++pydantic\b)",
            re.MULTILINE,
        ),
    ),
    Generator("Pydantic 1", "print(Model.schema_json())", _NEVER),
    Generator(
        "Dataclasses",
        "import json, pydantic; print(json.dumps(pydantic.TypeAdapter(Model).json_schema()))",
        _NEVER,
    ),
    Generator(
        "zod 4",
        "console.log(JSON.stringify(z.toJSONSchema(schema)))",
        re.compile(r"\bz\.(?:object|strictObject|looseObject|discriminatedUnion|union|array|record|lazy)\(|[\"']zod\b"),
    ),
    Generator("zod 3", "console.log(JSON.stringify(zodToJsonSchema(schema))) // npm i zod-to-json-schema", _NEVER),
    Generator(
        "TypeScript",
        "npx ts-json-schema-generator --path types.ts --type MyType",
        re.compile(
            r"^[ \t]*+(?:export[ \t]++)?(?:default[ \t]++)?(?:declare[ \t]++)?(?:interface[ \t]++\w|"
            r"type[ \t]++\w++[^=\n]{0,400}=|(?:const[ \t]++)?enum[ \t]++\w|class[ \t]++\w++[^:\n]{0,400}\{)",
            re.MULTILINE,
        ),
    ),
)


def generator_of(text: str) -> Generator | None:
    """The generator of the source code in a text; None if there is no source code in it."""
    return next((one for one in GENERATORS if one.pattern.search(text)), None)
