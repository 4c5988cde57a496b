"""Any text that describes data, as the draft of a schema."""

from collections.abc import Callable, Sequence
from typing import Any

from slmstudio.contract.json_text import JsonError
from slmstudio.contract.schema.checks import SchemaError
from slmstudio.contract.schema.keywords import TYPES
from slmstudio.contract.sources.drafts import Draft, SourceError
from slmstudio.contract.sources.example_text import read_examples, without_fences
from slmstudio.contract.sources.examples import schema_from_examples
from slmstudio.contract.sources.generators import generator_of
from slmstudio.contract.translation.envelopes import unwrap
from slmstudio.contract.translation.notes import sentences
from slmstudio.contract.translation.text import read
from slmstudio.contract.translation.translation import Translation, translate, translate_value

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
    return all(isinstance(one, dict | bool) for one in values)


def _json(text: str) -> Any:
    try:
        return read(text)[0]
    except JsonError:
        return None


def _checked(draft: Draft) -> Draft:
    """A derived schema as the dialect accepts it: a list at the top becomes a field."""
    found = _translated(lambda: translate_value(draft.schema), draft.source)
    return Draft(found.schema, draft.source, draft.reasons, (*draft.notes, *found.notes))


def _translated(translation: Callable[[], Translation], source: str) -> Draft:
    try:
        found = translation()
    except SchemaError as error:
        raise SourceError(f"{error.path}: {error.message}." if error.path else f"{error.message}.") from error
    except JsonError as error:
        raise SourceError(f"This is not valid JSON: {error.message}.", error.line) from error
    return Draft(found.compiled.schema, source, notes=sentences(found.notes))
