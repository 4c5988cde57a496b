"""The text of a contract's schema: reading, storing and displaying it."""

from typing import Any

import simplejson

from labeling.contract.errors import ContractError
from slmstudio.contract.schema.compiled import (
    CompiledSchema,
    JsonError,
    Problem,
    SchemaError,
    compile_schema,
    dumps,
    loads,
)

MAX_SCHEMA = 400_000
MAX_INLINE_LENGTH = 72


def read_schema(text: str) -> tuple[CompiledSchema, str]:
    """The compiled schema of a typed text, and the compact text that is stored.

    Raises:
        ContractError: it is not JSON, not a JSON Schema, or has no fields.
    """
    if len(text) > MAX_SCHEMA:
        raise ContractError({"schema": f"The schema is longer than {MAX_SCHEMA:,} characters."})
    try:
        schema = loads(text)
    except JsonError as error:
        raise ContractError(
            {"schema": f"This is not JSON: {error.message} (line {error.line}, column {error.column})."}
        ) from error
    if not isinstance(schema, dict):
        raise ContractError({"schema": 'A schema must be an object: {"type": "object", "properties": {...}}.'})
    try:
        compiled = compile_schema(schema)
    except SchemaError as error:
        place = f"At {error.path}: " if error.path else ""
        raise ContractError({"schema": f"{place}{_sentence(error.message)}"}) from error
    if not compiled.fields:
        raise ContractError({"schema": 'The schema has no fields. Add at least one to "properties".'})
    return compiled, dumps(schema)


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


def problem_text(problem: Problem) -> str:
    """The path and message of a problem."""
    return f"{problem.path} {problem.message}".strip()
