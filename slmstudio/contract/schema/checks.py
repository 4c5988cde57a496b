"""Checks of a schema before the project uses it. Every failed check is a SchemaError with the place and the reason.

Rejected are parts that would not be validated, would be fetched from elsewhere, or would cost unbounded time: unknown
keywords and formats, remote references and references without a field between, invalid patterns, schemas that expand
to more than 20,000 places.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

from jsonschema import Draft202012Validator, ValidationError
from jsonschema.exceptions import best_match

from slmstudio.contract.json_text import MAX_DEPTH, dumps, loads
from slmstudio.contract.rules.expressions import ExpressionError, Path, parse, walk
from slmstudio.contract.schema.dialect import FORMATS, ExactValidator
from slmstudio.contract.schema.keywords import ADVICE, KNOWN, LISTS, MAPS, SINGLES, TYPES, subschemas
from slmstudio.contract.schema.messages import sentence, show
from slmstudio.contract.schema.patterns import PatternError, compile_pattern
from slmstudio.contract.schema.resolution import TreeCut, branches, follow, loops, properties_of, resolve
from slmstudio.contract.schema.structure import Node, split
from slmstudio.contract.schema.tree_cuts import MAX_RESOLVED, SchemaGraph, tree_cuts
from slmstudio.contract.schema.work import TooMuchWorkError, limited, spend
from slmstudio.contract.values.kinds.registry import KINDS, kinds_for

MAX_PLACES = 20_000


class SchemaError(ValueError):
    """The schema is rejected. ``path`` says where in the schema (``properties.date.format``), ``message`` why."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path}: {message}" if path else message)
        self.path = path
        self.message = message

    def __reduce__(self) -> tuple[Any, ...]:
        return SchemaError, (self.path, self.message)


@contextmanager
def limited_work() -> Iterator[None]:
    """Limits the work on one schema.

    Raises:
        SchemaError: it takes too much.
    """
    try:
        with limited():
            yield
    except (TooMuchWorkError, RecursionError, MemoryError):
        message = "its references and alternatives expand to too many parts; remove some of them or paste a part of it"
        raise SchemaError("", message) from None


def _dotted(steps: tuple[Any, ...]) -> str:
    return ".".join(str(step) for step in steps)


def _check_depth(schema: Any) -> None:
    level, layer = 0, [schema]
    while layer:
        level += 1
        if level > MAX_DEPTH:
            raise SchemaError("", f"the schema is nested more than {MAX_DEPTH} deep")
        layer = [
            child
            for item in layer
            if isinstance(item, dict | list)
            for child in (item.values() if isinstance(item, dict) else item)
        ]


@cache
def _meta_validator() -> Any:
    return ExactValidator(Draft202012Validator.META_SCHEMA)


@cache
def _x_slm_validator() -> Any:
    schema = loads(files(__package__).joinpath("x_slm.schema.json").read_text("utf-8"))
    schema["properties"]["kind"]["enum"] = list(KINDS)
    return ExactValidator(schema)


def _check_keywords(root: dict[str, Any]) -> None:
    """Check keywords, formats, patterns and x-slm of every subschema, then the rules of the draft.

    A reference may lead to a schema outside any keyword (``#/x-parts/row``); it is checked like the rest.
    """
    stack: list[tuple[tuple[Any, ...], Any]] = [((), root)]
    references: list[tuple[tuple[Any, ...], Any]] = []
    seen: set[int] = set()
    count = 0
    unevaluated: tuple[Any, ...] | None = None
    by_pattern = False
    while stack or references:
        steps, schema = stack.pop() if stack else references.pop()
        spend(1 + len(steps))
        if id(schema) in seen and isinstance(schema, dict):
            continue
        seen.add(id(schema))
        count += 1
        if count > MAX_PLACES:
            raise SchemaError("", f"the schema has more than {MAX_PLACES:,} parts")
        if isinstance(schema, bool):
            continue
        if not isinstance(schema, dict):
            raise SchemaError(_dotted(steps), "a schema here must be an object, true or false")
        _check_one(steps, schema)
        if "$ref" in schema:
            references.append(((*steps, "$ref"), _target(root, schema["$ref"], steps)))
        if "unevaluatedProperties" in schema:
            unevaluated = steps
        by_pattern = by_pattern or "patternProperties" in schema
        stack.extend((steps + inner, value) for inner, value in subschemas(schema))
    if unevaluated is not None and by_pattern:
        # The validator matches the patterns of these two together with an engine of unbounded time.
        where = _dotted((*unevaluated, "unevaluatedProperties"))
        raise SchemaError(where, "cannot be combined with patternProperties; use additionalProperties")


