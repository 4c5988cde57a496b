"""The text of a contract's schema: reading, storing and displaying it."""

from dataclasses import dataclass
from typing import Any

import simplejson

from labeling.contract.errors import ContractError
from slmstudio.contract.schema.compiled import (
    CompiledSchema,
    JsonError,
    SchemaError,
    ValueProblem,
    dumps,
    loads,
)
from slmstudio.contract.translation.notes import sentences
from slmstudio.contract.translation.translation import translate

#: typed characters, with white space; compact text has at most half of them
MAX_SCHEMA = 2_000_000
MAX_INLINE_LENGTH = 72


@dataclass(frozen=True, slots=True)
class ReadSchema:
    """A typed or pasted schema: compiled, and as the compact ``text`` that is stored. ``source`` is what was pasted if
    it was translated, else "", and ``notes`` says how, in sentences.
    """

    compiled: CompiledSchema
    text: str
    source: str = ""
    notes: tuple[str, ...] = ()


def read_schema(text: str) -> ReadSchema:
    """The schema of a typed text; schemas of other drafts and tools are translated.

    Raises:
        ContractError: it is not JSON, not a JSON Schema, or has no fields.
    """
    if len(text) > MAX_SCHEMA:
        raise ContractError({"schema": f"The schema is longer than {MAX_SCHEMA:,} characters."})
    try:
        found = translate(text)
    except JsonError as error:
        message = f"This is not valid JSON: {error.message} (line {error.line}, column {error.column})."
        raise ContractError({"schema": message}, line=error.line) from error
    except SchemaError as error:
        is_rule = ".invariants." in f".{error.path}"  # its message has its place
        place = f"At {error.path}: " if error.path and not is_rule else ""
        message = _sentence(error.message)
        sentence = place + (message if place else message[:1].upper() + message[1:])
        raise ContractError({"schema": sentence}, path=error.path) from error
    if not found.compiled.fields:
        raise ContractError({"schema": 'The schema has no fields. Add at least one to "properties".'})
    return ReadSchema(found.compiled, dumps(found.compiled.schema), text if found.notes else "", sentences(found.notes))


def notes_of(source: str) -> tuple[str, ...]:
    """What the translation of a stored source changed; none if the schema was derived from examples."""
    try:
        return read_schema(source).notes if source else ()
    except ContractError:
        return ()


def _sentence(text: str) -> str:
    text = text.strip()
    return text if text.endswith((".", "!", "?")) else f"{text}."


def pretty(schema_text: str) -> str:
    """A stored schema for display and editing: indented, with short flat values on one line and numbers as written."""
    return _indented(loads(schema_text), 0)


def _indented(value: Any, depth: int) -> str:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    one_line = str(simplejson.dumps(value, use_decimal=True, ensure_ascii=False))
    if not inside or (
        depth and len(one_line) <= MAX_INLINE_LENGTH and not any(isinstance(item, dict | list) for item in inside)
    ):
        return one_line
    margin, outer = "  " * (depth + 1), "  " * depth
    if isinstance(value, dict):
        names = [f"{dumps(name)}: {_indented(item, depth + 1)}" for name, item in value.items()]
        return "{\n" + ",\n".join(margin + line for line in names) + f"\n{outer}}}"
    return "[\n" + ",\n".join(margin + _indented(item, depth + 1) for item in value) + f"\n{outer}]"


def problem_text(problem: ValueProblem) -> str:
    """The path and message of a problem."""
    return f"{problem.path} {problem.message}".strip()
