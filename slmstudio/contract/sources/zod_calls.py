"""The calls of zod as schemas: those on ``z``, and those chained behind them."""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from slmstudio.contract.sources.drafts import SourceError, nullable_of, union
from slmstudio.contract.sources.typescript_tokens import Tokens


@dataclass(slots=True)
class Zod:
    """A schema under construction; ``optional``: the field may be missing."""

    schema: dict[str, Any]
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Arguments:
    """The arguments of a call: schemas, literals, objects of these, or None for other code."""

    values: list[Any]
    line: int

    def schema(self, index: int = 0) -> dict[str, Any]:
        """A schema."""
        value = self.values[index] if index < len(self.values) else None
        if not isinstance(value, Zod):
            raise SourceError("a zod schema is expected here.", self.line)
        return value.schema

    def plain(self, index: int = 0) -> Any:
        """A literal, or None."""
        return self.values[index] if index < len(self.values) and not isinstance(self.values[index], Zod) else None


def _text(format_: str = "") -> dict[str, Any]:
    return {"type": "string", **({"format": format_} if format_ else {})}


_FORMATS = {
    "email": "email", "url": "uri", "uuid": "uuid", "uuidv4": "uuid", "guid": "uuid", "ipv4": "ipv4", "ipv6": "ipv6",
    "datetime": "date-time", "date": "date", "time": "time", "duration": "duration", "hostname": "hostname",
    "httpUrl": "uri",
}  # fmt: skip
_SIMPLE: dict[str, dict[str, Any]] = {
    "string": _text(), "number": {"type": "number"}, "boolean": {"type": "boolean"}, "date": _text("date-time"),
    "int": {"type": "integer"}, "int32": {"type": "integer"}, "bigint": {"type": "integer"}, "any": {}, "unknown": {},
    "null": {"type": "null"}, "undefined": {"type": "null"}, "void": {"type": "null"}, "float64": {"type": "number"},
    "json": {}, "nan": {"type": "number"}, "stringbool": {"type": "boolean"},
    **{name: _text(format_) for name, format_ in _FORMATS.items() if name not in ("date", "time", "datetime")},
    **{name: _text() for name in (
        "cuid", "cuid2", "ulid", "nanoid", "emoji", "base64", "base64url", "jwt", "cidrv4", "cidrv6", "e164", "xid",
        "ksuid", "hex", "hash", "templateLiteral", "mac",
    )},
}  # fmt: skip


def is_getter(tokens: Tokens) -> bool:
    """Takes ``get`` of ``get name() { return ...; }``."""
    if tokens.now.text == "get" and tokens.ahead().kind in ("name", "text") and tokens.ahead(2).text == "(":
        tokens.next()
        return True
    return False


def base(path: list[str], arguments: Arguments) -> Zod:
    """A call on ``z``: ``z.string()``, ``z.iso.date()``, ``z.coerce.number()``.

    Raises:
        SourceError: the call has no equivalent in JSON.
    """
    name = path[-1] if path else ""
    if path[:1] == ["iso"] and name in _FORMATS:
        return Zod(_text(_FORMATS[name]))
    if name in _SIMPLE:
        return Zod(dict(_SIMPLE[name]))
    if name in ("object", "strictObject", "looseObject", "interface"):
        return Zod(_object(arguments.plain() or {}, {"strictObject": False, "looseObject": {}}.get(name)))
    if name in _BUILT:
        return Zod(_BUILT[name](arguments))
    if name in ("optional", "nullish", "exactOptional"):
        found = Zod(arguments.schema(), True)
        found.schema = nullable_of(found.schema) if name == "nullish" else found.schema
        return found
    if name in ("preprocess", "pipe"):
        return Zod(arguments.schema(1))
    raise SourceError(f"z.{'.'.join(path)} has no equivalent in JSON Schema.", arguments.line)


def _object(fields: dict[str, Any], other: Any = None) -> dict[str, Any]:
    known = {name: one for name, one in fields.items() if isinstance(one, Zod)}
    required = [name for name, one in known.items() if not one.optional]
    schema: dict[str, Any] = {"type": "object", "properties": {name: one.schema for name, one in known.items()}}
    if required:
        schema["required"] = required
    return schema if other is None else {**schema, "additionalProperties": other}