def _check_one(steps: tuple[Any, ...], schema: dict[str, Any]) -> None:
    for key in schema:
        if key not in KNOWN and not key.startswith("x-"):
            advice = f"; {ADVICE[key]}" if key in ADVICE else "; check its spelling, or start it with x-"
            raise SchemaError(_dotted((*steps, key)), f"'{key}' is not a keyword of JSON Schema{advice}")
    # Subschemas are checked separately, so the draft's rules are applied to each schema without its parts.
    shallow: dict[str, Any] = {}
    for key, value in schema.items():
        if key in MAPS or key in LISTS:
            if not isinstance(value, dict if key in MAPS else list):
                noun = "an object" if key in MAPS else "a list"
                raise SchemaError(_dotted((*steps, key)), f"must be {noun} of schemas")
            if not value:
                shallow[key] = value
        elif key != "x-slm":
            shallow[key] = True if key in SINGLES else value
    if not _follows_draft(dumps({key: value for key, value in shallow.items() if not _is_plain_note(key, value)})):
        error = best_match(_meta_validator().iter_errors(shallow))
        assert error is not None
        raise SchemaError(_dotted((*steps, *error.absolute_path)), _reason(error))
    _check_values(steps, schema)


def _is_plain_note(key: str, value: Any) -> bool:
    """Whether the draft has no rule for a keyword with this value."""
    return key in ("const", "default") or (key in ("title", "description", "$comment") and isinstance(value, str))


@lru_cache(maxsize=10_000)
def _follows_draft(text: str) -> bool:
    """Whether a schema without its parts, as JSON text, is valid by the draft. Most parts of a schema look alike."""
    return bool(_meta_validator().is_valid(loads(text)))


def _reason(error: ValidationError) -> str:
    if error.absolute_path and error.absolute_path[0] == "type":
        return f"must be one of {', '.join(TYPES)}, or a list of these; found {show(error.instance)}"
    rule = str(error.validator)
    return sentence(rule, error.validator_value, error.instance, {})


def _check_values(steps: tuple[Any, ...], schema: dict[str, Any]) -> None:
    declared = str(schema.get("$schema", "json-schema.org/")).partition("://")
    if not (declared[2] or declared[0]).startswith("json-schema.org/"):
        raise SchemaError(_dotted((*steps, "$schema")), "only the JSON Schema drafts of json-schema.org are supported")
    if "$id" in schema and steps:
        raise SchemaError(_dotted((*steps, "$id")), "only the root schema may have an $id")
    format_ = schema.get("format")
    if format_ is not None and format_ not in FORMATS:
        raise SchemaError(
            _dotted((*steps, "format")),
            f"'{format_}' is not a supported format; use one of {', '.join(FORMATS)}, or leave it out",
        )
    if schema.get("enum") == []:
        raise SchemaError(_dotted((*steps, "enum")), "must name at least one value")
    if "pattern" in schema:
        _check_pattern((*steps, "pattern"), schema["pattern"])
    for pattern in schema.get("patternProperties", ()):
        _check_pattern((*steps, "patternProperties", pattern), pattern)
    if "x-slm" in schema:
        _check_options((*steps, "x-slm"), schema["x-slm"])


def _check_pattern(steps: tuple[Any, ...], pattern: str) -> None:
    try:
        compile_pattern(pattern)
    except PatternError as error:
        raise SchemaError(
            _dotted(steps),
            f"this is not a valid regular expression ({error})",
        ) from None


def _check_options(steps: tuple[Any, ...], options: Any) -> None:
    error = best_match(_x_slm_validator().iter_errors(options))
    if error is not None:
        where = _dotted((*steps, *error.absolute_path))
        if error.validator == "additionalProperties":
            names = ", ".join(_x_slm_validator().schema["properties"])
            raise SchemaError(where, f"is not an option of x-slm; the options are {names}")
        raise SchemaError(where, _reason(error))
    if "locale" in options and not _known_locale(options["locale"]):
        raise SchemaError(_dotted((*steps, "locale")), f"'{options['locale']}' is not a locale, like en_US or de_DE")


