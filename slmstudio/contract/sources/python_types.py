"""Type annotations of Python as schemas."""

import ast
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from slmstudio.contract.sources.drafts import SourceError, nullable_of, union

TEXT: dict[str, Any] = {"type": "string"}


def _text(format_: str) -> dict[str, Any]:
    return {"type": "string", "format": format_}


_NAMED: tuple[tuple[str, dict[str, Any]], ...] = (
    ("str StrictStr AnyStr Path FilePath SecretStr bytes Base64Str LiteralString", TEXT),
    ("int StrictInt", {"type": "integer"}),
    ("float Decimal StrictFloat complex FiniteFloat", {"type": "number"}),
    ("bool StrictBool", {"type": "boolean"}),
    ("Any object Json JsonValue", {}),
    ("None NoneType", {"type": "null"}),
    ("date PastDate FutureDate", _text("date")),
    ("datetime AwareDatetime NaiveDatetime PastDatetime FutureDatetime", _text("date-time")),
    ("time", _text("time")),
    ("timedelta", _text("duration")),
    ("UUID UUID1 UUID3 UUID4 UUID5 UUID6 UUID7", _text("uuid")),
    ("EmailStr NameEmail", _text("email")),
    ("AnyUrl AnyHttpUrl HttpUrl FileUrl AnyWebsocketUrl", _text("uri")),
    ("IPv4Address", _text("ipv4")),
    ("IPv6Address", _text("ipv6")),
    ("IPvAnyAddress", {"anyOf": [_text("ipv4"), _text("ipv6")]}),
    ("PositiveInt", {"type": "integer", "exclusiveMinimum": 0}),
    ("NonNegativeInt", {"type": "integer", "minimum": 0}),
    ("NegativeInt", {"type": "integer", "exclusiveMaximum": 0}),
    ("NonPositiveInt", {"type": "integer", "maximum": 0}),
    ("PositiveFloat", {"type": "number", "exclusiveMinimum": 0}),
    ("NonNegativeFloat", {"type": "number", "minimum": 0}),
    ("NegativeFloat", {"type": "number", "exclusiveMaximum": 0}),
    ("NonPositiveFloat", {"type": "number", "maximum": 0}),
    ("dict Dict Mapping", {"type": "object", "additionalProperties": {}}),
    ("list List set Set tuple Tuple Sequence", {"type": "array", "items": {}}),
)
_SIMPLE = {name: schema for names, schema in _NAMED for name in names.split()}
_LISTS = (
    *("list", "List", "Sequence", "MutableSequence", "Iterable", "Collection", "deque", "Deque"),
    *("set", "Set", "frozenset", "FrozenSet", "AbstractSet"),
)
_MAPS = {"dict", "Dict", "Mapping", "MutableMapping", "OrderedDict", "DefaultDict", "defaultdict"}
_WRAPPERS = {"Required", "NotRequired", "ReadOnly", "Final", "Type"}
_CONSTRAINED = {
    "constr": "string", "conint": "integer", "confloat": "number", "condecimal": "number", "condate": "date",
    "conlist": "array", "conset": "array",
}  # fmt: skip
#: arguments of Field, con... and annotated-types -> keywords of texts and numbers; lists have others
CONSTRAINTS = {
    "ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum", "multiple_of": "multipleOf",
    "min_length": "minLength", "max_length": "maxLength", "pattern": "pattern", "regex": "pattern",
    "min_items": "minItems", "max_items": "maxItems", "unique_items": "uniqueItems",
}  # fmt: skip
_ANNOTATED_TYPES = {"Ge": "ge", "Gt": "gt", "Le": "le", "Lt": "lt", "MultipleOf": "multiple_of", "MinLen": "min_length",
                    "MaxLen": "max_length"}  # fmt: skip


def name_of(node: ast.AST | None) -> str:
    """The last part of a dotted name; "" for anything else."""
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Constant) and isinstance(node.value, str | None):
        return str(node.value)
    return node.id if isinstance(node, ast.Name) else ""


def literal(node: ast.AST) -> Any:
    """The value of a literal, exact; None for what is none."""
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        if isinstance(node, ast.Call) and name_of(node.func) == "Decimal" and len(node.args) == 1:
            return _exact(literal(node.args[0]))
        return None
    return _exact(value) if isinstance(value, float) else _plain(value)


def _exact(value: Any) -> Any:
    try:
        return Decimal(str(value))
    except ArithmeticError:
        return None


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, float):
        return _exact(value)
    return value if isinstance(value, str | int | bool) else None


def constrained(schema: dict[str, Any], arguments: dict[str, ast.expr]) -> dict[str, Any]:
    """A schema with the constraints among the arguments of ``Field`` and the like."""
    found = dict(schema)
    places = literal(arguments["decimal_places"]) if "decimal_places" in arguments else None
    if isinstance(places, int) and 0 < places < 30:
        found["multipleOf"] = Decimal(1).scaleb(-places)
    target = found
    if found.keys() == {"anyOf"}:  # the constraints are those of the type that is not null
        parts = [dict(part) for part in found["anyOf"]]
        solid = [part for part in parts if part != {"type": "null"}]
        found = {"anyOf": parts}
        target = solid[0] if len(solid) == 1 else {}
    for name, node in arguments.items():
        value = literal(node)
        keyword = CONSTRAINTS.get(name)
        if keyword is None or value is None or value is False:
            continue
        if keyword in ("minLength", "maxLength") and target.get("type") == "array":
            keyword = keyword.replace("Length", "Items")
        target[keyword] = value
    return found