def _literal(arguments: Arguments) -> dict[str, Any]:
    values = arguments.plain()
    listed = values if isinstance(values, list) else [values]
    return union({"const": value, **_typed(value)} if value is not None else {"type": "null"} for value in listed)


def _typed(value: Any) -> dict[str, Any]:
    return {"type": "boolean" if isinstance(value, bool) else "string" if isinstance(value, str) else "number"}


def _enum(arguments: Arguments) -> dict[str, Any]:
    values = arguments.plain()
    listed = list(values.values()) if isinstance(values, dict) else values
    if not listed or not isinstance(listed, list) or not all(isinstance(one, str | int | Decimal) for one in listed):
        raise SourceError("the values of the enum must be written in the call.", arguments.line)
    return {**(_typed(listed[0]) if len({type(one) for one in listed}) == 1 else {}), "enum": listed}


def _parts(arguments: Arguments, index: int = 0) -> list[dict[str, Any]]:
    values = arguments.plain(index)
    if not isinstance(values, list) or not all(isinstance(one, Zod) for one in values):
        raise SourceError("a list of zod schemas is expected here.", arguments.line)
    return [one.schema for one in values]


def _tuple(arguments: Arguments) -> dict[str, Any]:
    parts = _parts(arguments)
    rest: Any = arguments.schema(1) if len(arguments.values) > 1 else False
    return {"type": "array", "prefixItems": parts, "items": rest, "minItems": len(parts)}


def _record(arguments: Arguments) -> dict[str, Any]:
    values = arguments.schema(len(arguments.values) - 1)
    names = arguments.schema(0) if len(arguments.values) > 1 else {}
    if "enum" in names:
        return {"type": "object", "properties": dict.fromkeys(names["enum"], values), "required": names["enum"]}
    return {"type": "object", "additionalProperties": values}


def _list(arguments: Arguments) -> dict[str, Any]:
    return {"type": "array", "items": arguments.schema()}


_BUILT: dict[str, Callable[[Arguments], dict[str, Any]]] = {
    "literal": _literal, "enum": _enum, "nativeEnum": _enum, "array": _list, "set": _list, "tuple": _tuple,
    "record": _record, "partialRecord": _record, "map": _record, "union": lambda found: union(_parts(found)),
    "xor": lambda found: union(_parts(found)),
    "discriminatedUnion": lambda found: union(_parts(found, 1)), "lazy": lambda found: found.schema(),
    "nullable": lambda found: nullable_of(found.schema()),
    "intersection": lambda found: {"allOf": [found.schema(), found.schema(1)]},
}  # fmt: skip
_SIGNS = {
    "positive": ("exclusiveMinimum", 0), "nonnegative": ("minimum", 0), "negative": ("exclusiveMaximum", 0),
    "nonpositive": ("maximum", 0),
}  # fmt: skip
_BOUNDS = {
    "gt": "exclusiveMinimum", "gte": "minimum", "lt": "exclusiveMaximum", "lte": "maximum", "multipleOf": "multipleOf",
    "step": "multipleOf", "regex": "pattern",
}  # fmt: skip
#: chained calls that do not change what is valid JSON
_NEUTRAL = (
    "brand", "readonly", "trim", "toLowerCase", "toUpperCase", "normalize", "finite", "safe", "passthrough", "strip",
    "register", "overwrite", "prefault", "describe", "meta", "unwrap",
)  # fmt: skip
_TARGET = Callable[[dict[str, Any]], dict[str, Any]]