def _known_locale(name: str) -> bool:
    from babel import Locale, UnknownLocaleError

    try:
        Locale.parse(name.replace("-", "_"))
    except (ValueError, TypeError, UnknownLocaleError):
        return False
    return True


def _target(root: dict[str, Any], reference: str, steps: tuple[Any, ...]) -> Any:
    if reference != "#" and not reference.startswith("#/"):
        message = "only references inside the schema (#/$defs/...) are supported; nothing is fetched"
        raise SchemaError(_dotted((*steps, "$ref")), message)
    try:
        target = follow(root, reference)
    except KeyError:
        raise SchemaError(_dotted((*steps, "$ref")), f"'{reference}' is not in this schema") from None
    if not isinstance(target, dict | bool):
        raise SchemaError(_dotted((*steps, "$ref")), f"'{reference}' is not a schema")
    return target


def _tree_cuts(root: dict[str, Any]) -> TreeCut:
    """Check that no reference is circular without a field between, and that the tree of the schema is not too large."""
    graph = SchemaGraph(root)
    for group in loops(graph.in_place):
        steps = min((graph.steps[member] for member in group if "$ref" in graph.schemas[member]), key=len)
        raise SchemaError(
            _dotted((*steps, "$ref")), "a reference must not lead back to itself without a field in between"
        )
    try:
        return tree_cuts(graph)
    except OverflowError:
        message = f"with its references resolved the schema has more than {MAX_RESOLVED:,} parts"
        raise SchemaError("", message) from None


def check_schema(schema: Any) -> TreeCut:
    """Where the tree of a schema is cut (its numbers are already exact).

    Raises:
        SchemaError: the first reason to reject it.
    """
    if not isinstance(schema, dict):
        raise SchemaError("", "a schema must be a JSON object")
    _check_depth(schema)
    _check_keywords(schema)
    cut = _tree_cuts(schema)
    resolved, nullable = resolve(schema, schema)
    forms = branches(schema, resolved) or [resolved]
    if nullable or any(form.get("type") not in ("object", ["object"]) for form in forms):
        raise SchemaError("type", 'the whole document must be an object: write "type": "object"')
    if not all(properties_of(form) for form in forms):
        raise SchemaError("properties", "must name at least one field")
    return cut


def check_options(root: Node) -> None:
    """Reject options that do not suit their field, and rules that are invalid or name unknown fields."""
    for node in root.nodes():
        options = node.schema.get("x-slm", {})
        where = _dotted((*_schema_steps(node.pattern), "x-slm"))
        if "kind" in options:
            allowed = ("array",) if node.shape == "array" else _kinds_of(node)
            if options["kind"] not in allowed:
                wanted = ", ".join(allowed)
                raise SchemaError(where, f"kind '{options['kind']}' does not fit this field; the kinds are {wanted}")
        for number, entry in enumerate(options.get("invariants", ())):
            rule = entry if isinstance(entry, str) else entry["rule"]
            place = f"{where}.invariants.{number}"
            name = f"rule {number + 1} ({rule})"
            try:
                expression = parse(rule)
            except ExpressionError as error:
                raise SchemaError(place, f"{name} is not valid: {error}") from None
            for node_of_rule in walk(expression.root):
                if isinstance(node_of_rule, Path):
                    _check_path(node, node_of_rule, place, name)


def _schema_steps(pattern: str) -> tuple[str, ...]:
    """Where the schema of a place is, unless a reference leads to it."""
    return tuple(
        word for step in split(pattern) for word in (("items",) if step is None else ("properties", str(step)))
    )


def _kinds_of(node: Node) -> tuple[str, ...]:
    if node.field is None:
        return ("exact",)
    return kinds_for(node.field.type)


def _check_path(node: Node, path: Path, where: str, rule: str) -> None:
    here: Node | None = node
    for step in path.steps:
        if here is not None and here.field is not None and here.field.type in ("any", "object", "array"):
            return  # nothing is known about its parts
        here = None if here is None else here.item if step is None else here.children.get(step)
    if here is None:
        advice = "; the current day is today()" if path.text == "today" else ""
        raise SchemaError(where, f"{rule}: the field {path.text} is not in the schema{advice}")
    if here.shape != "leaf":
        noun = "list" if here.shape == "array" else "group"
        raise SchemaError(where, f"{rule}: {path.text} is a {noun}; name a field in it")
