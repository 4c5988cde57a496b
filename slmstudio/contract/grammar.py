"""What a constrained decoder may write: the grammar of compact JSON in schema order, and what it cannot hold to.

llguidance compiles a JSON Schema itself, writes properties in the order of the schema, and fails on what it does not
know instead of ignoring it. So that there always is a grammar, keywords that it cannot hold to are taken out first;
``unsupported`` names them. Outputs are validated against the whole schema in any case.
"""

from decimal import Decimal
from functools import lru_cache
from typing import Any

from slmstudio.contract.dialect import FORMAT_PATTERNS
from slmstudio.contract.jsontext import MAX_DEPTH, MAX_DIGITS, dumps, loads
from slmstudio.contract.keywords import NOTES_OF_EDITORS, subschemas
from slmstudio.contract.resolving import WHEN, branches, properties_of, resolve, types_of
from slmstudio.contract.schema import compile_schema

#: Compact: no white space anywhere. oneOf is taken as anyOf: a decoder writes one form and cannot look at the others.
OPTIONS: Any = {
    "whitespace_flexible": False,
    "item_separator": ",",
    "key_separator": ":",
    "coerce_one_of": True,
}
_UNSUPPORTED = {
    "uniqueItems": "no repeated entries in a list (uniqueItems)",
    "not": "what a value must not be (not)",
    "if": "rules that depend on another value (if / then / else)",
    "contains": "what a list must contain (contains)",
    "propertyNames": "which names are allowed (propertyNames)",
    "dependentRequired": "fields that ask for other fields (dependentRequired)",
    "dependentSchemas": "fields that change the rules of others (dependentSchemas)",
    "minProperties": "the least number of fields (minProperties)",
    "maxProperties": "the greatest number of fields (maxProperties)",
    "unevaluatedProperties": "no names beside those of all parts of the schema (unevaluatedProperties)",
    "unevaluatedItems": "no entries beside those of all parts of the schema (unevaluatedItems)",
    "oneOf": "that only one of the forms fits (oneOf)",
}
_CHECKED_AFTERWARDS = "checked in the finished output, not while it is written"
_DROPPED = frozenset(_UNSUPPORTED) | {
    "then",
    "else",
    "minContains",
    "maxContains",
    "x-slm",
    "$schema",
    "$id",
    "$comment",
}
_NOTES = frozenset(
    {"title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", *NOTES_OF_EDITORS}
)
_NUMBER_CHARACTERS = MAX_DIGITS + 7  # a sign, a point, a leading zero, an exponent of up to four characters
_FORMAT_CHARACTERS = {"date": 10, "uuid": 36, "ipv4": 15, "ipv6": 45, "email": 254, "hostname": 253}


def _strip(root: dict[str, Any], schema: Any, depth: int = 0) -> Any:
    """A schema as the decoder gets it: without notes and without what it cannot hold to; objects closed."""
    if not isinstance(schema, dict):
        return schema
    if depth > MAX_DEPTH:
        raise ValueError("the decoder cannot work with this schema: it unfolds without an end")
    if _splits_object(root, schema):
        schema = resolve(root, schema)[0]
    when = resolve(root, schema)[0].get(WHEN, {})
    schema = _distributed(root, schema)
    kept = {
        key: value
        for key, value in schema.items()
        if key not in _DROPPED and key not in _NOTES and not key.startswith("x-")
    }
    if when and "properties" in kept:
        kept["properties"] = {
            **kept["properties"],
            **{name: when[name] for name in when if name not in kept["properties"]},
        }
    for steps, inner in subschemas(kept):
        holder = kept
        for step in steps[:-1]:
            holder[step] = holder[step].copy()
            holder = holder[step]
        holder[steps[-1]] = _strip(root, inner, depth + 1)
    if "properties" in kept:
        _close(kept)
    pattern = FORMAT_PATTERNS.get(kept.get("format", ""))
    if pattern and "pattern" not in kept:  # llguidance's own formats are wider (a@b) or narrower (no time without zone)
        kept["pattern"] = f"^(?:{pattern})$"
        del kept["format"]
    return kept


