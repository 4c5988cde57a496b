"""Constrained decoding: the grammar of compact JSON in schema order, and the keywords that it cannot enforce.

llguidance compiles a JSON Schema itself, writes properties in schema order, and fails on unknown keywords instead of
ignoring them. To always have a grammar, it gets the simplified schema (``decoder``) without keywords that it cannot
enforce and without branches that no value satisfies; ``unsupported`` lists what is left out. Outputs are always
validated against the whole schema.
"""

from decimal import Decimal
from functools import lru_cache
from typing import Any

from slmstudio.contract.decoding.schema import BOUNDS, MAX_STEPS, OPTIONS, Decoder, Place
from slmstudio.contract.json_text import MAX_DEPTH, MAX_DIGITS, dumps, loads
from slmstudio.contract.schema.compiled import compile_schema
from slmstudio.contract.schema.keywords import subschemas
from slmstudio.contract.schema.resolution import branches, properties_of, resolve, types_of
from slmstudio.contract.schema.work import TooMuchWorkError, limited

_UNSUPPORTED = {
    "uniqueItems": "no repeated entries in a list (uniqueItems)",
    "not": "what a value must not match (not)",
    "if": "rules that depend on another value (if / then / else)",
    "contains": "what a list must contain (contains)",
    "propertyNames": "the allowed field names (propertyNames)",
    "dependentRequired": "fields that require other fields (dependentRequired)",
    "dependentSchemas": "fields that change the rules of others (dependentSchemas)",
    "minProperties": "the minimum number of fields (minProperties)",
    "maxProperties": "the maximum number of fields (maxProperties)",
    "unevaluatedProperties": "no fields other than those of all parts of the schema (unevaluatedProperties)",
    "unevaluatedItems": "no entries other than those of all parts of the schema (unevaluatedItems)",
    "oneOf": "that exactly one of the alternatives matches (oneOf)",
}
_CHECKED_AFTERWARDS = "checked in the finished output, not during decoding"
_NUMBER_CHARACTERS = MAX_DIGITS + 7  # a sign, a point, a leading zero, an exponent of up to four characters
_FORMAT_CHARACTERS = {"date": 10, "uuid": 36, "ipv4": 15, "ipv6": 45, "email": 254, "hostname": 253}
#: keywords dropped from a leaf, in this order, if the decoder does not support them
_LAST = ("pattern", "allOf", "multipleOf", "minLength", "maxLength", *BOUNDS)

_PATTERN_PROPERTIES = "what each field name may contain (patternProperties)"
#: parts of a schema that is too large for the decoder; it may write any JSON in the others
_FEWER_PARTS = (1000, 100, 10)
#: optional fields of one object for which llguidance's default limits are enough
MAX_OPTIONAL = 400


@lru_cache(maxsize=1)
def limits() -> Any:
    """The limits of a matcher. The library's defaults are exceeded by about 20,000 characters of document to copy from,
    and by 500 optional fields.
    """
    from llguidance import LLParserLimits

    return LLParserLimits(
        initial_lexer_fuel=50_000_000,
        step_lexer_fuel=20_000_000,
        max_items_in_row=200_000,
        step_max_items=2_000_000,
        max_grammar_size=5_000_000,
    )


def _compiled(schema: dict[str, Any]) -> tuple[str, str]:
    """The grammar of a simplified schema, and llguidance's error message ("" if none)."""
    from llguidance import LLMatcher

    made = str(LLMatcher.grammar_from_json_schema(dumps(schema), overrides=OPTIONS))
    failed, messages = LLMatcher.validate_grammar_with_warnings(made, limits=limits())
    return made, "; ".join(messages) if failed else ""


@lru_cache(maxsize=4096)
def _leaf(text: str) -> tuple[Place, tuple[str, ...]]:
    """A text or number as the decoder supports it, False if no value satisfies it; and the dropped keywords."""
    leaf: dict[str, Any] = loads(text)
    given_up: list[str] = []
    for key in (None, *_LAST):
        if key is not None:
            if key not in leaf:
                continue
            given_up.append(key)
            del leaf[key]
        complaint = _compiled({"type": "object", "properties": {"a": leaf}, "required": ["a"]})[1]
        if not complaint:
            break
        if "nsatisfiable" in complaint:
            return False, ()
    return leaf, tuple(given_up)


