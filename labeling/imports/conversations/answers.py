"""The answer of a model as a value of the schema."""

from typing import Any, Final

from labeling.imports.formats.column_mapping import without_null
from slmstudio.contract.json_text import JsonError, loads
from slmstudio.contract.output_json import extract_json, strip_reasoning
from slmstudio.contract.schema.compiled import CompiledSchema

#: names of the only field of a derived schema, if the answers are texts or lists
TEXT_FIELD, LIST_FIELD = "answer", "items"
_FENCE: Final = "```"


def value_of(answer: str) -> Any:
    """The JSON in an answer (bare, fenced, or within a text), else the text itself."""
    text = strip_reasoning(answer).strip()
    candidates = [text, extract_json(answer)[1]]
    if text.startswith(_FENCE) and text.endswith(_FENCE):
        candidates.insert(0, text.strip("`").partition("\n")[2])
    for candidate in candidates:
        try:
            value = loads(candidate)
        except JsonError:
            continue
        if isinstance(value, dict | list):
            return value
    return text


def as_example(value: Any) -> dict[str, Any]:
    """A value as an object, from which a schema can be derived."""
    if isinstance(value, dict):
        return value
    return {LIST_FIELD: value} if isinstance(value, list) else {TEXT_FIELD: value}


def fit(value: Any, compiled: CompiledSchema) -> Any:
    """The value as the schema has it: a text or a list becomes the only field, null keys go if only that is valid."""
    names = list(compiled.schema.get("properties", ()))
    if not isinstance(value, dict) and len(names) == 1:
        value = {names[0]: value}
    if not compiled.validate(value):
        return value
    shorter = without_null(value)
    return value if compiled.validate(shorter) else shorter