def _distributed(root: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """An object that takes one of several forms, with the fields they share in each: closing them apart allows none."""
    if "properties" not in schema or not ("oneOf" in schema or "anyOf" in schema):
        return schema
    forms = branches(root, schema)
    if not any(form["properties"] != schema["properties"] for form in forms if "properties" in form):
        return {key: value for key, value in schema.items() if key not in ("oneOf", "anyOf")} if forms else schema
    kept: dict[str, Any] = {key: schema[key] for key in ("$defs", "definitions") if key in schema}
    if any("null" in types_of(form) for form in forms):
        forms.append({"type": "null"})
    return {**kept, "anyOf": forms}


def _splits_object(root: dict[str, Any], schema: dict[str, Any]) -> bool:
    """Whether the fields of one object are spread over several schemas, so that closing each would allow none."""
    parts = [*schema.get("allOf", ()), *([{"$ref": schema["$ref"]}] if "$ref" in schema else [])]
    objects = sum("properties" in resolve(root, part)[0] for part in parts)
    return objects > 1 or (objects == 1 and ("properties" in schema or "allOf" in schema))


def _close(kept: dict[str, Any]) -> None:
    """No names beside the declared ones and those that are required."""
    beside = kept.get("additionalProperties", True)
    kept["additionalProperties"] = False
    if "patternProperties" not in kept:
        lacking = [name for name in kept.get("required", ()) if name not in kept["properties"]]
        kept["properties"] = {**kept["properties"], **dict.fromkeys(lacking, beside)}


def decoder_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema that is given to a constrained decoder: see ``unsupported`` for what it lacks."""
    root = compile_schema(schema).schema
    stripped: dict[str, Any] = _strip(root, root)
    return stripped


@lru_cache(maxsize=256)
def _grammar(text: str) -> str:
    from llguidance import LLMatcher

    made = LLMatcher.grammar_from_json_schema(dumps(decoder_schema(loads(text))), overrides=OPTIONS)
    failed, messages = LLMatcher.validate_grammar_with_warnings(made)
    if failed:
        raise ValueError(f"the decoder cannot work with this schema: {'; '.join(messages)}")
    return str(made)


def grammar(schema: dict[str, Any]) -> str:
    """The llguidance grammar of a schema: compact JSON, properties in schema order, nothing beside them.

    Raises SchemaError where the schema is refused, ValueError where llguidance finds that nothing can satisfy it.
    """
    return _grammar(dumps(schema))


def _places(schema: Any, path: str = "") -> list[tuple[str, dict[str, Any]]]:
    """Every subschema with a name for it that a person recognises."""
    if not isinstance(schema, dict):
        return []
    found = [(path, schema)]
    for steps, inner in subschemas(schema):
        named = steps[0] in ("properties", "$defs", "definitions")
        found += _places(inner, f"{path}.{steps[1]}".lstrip(".") if named else path)
    return found


def unsupported(schema: dict[str, Any]) -> list[str]:
    """Sentences on what the decoder cannot hold to (outputs are checked for it); empty where it holds to everything."""
    sentences: dict[str, None] = {}
    for path, place in _places(schema):
        where = f"{path}: " if path else ""
        for keyword, words in _UNSUPPORTED.items():
            if keyword in place:
                sentences[f"{where}{_CHECKED_AFTERWARDS}: {words}"] = None
    try:
        grammar(schema)
    except ValueError as error:
        sentences[str(error)] = None
    return list(sentences)


def output_bound(schema: dict[str, Any]) -> int | None:
    """The most characters a valid compact output can have, or None where the schema does not bound it.

    A text of at most n characters counts 6 n + 2, as each may be written as an escape; a number 67, as longer ones are
    refused. Names beside the declared ones are left out of the count: the decoder does not write them.
    """
    root = compile_schema(schema).schema
    return _bound(root, root)


def _bound(root: dict[str, Any], schema: Any, depth: int = 0) -> int | None:
    resolved, nullable = resolve(root, schema)
    if depth > MAX_DEPTH:
        return None
    if "const" in resolved:
        return len(dumps(resolved["const"]))
    if "enum" in resolved:
        return max(4 if nullable else 0, *(len(dumps(value)) for value in resolved["enum"]), 0)
    if forms := branches(root, resolved):
        return _most([4, *(_bound(root, form, depth + 1) for form in forms)])
    types = types_of(resolved)
    if not types:
        return None
    bounds = [_typed_bound(root, resolved, type_, depth) for type_ in types]
    return _most([*bounds, 4] if nullable else bounds)


def _most(bounds: list[int | None]) -> int | None:
    known = [bound for bound in bounds if bound is not None]
    return max(known) if known and len(known) == len(bounds) else None


def _typed_bound(root: dict[str, Any], schema: dict[str, Any], type_: str, depth: int) -> int | None:
    match type_:
        case "null":
            return 4
        case "boolean":
            return 5
        case "integer":
            low, high = schema.get("minimum"), schema.get("maximum")
            if low is not None and high is not None:
                return max(len(str(int(Decimal(low)))), len(str(int(Decimal(high)))))
            return MAX_DIGITS + 1
        case "number":
            return _NUMBER_CHARACTERS
        case "string":
            longest = schema.get("maxLength", _FORMAT_CHARACTERS.get(schema.get("format", "")))
            return None if longest is None else 6 * int(longest) + 2
        case "array":
            return _array_bound(root, schema, depth)
    return _object_bound(root, schema, depth)


def _array_bound(root: dict[str, Any], schema: dict[str, Any], depth: int) -> int | None:
    most = schema.get("maxItems")
    if most is None or "items" not in schema or "prefixItems" in schema:
        return None
    item = _bound(root, schema["items"], depth + 1)
    return None if item is None else 2 + max(0, int(most) * (item + 1) - 1)


def _object_bound(root: dict[str, Any], schema: dict[str, Any], depth: int) -> int | None:
    total = 1
    for name, inner in properties_of(schema).items():
        bound = _bound(root, inner, depth + 1)
        if bound is None:
            return None
        total += len(dumps(name)) + 2 + bound
    return total if properties_of(schema) else None