class _Pruned:
    """A simplified schema without unsatisfiable branches and without what the decoder does not support."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self.notes: dict[str, None] = {}
        self.grammar, self.complaint = "", ""
        self._lasting: dict[str, bool] = {}
        self._defs = {name: self._leaves(place) for name, place in schema["$defs"].items()}
        start = {key: self._leaves(value) for key, value in schema.items() if key != "$defs"}
        while True:  # an object is satisfiable once all its required fields are
            lasting = {name: name in self._lasting or self._possible(place) for name, place in self._defs.items()}
            lasting = {name: True for name, possible in lasting.items() if possible}
            if lasting == self._lasting:
                break
            self._lasting = lasting
        self.schema = {
            **(self._cut(start) or {}),
            "$defs": {name: self._cut(place) for name, place in self._defs.items() if name in self._lasting},
        }

    def _leaves(self, place: Place) -> Place:
        if isinstance(place, list):
            return [self._leaves(inner) for inner in place]
        if not isinstance(place, dict):
            return place
        if place.get("type") in ("string", "number", "integer") and len(place) > 1:
            leaf, given_up = _leaf(dumps(place))
            self.notes |= dict.fromkeys(f"{key} (not supported by the decoder)" for key in given_up)
            return leaf
        named = ("properties", "patternProperties")
        return {
            key: {name: self._leaves(inner) for name, inner in value.items()}
            if key in named
            else self._leaves(value)
            if key in ("anyOf", "items", "prefixItems", "additionalProperties")
            else value
            for key, value in place.items()
        }

    def _possible(self, place: Place) -> bool:
        """Whether some value satisfies a place, as far as is known."""
        if not isinstance(place, dict):
            return bool(place)
        if "$ref" in place:
            return place["$ref"].removeprefix("#/$defs/") in self._lasting
        if "anyOf" in place or "enum" in place:
            return any(map(self._possible, place["anyOf"])) if "anyOf" in place else bool(place["enum"])
        if place.get("type") == "object":
            return all(self._possible(place["properties"][name]) for name in place.get("required", ()))
        if place.get("type") == "array":
            return self._max_items(place) is None or self._max_items(place) >= place.get("minItems", 0)
        return True

    def _max_items(self, place: Place) -> Any:
        """The maximum number of entries of a list; None if it is unbounded."""
        prefix = place.get("prefixItems", [])
        known = next((number for number, inner in enumerate(prefix) if not self._possible(inner)), None)
        if known is None and not self._possible(place["items"]):
            known = len(prefix)
        declared = place.get("maxItems")
        return declared if known is None else known if declared is None else min(known, declared)

    def _cut(self, place: Place) -> Place:
        """A place with False for every unsatisfiable branch."""
        if not isinstance(place, dict):
            return place
        if not self._possible(place):
            return False
        kept = dict(place)
        if "anyOf" in place:
            kept["anyOf"] = [self._cut(inner) for inner in place["anyOf"] if self._possible(inner)]
        elif place.get("type") == "object":
            for key in ("properties", "patternProperties"):
                if key in place:
                    kept[key] = {name: self._cut(inner) for name, inner in place[key].items()}
            kept["additionalProperties"] = self._cut(place["additionalProperties"])
            kept = self._by_pattern(kept)
        elif place.get("type") == "array":
            max_items = self._max_items(place)
            if max_items is not None:
                kept["maxItems"] = max_items
            if "prefixItems" in place:
                kept["prefixItems"] = [self._cut(inner) for inner in place["prefixItems"][:max_items]]
            kept["items"] = self._cut(place["items"])
        return kept

    def _by_pattern(self, place: Place) -> Place:
        """An object whose field names are given by patterns, in a form that the decoder supports: no two patterns may
        match the same name, and some patterns are not supported.
        """
        patterns = place.get("patternProperties")
        if not patterns or not _pattern_error(tuple(patterns)):
            return place
        self.notes[_PATTERN_PROPERTIES] = None
        merged = "|".join(f"(?:{pattern})" for pattern in patterns)
        inside = {"anyOf": [inner for inner in patterns.values() if inner is not False]}
        if not _pattern_error((merged,)):
            return {**place, "patternProperties": {merged: inside if inside["anyOf"] else False}}
        return _without_patterns(place)


def _without_patterns(place: Place) -> Place:
    """A place; of an object with patterns, one in which any field may have any of the values allowed for some field."""
    patterns = place.get("patternProperties")
    if patterns is None:
        return place
    values = (*patterns.values(), place.get("additionalProperties", False))
    others = [schema for schema in values if schema is not False]
    kept = {key: value for key, value in place.items() if key != "patternProperties"}
    return {**kept, "additionalProperties": {} if {} in others else {"anyOf": others} if others else False}


@lru_cache(maxsize=1024)
def _pattern_error(patterns: tuple[str, ...]) -> str:
    """llguidance's error message for these name patterns together."""
    return _compiled({"type": "object", "patternProperties": {pattern: {"type": "null"} for pattern in patterns}})[1]


def _simplified(decoder: Decoder) -> _Pruned:
    """What is left of a decoder's schema; ``complaint`` says why llguidance does not support that either."""
    pruned = _Pruned(decoder.schema)
    pruned.notes |= decoder.notes
    if len(pruned.schema) == 1:
        pruned.complaint = "no value satisfies it"
        return pruned
    pruned.grammar, pruned.complaint = _compiled(pruned.schema)
    defs = pruned.schema["$defs"]
    if pruned.complaint and any("patternProperties" in place for place in defs.values()):
        # llguidance intersects a field with the schema of its name's pattern, and fails if that gets too complex.
        pruned.notes[_PATTERN_PROPERTIES] = None
        pruned.schema["$defs"] = {name: _without_patterns(place) for name, place in defs.items()}
        pruned.grammar, pruned.complaint = _compiled(pruned.schema)
    return pruned


