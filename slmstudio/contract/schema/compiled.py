"""Compile a contract's JSON Schema once; then validate, order and serialize values with it."""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property, lru_cache
from itertools import islice
from typing import Any

from jsonschema import ValidationError

from slmstudio.contract.decoding.schema import Decoder
from slmstudio.contract.json_text import MAX_DEPTH, MAX_DIGITS, JsonError, dumps, loads, number_fits, sha256, text_fits
from slmstudio.contract.schema.checks import SchemaError, check_options, check_schema, limited_work
from slmstudio.contract.schema.dialect import FORMAT_CHECKER, ExactValidator
from slmstudio.contract.schema.messages import sentence, show
from slmstudio.contract.schema.resolution import TreeCut
from slmstudio.contract.schema.structure import Field, Node, build, join, pattern_of, split

__all__ = [
    "CompiledSchema",
    "Field",
    "JsonError",
    "Node",
    "SchemaError",
    "ValueProblem",
    "compile_schema",
    "dumps",
    "exact",
    "join",
    "loads",
    "pattern_of",
    "sha256",
    "split",
]

MAX_PROBLEMS = 100
MAX_SCHEMA_CHARACTERS = 2_000_000


@dataclass(frozen=True, slots=True)
class ValueProblem:
    """A violated rule. ``path`` is where (``line_items[0].amount``; empty for the whole document), ``rule`` the
    keyword (``type``, ``required``, ``json``, ``invariant``, ...), ``message`` the sentence shown at the field.
    """

    path: str
    rule: str
    message: str

    def as_dict(self) -> dict[str, str]:
        """JSON-ready."""
        return {"path": self.path, "rule": self.rule, "message": self.message}


class _InvalidValueError(Exception):
    def __init__(self, path: str, message: str) -> None:
        self.path, self.message = path, message


def exact(value: Any) -> Any:
    """A JSON value with every float as an exact Decimal. Raises ValueError for values that are not JSON, for NaN and
    infinities, numbers over 60 digits and more than 64 levels.
    """
    try:
        return _exact(value, "", 0)
    except _InvalidValueError as error:
        raise ValueError(f"{error.path}: {error.message}" if error.path else error.message) from None