def chained(value: Zod, name: str, arguments: Arguments, resolved: _TARGET) -> bool:
    """Applies a chained call; whether it is known. ``resolved``: the schema that a reference leads to."""
    schema = value.schema
    plain = arguments.plain()
    if name in ("min", "max", "length", "nonempty"):
        value.schema = {**schema, **_sizes(name, resolved(schema), plain)}
    elif name in _SIGNS:
        value.schema = {**schema, _SIGNS[name][0]: _SIGNS[name][1]}
    elif name in _BOUNDS and plain is not None:
        value.schema = {**schema, _BOUNDS[name]: plain}
    elif name == "rest":
        value.schema = {**schema, "items": arguments.schema()}
    elif name == "int":
        value.schema = {**schema, "type": "integer"}
    elif name in _FORMATS and schema.get("type") == "string":
        value.schema = {**schema, "format": _FORMATS[name]}
    elif name in ("optional", "nullish", "default", "catch", "exactOptional"):
        value.optional = True
        if name == "nullish":
            value.schema = nullable_of(schema)
        elif name == "default" and isinstance(plain, str | int | bool | Decimal):
            value.schema = {**schema, "default": plain}
    elif name == "nullable":
        value.schema = nullable_of(schema)
    elif name == "array":
        value.schema = {"type": "array", "items": schema}
    elif name == "or":
        value.schema = union([schema, arguments.schema()])
    elif name == "and":
        value.schema = {"allOf": [schema, arguments.schema()]}
    elif name in _SHAPES:
        value.schema = _SHAPES[name](dict(resolved(schema)), arguments, resolved)
    elif name not in _NEUTRAL:
        return False
    notes = (
        plain if isinstance(plain, dict) and name == "meta" else {"description": plain} if name == "describe" else {}
    )
    texts = {key: text for key, text in notes.items() if key in ("title", "description") and isinstance(text, str)}
    value.schema = {**value.schema, **texts}
    return True


def _sizes(name: str, schema: dict[str, Any], size: Any) -> dict[str, Any]:
    if name == "nonempty":
        name, size = "min", 1
    if not isinstance(size, int | Decimal) or isinstance(size, bool):
        return {}
    type_ = schema.get("type")
    if type_ in ("number", "integer"):
        return {"minimum" if name == "min" else "maximum": size}
    unit = "Items" if type_ == "array" else "Length"
    return {f"{key}{unit}": size for key in (("min", "max") if name == "length" else (name,))}


def _extend(schema: dict[str, Any], arguments: Arguments, resolved: _TARGET) -> dict[str, Any]:
    value = arguments.values[0] if arguments.values else None
    other = resolved(value.schema) if isinstance(value, Zod) else _object(value or {})
    fields = {**schema.get("properties", {}), **other.get("properties", {})}
    kept = [one for one in schema.get("required", ()) if one not in other.get("properties", {})]
    return _with(schema, fields, [*kept, *other.get("required", ())])


def _chosen(schema: dict[str, Any], arguments: Arguments, keep: bool) -> dict[str, Any]:
    names = arguments.plain() or {}
    fields = {one: inner for one, inner in schema.get("properties", {}).items() if (one in names) == keep}
    return _with(schema, fields, [one for one in schema.get("required", ()) if one in fields])


def _optional(schema: dict[str, Any], arguments: Arguments, needed: bool) -> dict[str, Any]:
    fields = schema.get("properties", {})
    names = arguments.plain() or fields
    required = [one for one in fields if (needed if one in names else one in schema.get("required", ()))]
    return _with(schema, fields, required)


def _with(schema: dict[str, Any], fields: dict[str, Any], required: list[str]) -> dict[str, Any]:
    found = {key: value for key, value in schema.items() if key not in ("properties", "required")}
    return {**found, "properties": fields, **({"required": required} if required else {})}


_SHAPES: dict[str, Callable[[dict[str, Any], Arguments, _TARGET], dict[str, Any]]] = {
    "extend": _extend,
    "safeExtend": _extend,
    "merge": _extend,
    "pick": lambda schema, arguments, _: _chosen(schema, arguments, True),
    "omit": lambda schema, arguments, _: _chosen(schema, arguments, False),
    "partial": lambda schema, arguments, _: _optional(schema, arguments, False),
    "required": lambda schema, arguments, _: _optional(schema, arguments, True),
    "strict": lambda schema, arguments, _: {**schema, "additionalProperties": False},
    "loose": lambda schema, arguments, _: {**schema, "additionalProperties": {}},
    "catchall": lambda schema, arguments, _: {**schema, "additionalProperties": arguments.schema()},
}
