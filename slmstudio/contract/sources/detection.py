"""Any text that describes data, as the draft of a schema."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from slmstudio.contract.json_text import JsonError, loads
from slmstudio.contract.schema.checks import SchemaError
from slmstudio.contract.schema.keywords import TYPES
from slmstudio.contract.sources.examples import Draft, SourceError, schema_from_examples
from slmstudio.contract.translation.notes import sentences
from slmstudio.contract.translation.pasted_text import read, unwrap
from slmstudio.contract.translation.translation import Translation, translate, translate_value


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
    return next((generator for generator in GENERATORS if generator.pattern.search(text)), None)


# -- examples in a text ------------------------------------------------------------------------------------------------

_FENCE = re.compile(r"^[ \t]*+```[A-Za-z0-9]*+[ \t]*+$", re.MULTILINE)
#: columns of an import file that hold a whole label
_GOLD = ("gold", "output", "completion", "expected", "answer", "response", "expected_output")
#: parts of a text that are not JSON, beyond which it is refused
_MAX_ERRORS = 1_000
_OPEN = {"{": "}", "[": "]"}


def without_fences(text: str) -> str:
    """A text without byte order mark and without the lines that start and end Markdown blocks."""
    return _FENCE.sub("", text.removeprefix("\ufeff"))


def read_examples(text: str) -> tuple[list[Any], tuple[str, ...]]:
    """The JSON objects of a text without fences, and notes on what was left out.

    Raises:
        SourceError: there is none; with the line of the first error.
    """
    values: list[Any] = []
    errors: list[tuple[int, str]] = []
    for line, part in [(1, text)] if _is_json(text) else _parts(text):
        try:
            value = loads(part)
        except JsonError as error:
            errors.append((line + error.line - 1, error.message))
            if len(errors) > _MAX_ERRORS:
                break
            continue
        values += value if isinstance(value, list) else [value]
    if not values or len(errors) > _MAX_ERRORS:
        line, message = errors[0] if errors else (0, "The text contains no JSON object.")
        raise SourceError(f"This is not valid JSON: {message}." if errors else message, line)
    notes = [f"Line {line} was skipped: {message}." for line, message in errors[:5]]
    if len(errors) > 5:
        notes.append(f"{len(errors) - 5} more parts of the text were skipped.")
    return _labels(values, notes), tuple(notes)


def _is_json(text: str) -> bool:
    try:
        loads(text)
    except JsonError:
        return False
    return True


def _parts(text: str) -> list[tuple[int, str]]:
    """The JSON values at the top of a text with the lines where they start. A line that starts a value at its margin
    while another one is open ends that one: a broken row costs itself.
    """
    parts: list[tuple[int, str]] = []
    start, depth, quoted, line = -1, 0, False, 1
    first_line = 1
    position = 0
    while position < len(text):
        letter = text[position]
        if letter == "\n":
            line += 1
            quoted = False  # a text does not go over lines
            if start >= 0 and text[position + 1 : position + 2] == "{" and text[start] == "{":
                parts.append((first_line, text[start : position + 1]))
                start, depth = -1, 0
        elif quoted:
            position += letter == "\\"
            quoted = letter != '"'
        elif letter == '"' and start >= 0:
            quoted = True
        elif letter in _OPEN:
            if start < 0:
                start, first_line = position, line
            depth += 1
        elif letter in _OPEN.values() and start >= 0:
            depth -= 1
            if depth == 0:
                parts.append((first_line, text[start : position + 1]))
                start = -1
        elif start < 0 and not letter.isspace() and letter not in ",;":
            end = text.find("\n", position)
            end = len(text) if end < 0 else end
            parts.append((line, text[position:end]))
            position = end - 1
        position += 1
    if start >= 0:
        parts.append((first_line, text[start:]))
    return parts


def _labels(values: list[Any], notes: list[str]) -> list[Any]:
    """The labels of rows of an import file; other values as they are."""
    rows = [value for value in values if isinstance(value, dict)]
    name = next((name for name in _GOLD if rows and all(name in row and len(row) > 1 for row in rows)), "")
    if not name:
        return values
    labels = []
    for row in rows:
        value = row[name]
        if isinstance(value, str):
            try:
                value = loads(value)
            except JsonError:
                return values
        if not isinstance(value, dict):
            if value is None:
                continue
            return values
        labels.append(value)
    if not labels:
        return values
    notes.append(f"The rows are documents; their labels in {name} are the examples.")
    return labels


# -- the draft ---------------------------------------------------------------------------------------------------------

#: of a text; some hundred examples are enough for a schema
MAX_CHARACTERS = 2_000_000
_SCHEMA_PARTS = ("properties", "$defs", "definitions", "patternProperties")
_SCHEMA_LISTS = ("anyOf", "oneOf", "allOf")


def draft_schema(text: str) -> Draft:
    """The schema that a text describes: a schema in any dialect, or examples. Takes time linear in the text.

    Raises:
        SourceError: with the line where it is known. Source code is not read; the message says which line of code
            prints its schema.
    """
    try:
        return _draft(text)
    except (RecursionError, MemoryError, ArithmeticError):
        raise SourceError("The text is too complex. Paste part of it.") from None


def _draft(text: str) -> Draft:
    if not text.strip():
        raise SourceError("Enter a text.")
    if len(text) > MAX_CHARACTERS:
        raise SourceError(f"The text is longer than {MAX_CHARACTERS:,} characters. Use a part of it.")
    bare = without_fences(text)
    if not bare.lstrip().startswith(("{", "[")) and (source := generator_of(bare)):
        raise SourceError(
            f"This is source code ({source.library}). Run the code that prints its JSON Schema, and paste the output: "
            f"{source.command}"
        )
    value = _json(text)
    if isinstance(value, dict) and is_schema(value):
        return _translated(lambda: translate(text), "schema")
    values, notes = read_examples(bare)
    draft = _checked(schema_from_examples(values))
    return Draft(draft.schema, draft.source, draft.reasons, (*notes, *draft.notes))


def draft_from_values(values: Sequence[Any]) -> Draft:
    """``draft_schema`` for JSON objects that are already read.

    Raises:
        SourceError: there is no example.
    """
    return _checked(schema_from_examples(values))


def is_schema(value: dict[str, Any]) -> bool:
    """Whether a JSON object is a schema, or has one in an envelope, and is not an example."""
    try:
        inner, around = unwrap(value)
    except SchemaError:
        return True  # a collection of schemas
    if around and isinstance(inner, dict) and inner is not value:
        return is_schema(inner)
    if "$schema" in value or isinstance(value.get("$ref"), str):
        return True
    if any(isinstance(value.get(key), dict) and _are_schemas(value[key].values()) for key in _SCHEMA_PARTS):
        return True
    if any(isinstance(value.get(key), list) and _are_schemas(value[key]) for key in _SCHEMA_LISTS):
        return True
    type_ = value.get("type")
    return (
        isinstance(type_, str) and type_.lower() in TYPES and (len(value) == 1 or isinstance(value.get("items"), dict))
    )


def _are_schemas(values: Any) -> bool:
    return all(isinstance(value, dict | bool) for value in values)


def _json(text: str) -> Any:
    try:
        return read(text)[0]
    except JsonError:
        return None


def _checked(draft: Draft) -> Draft:
    """A derived schema as the dialect accepts it: a list at the top becomes a field."""
    translated = _translated(lambda: translate_value(draft.schema), draft.source)
    return Draft(translated.schema, draft.source, draft.reasons, (*draft.notes, *translated.notes))


def _translated(translation: Callable[[], Translation], source: str) -> Draft:
    try:
        translated = translation()
    except SchemaError as error:
        raise SourceError(f"{error.path}: {error.message}." if error.path else f"{error.message}.") from error
    except JsonError as error:
        raise SourceError(f"This is not valid JSON: {error.message}.", error.line) from error
    return Draft(translated.compiled.schema, source, notes=sentences(translated.notes))
