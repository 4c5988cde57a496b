"""Any text that describes data, as the draft of a schema."""

import re
from collections.abc import Callable, Sequence
from typing import Any

from slmstudio.contract.json_text import JsonError
from slmstudio.contract.schema.checks import SchemaError
from slmstudio.contract.schema.keywords import TYPES
from slmstudio.contract.sources.drafts import Draft, SourceError
from slmstudio.contract.sources.example_text import read_examples
from slmstudio.contract.sources.examples import schema_from_examples
from slmstudio.contract.sources.pydantic_source import schema_from_pydantic
from slmstudio.contract.sources.typescript_source import schema_from_typescript
from slmstudio.contract.sources.zod_source import schema_from_zod
from slmstudio.contract.translation.envelopes import unwrap
from slmstudio.contract.translation.notes import sentences
from slmstudio.contract.translation.text import read
from slmstudio.contract.translation.translation import Translation, translate, translate_value

MAX_CHARACTERS = 10_000_000
_FENCE = re.compile(r"^[ \t]*```[A-Za-z0-9]*[ \t]*$", re.MULTILINE)
_PYTHON = re.compile(
    r"^[ \t]*(?:class[ \t]+\w+[^{\n]*:|from[ \t]+[\w.]+[ \t]+import\b|import[ \t]+\w+[ \t]*$)", re.MULTILINE
)
_ZOD = re.compile(r"\bz\s*\.\s*(?:object|strictObject|looseObject|discriminatedUnion)\s*\(")
_TYPESCRIPT = re.compile(
    r"^[ \t]*(?:export[ \t]+)?(?:default[ \t]+)?(?:declare[ \t]+)?(?:interface[ \t]+\w+|type[ \t]+\w+[^=\n]*=|"
    r"(?:const[ \t]+)?enum[ \t]+\w+|class[ \t]+\w+[^:\n]*\{)",
    re.MULTILINE,
)
_SCHEMA_PARTS = ("properties", "$defs", "definitions", "patternProperties")
_SCHEMA_LISTS = ("anyOf", "oneOf", "allOf")


def draft_schema(text: str, name: str = "") -> Draft:
    """The schema that a text describes: a schema in any dialect, examples, Pydantic models, TypeScript types or zod
    objects. ``name``: the type of the document, where a text defines several.

    Raises:
        SourceError: with the line where it is known.
    """
    if not text.strip():
        raise SourceError("There is no text.")
    if len(text) > MAX_CHARACTERS:
        raise SourceError(f"The text is longer than {MAX_CHARACTERS:,} characters.")
    bare = _FENCE.sub("", text.removeprefix("\ufeff"))
    if not bare.lstrip().startswith(("{", "[")):
        for pattern, reader in _READERS:
            if pattern.search(bare):
                return _checked(reader(bare, name))
    value = _json(text)
    if isinstance(value, dict) and is_schema(value):
        return _translated(lambda: translate(text), "schema")
    values, notes = read_examples(text)
    found = _checked(schema_from_examples(values))
    return Draft(found.schema, found.source, found.reasons, (*notes, *found.notes))


def draft_from_values(values: Sequence[Any]) -> Draft:
    """``draft_schema`` for JSON objects that are already read.

    Raises:
        SourceError: there is no example.
    """
    return _checked(schema_from_examples(values))


_READERS: tuple[tuple[re.Pattern[str], Callable[[str, str], Draft]], ...] = (
    (_PYTHON, schema_from_pydantic),
    (_ZOD, schema_from_zod),
    (_TYPESCRIPT, schema_from_typescript),
)


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
    return all(isinstance(one, dict | bool) for one in values)


def _json(text: str) -> Any:
    try:
        return read(text)[0]
    except JsonError:
        return None


def _checked(draft: Draft) -> Draft:
    """A derived schema as the dialect accepts it: a list at the top becomes a field."""
    found = _translated(lambda: translate_value(draft.schema), draft.source)
    return Draft(found.schema, draft.source, draft.reasons, (*draft.notes, *found.notes), draft.name, draft.names)


def _translated(translation: Callable[[], Translation], source: str) -> Draft:
    try:
        found = translation()
    except SchemaError as error:
        raise SourceError(f"{error.path}: {error.message}." if error.path else f"{error.message}.") from error
    except JsonError as error:
        raise SourceError(f"This is not JSON: {error.message}.", error.line) from error
    return Draft(found.compiled.schema, source, notes=sentences(found.notes))