def _exact(value: Any, path: str, depth: int) -> Any:
    if isinstance(value, str):
        if not text_fits(value):
            raise _InvalidValueError(path, "contains a NUL character or a lone surrogate")
        return value
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, float):
        value = Decimal(repr(value))
    if isinstance(value, int | Decimal):
        if not number_fits(value):
            raise _InvalidValueError(path, f"must be a number of at most {MAX_DIGITS} digits")
        return value
    if depth >= MAX_DEPTH:
        raise _InvalidValueError(path, f"is nested more than {MAX_DEPTH} deep")
    if isinstance(value, dict):
        for name in value:
            if not isinstance(name, str) or not text_fits(name):
                raise _InvalidValueError(path, "has a field name that is not a valid JSON string")
        return {name: _exact(item, join(path, name), depth + 1) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_exact(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(value)]
    raise _InvalidValueError(path, f"is not a JSON value but a {type(value).__name__}")


def _leaf_errors(error: ValidationError) -> Iterator[ValidationError]:
    """The errors to show for one error: for alternatives, those of the branch closest to the value."""
    if error.validator not in ("anyOf", "oneOf") or not error.context:
        yield error
        return
    branches: dict[Any, list[ValidationError]] = {}
    for inner in error.context:
        branches.setdefault(inner.schema_path[0], []).append(inner)
    # A branch that fails on the type of the value itself was not meant (null in "number or null").
    meant = [errors for errors in branches.values() if not any(not e.path and e.validator == "type" for e in errors)]
    if len(meant) != 1 and len(branches) > 1:
        solid = [errors for errors in branches.values() if not all(e.validator_value == "null" for e in errors)]
        meant = solid if len(solid) == 1 else []
    if len(meant) == 1:
        for inner in meant[0]:
            yield from _leaf_errors(inner)
    else:
        yield error


class CompiledSchema:
    """A checked schema, created by ``compile_schema``; immutable, safe to share between threads."""

    def __init__(self, schema: dict[str, Any], digest: str, cut: TreeCut) -> None:
        self.schema = schema
        self.hash = digest
        self.cut = cut
        self.root: Node = build(schema, schema, cut=self.cut, start=True)
        self.fields: tuple[Field, ...] = tuple(self.root.leaves())
        self.by_pattern: dict[str, Field] = {field.pattern: field for field in self.fields}
        self._validator = ExactValidator(schema, format_checker=FORMAT_CHECKER)
        self._positions = {node.pattern: index for index, node in enumerate(self.root.nodes())}

    def __repr__(self) -> str:
        return f"CompiledSchema({self.hash[:12]}, {len(self.fields)} fields)"

    def __reduce__(self) -> Any:
        return compile_schema, (self.schema,)

    def validate(self, value: Any) -> list[ValueProblem]:
        """Every violated rule of a value, in the order of the form, at most ``MAX_PROBLEMS``. Never raises.

        A missing or unknown field is reported at its own path. Invariants are checked by ``invariants.check``.
        """
        try:
            value = _exact(value, "", 0)
        except _InvalidValueError as error:
            return [ValueProblem(error.path, "json", error.message)]
        return self.validate_exact(value)

    def validate_exact(self, value: Any) -> list[ValueProblem]:
        """``validate`` for a value from ``loads``, which needs no conversion."""
        try:
            problems = {
                problem: None
                for error in islice(self._validator.iter_errors(value), MAX_PROBLEMS)
                for inner in _leaf_errors(error)
                for problem in [_problem(inner)]
            }
        except RecursionError:
            return [ValueProblem("", "json", "is nested too deeply for the references of this schema")]
        return sorted(problems, key=self._order) if len(problems) > 1 else list(problems)

    def _order(self, problem: ValueProblem) -> tuple[int, tuple[int, ...], str]:
        pattern = pattern_of(problem.path)
        rows = tuple(step for step in split(problem.path) if isinstance(step, int))
        position = self._positions.get(pattern)
        if position is None:
            return len(self._positions), rows, problem.path
        top = self._positions.get(str(split(pattern)[0]), position) if problem.path else 0
        return top, (*rows, position), problem.path

    def check(self, text: str | bytes) -> tuple[Any | None, list[ValueProblem]]:
        """Parse and validate a text: the value (None if it is not JSON) and every problem."""
        try:
            value = loads(text)
        except JsonError as error:
            return None, [ValueProblem("", "json", f"is not valid JSON: {error}")]
        return value, self.validate_exact(value)

    @cached_property
    def decoder(self) -> Decoder:
        """What a constrained decoder may write, and in which order."""
        return Decoder(self.schema)

    def ordered(self, value: Any) -> Any:
        """The same value with its fields in the order of a decoder; unknown fields last, in their order."""
        return self.decoder.ordered(value, rewrite=False)

    def canonical(self, value: Any) -> str:
        """The canonical text of a value: in the order of a decoder, no white space, digits as they are.

        Missing and null are equivalent: both become null if the field may be null; otherwise an optional field is left
        out. Numbers have no exponent, integers no fraction; a choice is written as in the schema.
        """
        return dumps(self.decoder.ordered(_filled(self.root, value), rewrite=True))


def _filled(node: Node, value: Any) -> Any:
    """A value with missing fields in canonical form."""
    if isinstance(value, list) and node.item is not None:
        return [_filled(node.item, item) for item in value]
    if not isinstance(value, dict) or not node.children:
        return value
    result = {
        name: item if name not in node.children or item is None else _filled(node.children[name], item)
        for name, item in value.items()
    }
    if node.fills:
        for name, child in node.children.items():
            if result.get(name) is not None:
                continue
            if child.nullable or (child.required and name in result):
                result[name] = None
            else:
                result.pop(name, None)
    return result


def _problem(error: ValidationError) -> ValueProblem:
    path = ""
    for step in error.absolute_path:
        path = join(path, step)
    rule = str(error.validator or "False")
    schema = error.schema if isinstance(error.schema, dict) else {}
    if rule == "dependentRequired":
        wanted: Any = error.validator_value
        value: Any = error.instance
        lacking = [name for trigger, names in wanted.items() if trigger in value for name in names if name not in value]
        return ValueProblem(path, rule, f"lacks {', '.join(map(show, lacking))}, which another field requires")
    return ValueProblem(path, rule, sentence(rule, error.validator_value, error.instance, schema))


@lru_cache(maxsize=256)
def _compile(text: str) -> CompiledSchema:
    schema = loads(text)
    cut = check_schema(schema)
    compiled = CompiledSchema(schema, sha256(text), cut)
    check_options(compiled.root)
    return compiled


def differing_fields(old: CompiledSchema, new: CompiledSchema) -> list[str]:
    """Patterns of the fields that only one of two schemas has, or that have other keywords in it."""
    before, after = (
        {node.pattern: (node.required, node.schema) for node in schema.root.nodes() if node.field is not None}
        for schema in (old, new)
    )
    return [pattern for pattern in before | after if before.get(pattern) != after.get(pattern)]


def compile_schema(schema: dict[str, Any]) -> CompiledSchema:
    """A schema, checked and compiled; equal schemas share one object (a cache keyed by the text).

    Raises SchemaError with the place and the reason, see ``refusals``. The order of properties is part of the schema:
    it is the order of the form and of the output, so store schemas in a column that does not sort names.
    """
    try:
        text = dumps(schema)
    except (TypeError, ValueError, RecursionError) as error:
        raise SchemaError("", f"the schema is not JSON: {error}") from None
    if len(text) > MAX_SCHEMA_CHARACTERS:
        raise SchemaError("", f"the schema is longer than {MAX_SCHEMA_CHARACTERS:,} characters")
    try:
        with limited_work():
            return _compile(text)
    except JsonError as error:
        raise SchemaError("", f"the schema is not accepted: {error.message}") from None