def annotations_of(arguments: dict[str, ast.expr]) -> dict[str, Any]:
    """Title, description and examples among the arguments of ``Field``, and ``json_schema_extra``."""
    found: dict[str, Any] = {}
    for key in ("title", "description"):
        text = literal(arguments[key]) if key in arguments else None
        if isinstance(text, str):
            found[key] = text
    if "examples" in arguments and isinstance(values := literal(arguments["examples"]), list):
        found["examples"] = values
    elif "example" in arguments:
        found["examples"] = [literal(arguments["example"])]
    extra = literal(arguments["json_schema_extra"]) if "json_schema_extra" in arguments else None
    if isinstance(extra, dict):
        found |= extra
    return found


class TypeReader:
    """Reads annotations. ``reference(name, line)`` is the schema of a name of the text; it raises for others."""

    def __init__(self, reference: Callable[[str, int], dict[str, Any]]) -> None:
        self._reference = reference

    def schema(self, node: ast.expr) -> dict[str, Any]:
        """The schema of an annotation.

        Raises:
            SourceError: with the line, for a type that is not known.
        """
        if isinstance(node, ast.Constant):
            return self._constant(node)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
            return union([self.schema(node.left), self.schema(node.right)])
        if isinstance(node, ast.Name | ast.Attribute):
            name = name_of(node)
            if name in _SIMPLE:
                return dict(_SIMPLE[name])
            return self._reference(name, node.lineno)
        if isinstance(node, ast.Subscript):
            return self._generic(name_of(node.value), node)
        if isinstance(node, ast.Call):
            return self._call(node)
        raise SourceError(f"{ast.unparse(node)[:60]} is not a type that a schema can express.", node.lineno)

    def _constant(self, node: ast.Constant) -> dict[str, Any]:
        if node.value is None:
            return {"type": "null"}
        if node.value is ...:
            return {}
        try:
            inner = ast.parse(str(node.value), mode="eval").body
        except SyntaxError:
            raise SourceError(f"{node.value!r} is not a type.", node.lineno) from None
        for one in ast.walk(inner):
            if hasattr(one, "lineno"):
                one.lineno = node.lineno
        return self.schema(inner)

    def _generic(self, name: str, node: ast.Subscript) -> dict[str, Any]:
        parts = list(node.slice.elts) if isinstance(node.slice, ast.Tuple) else [node.slice]
        if name == "Optional":
            return union([self.schema(parts[0]), {"type": "null"}])
        if name == "Union":
            return union(map(self.schema, parts))
        if name == "Literal":
            return _literals(parts)
        if name == "Annotated":
            return self._annotated(parts)
        if name in _LISTS:
            return {"type": "array", "items": self.schema(parts[0])}
        if name in ("tuple", "Tuple"):
            return self._tuple(parts)
        if name in _MAPS:
            return {"type": "object", "additionalProperties": self.schema(parts[-1])}
        if name in _WRAPPERS:
            return self.schema(parts[0])
        if name == "RootModel":
            return self.schema(parts[0])
        return self._reference(name, node.lineno)  # a generic model: its parameters are not known types

    def _tuple(self, parts: list[ast.expr]) -> dict[str, Any]:
        if len(parts) == 2 and isinstance(parts[1], ast.Constant) and parts[1].value is ...:
            return {"type": "array", "items": self.schema(parts[0])}
        inner = [self.schema(part) for part in parts]
        return {"type": "array", "prefixItems": inner, "items": False, "minItems": len(inner)}

    def _annotated(self, parts: list[ast.expr]) -> dict[str, Any]:
        schema = self.schema(parts[0])
        for note in parts[1:]:
            if isinstance(note, ast.Call):
                schema = self._noted(schema, note)
        return schema

    def _noted(self, schema: dict[str, Any], note: ast.Call) -> dict[str, Any]:
        name = name_of(note.func)
        if name in _ANNOTATED_TYPES and note.args:
            return constrained(schema, {_ANNOTATED_TYPES[name]: note.args[0]})
        if name == "Len" and note.args:
            return constrained(schema, dict(zip(("min_length", "max_length"), note.args, strict=False)))
        if name in ("StringConstraints", "Interval", "Len"):
            return constrained(schema, {str(word.arg): word.value for word in note.keywords})
        if name == "Field":
            arguments = {str(word.arg): word.value for word in note.keywords}
            return {**constrained(schema, arguments), **annotations_of(arguments)}
        return schema

    def _call(self, node: ast.Call) -> dict[str, Any]:
        name = name_of(node.func)
        type_ = _CONSTRAINED.get(name)
        if type_ is None:
            raise SourceError(f"{ast.unparse(node)[:60]} is not a type that a schema can express.", node.lineno)
        arguments = {str(word.arg): word.value for word in node.keywords}
        if type_ == "array":
            item = node.args[0] if node.args else arguments.get("item_type")
            return constrained({"type": "array", "items": self.schema(item) if item else {}}, arguments)
        return constrained(_text("date") if type_ == "date" else {"type": type_}, arguments)


def _literals(parts: list[ast.expr]) -> dict[str, Any]:
    values: list[Any] = []
    for part in parts:
        if isinstance(part, ast.Attribute):
            raise SourceError("a member of an enum in Literal is not supported; write its value.", part.lineno)
        values.append(literal(part))
    solid = [value for value in values if value is not None]
    types = {"boolean" if isinstance(v, bool) else "string" if isinstance(v, str) else "integer" for v in solid}
    schema: dict[str, Any] = {"type": types.pop()} if len(types) == 1 else {}
    schema = {**schema, "const": solid[0]} if len(values) == 1 and solid else {**schema, "enum": solid}
    return schema if len(solid) == len(values) else nullable_of(schema)