@lru_cache(maxsize=256)
def _pruned(text: str) -> _Pruned:
    compiled = compile_schema(loads(text))
    pruned = _simplified(compiled.decoder)
    for parts in _FEWER_PARTS:
        if not pruned.complaint or len(pruned.schema) == 1:
            break
        pruned = _simplified(Decoder(compiled.schema, parts))
    return pruned


def decoder_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema that a constrained decoder gets; see ``unsupported`` for what it leaves out.

    If no value satisfies it, it has only empty ``$defs``.

    Raises SchemaError if the schema is rejected.
    """
    return _pruned(dumps(schema)).schema


def exceeds_optional_limit(schema: dict[str, Any]) -> bool:
    """Whether an object of a schema has more optional fields than a matcher supports without ``limits``."""
    objects = (place for place in decoder_schema(schema)["$defs"].values() if place["type"] == "object")
    return any(len(place["properties"]) - len(place.get("required", ())) > MAX_OPTIONAL for place in objects)


def grammar(schema: dict[str, Any]) -> str:
    """The llguidance grammar of a schema: compact JSON, properties in schema order, no other fields.

    Raises SchemaError if the schema is rejected, ValueError if no value satisfies it.
    """
    pruned = _pruned(dumps(schema))
    if pruned.complaint:
        raise ValueError(f"the decoder does not support this schema: {pruned.complaint}")
    return pruned.grammar


def _places(schema: Any, path: str = "") -> list[tuple[str, dict[str, Any]]]:
    """Every subschema with a name that a person recognizes."""
    if not isinstance(schema, dict):
        return []
    places = [(path, schema)]
    for steps, inner in subschemas(schema):
        named = steps[0] in ("properties", "$defs", "definitions")
        places += _places(inner, f"{path}.{steps[1]}".lstrip(".") if named else path)
    return places


def unsupported(schema: dict[str, Any]) -> list[str]:
    """Sentences on what the decoder cannot enforce (outputs are validated against it); empty if there is none."""
    sentences: dict[str, None] = {}
    for path, place in _places(schema):
        where = f"{path}: " if path else ""
        for keyword, words in _UNSUPPORTED.items():
            if keyword in place:
                sentences[f"{where}{_CHECKED_AFTERWARDS}: {words}"] = None
    if exceeds_optional_limit(schema):
        wide = f"an object with more than {MAX_OPTIONAL} optional fields"
        sentences[f"llama.cpp does not support {wide}; serve and evaluate the weights instead"] = None
    for words in _pruned(dumps(schema)).notes:
        sentences[f"{_CHECKED_AFTERWARDS}: {words}"] = None
    try:
        grammar(schema)
    except ValueError as error:
        sentences[str(error)] = None
    return list(sentences)


def output_bound(schema: dict[str, Any]) -> int | None:
    """The maximum length of a valid compact output in characters, or None if the schema does not bound it.

    A text of at most n characters counts 6 n + 2, as each may be written as an escape; a number counts 67, as longer
    ones are rejected. An object that allows undeclared field names is unbounded.
    """
    compiled = compile_schema(schema)
    if any(node.recursive for node in compiled.root.nodes()):
        return None
    try:
        with limited(MAX_STEPS):
            return _bound(compiled.schema, compiled.schema)
    except TooMuchWorkError:
        return None


def _bound(root: dict[str, Any], schema: Any, depth: int = 0) -> int | None:
    resolved, nullable = resolve(root, schema)
    if depth > MAX_DEPTH:
        return None
    if "const" in resolved:
        return len(dumps(resolved["const"]))
    if "enum" in resolved:
        return max(4 if nullable else 0, *(len(dumps(value)) for value in resolved["enum"]), 0)
    if forms := branches(root, resolved):
        return _largest([4, *(_bound(root, form, depth + 1) for form in forms)])
    types = types_of(resolved)
    if not types:
        return None
    bounds = [_typed_bound(root, resolved, type_, depth) for type_ in types]
    return _largest([*bounds, 4] if nullable else bounds)


def _largest(bounds: list[int | None]) -> int | None:
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
            max_length = schema.get("maxLength", _FORMAT_CHARACTERS.get(schema.get("format", "")))
            return None if max_length is None else 6 * int(max_length) + 2
        case "array":
            return _array_bound(root, schema, depth)
    return _object_bound(root, schema, depth)


def _array_bound(root: dict[str, Any], schema: dict[str, Any], depth: int) -> int | None:
    max_items = schema.get("maxItems")
    if max_items is None or "items" not in schema or "prefixItems" in schema:
        return None
    item = _bound(root, schema["items"], depth + 1)
    return None if item is None else 2 + max(0, int(max_items) * (item + 1) - 1)


def _object_bound(root: dict[str, Any], schema: dict[str, Any], depth: int) -> int | None:
    named = properties_of(schema)
    if schema.get("additionalProperties", False) is not False or schema.get("patternProperties"):
        return None
    if any(name not in named for name in schema.get("required", ())):
        return None
    total = 1
    for name, inner in named.items():
        bound = _bound(root, inner, depth + 1)
        if bound is None:
            return None
        total += len(dumps(name)) + 2 + bound
    return total if named else None
