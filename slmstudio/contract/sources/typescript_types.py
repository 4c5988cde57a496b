"""Types of TypeScript as schemas."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from slmstudio.contract.sources.drafts import Definitions, references, union
from slmstudio.contract.sources.typescript_tokens import Token, Tokens, number_of, text_of

_SIMPLE: dict[str, dict[str, Any]] = {
    "string": {"type": "string"}, "number": {"type": "number"}, "boolean": {"type": "boolean"},
    "bigint": {"type": "integer"}, "null": {"type": "null"}, "undefined": {"type": "null"}, "void": {"type": "null"},
    "any": {}, "unknown": {}, "Date": {"type": "string", "format": "date-time"},
    "object": {"type": "object", "additionalProperties": {}}, "true": {"const": True, "type": "boolean"},
    "false": {"const": False, "type": "boolean"}, "URL": {"type": "string", "format": "uri"},
}  # fmt: skip
_LISTS = ("Array", "ReadonlyArray", "Set", "ReadonlySet")
_MAPS = ("Record", "Map", "ReadonlyMap")
_SAME = ("Readonly", "NonNullable", "Awaited")
_FIELDS = ("Partial", "Required", "Pick", "Omit")
_OPERATORS = ("keyof", "typeof", "infer", "unique", "asserts")
_TAGS = {
    "minimum": "minimum", "maximum": "maximum", "minlength": "minLength", "maxlength": "maxLength", "format": "format",
    "pattern": "pattern", "multipleof": "multipleOf", "minitems": "minItems", "maxitems": "maxItems", "title": "title",
    "exclusiveminimum": "exclusiveMinimum", "exclusivemaximum": "exclusiveMaximum",
}  # fmt: skip
_TAG = re.compile(r"@(\w+)[ \t]*([^\n@]*)")
_MAX_DEPTH = 60


@dataclass(frozen=True, slots=True)
class Declaration:
    """Where a type is declared: ``body`` is the position of its tokens behind the name and parameters."""

    name: str
    line: int
    parameters: tuple[str, ...]
    body: int
    word: str
    doc: str


class TypeParser:
    """Reads the bodies of declarations into ``definitions``."""

    def __init__(
        self, tokens: Tokens, declared: dict[str, Declaration], definitions: Definitions, notes: list[str]
    ) -> None:
        self._tokens, self._declared, self._definitions, self._notes = tokens, declared, definitions, notes
        self._arguments: dict[str, dict[str, Any]] = {}
        self._depth = 0

    def define(self, declaration: Declaration) -> None:
        """Reads a declaration, once."""
        name = declaration.name
        if name in self._definitions.schemas:
            return
        self._definitions.schemas[name] = {}  # a type may refer to itself
        self._definitions.lines[name] = declaration.line
        schema = self._body(declaration)
        self._definitions.schemas[name] = schema
        if schema.get("type") != "object" and not references(schema):
            self._definitions.parts.add(name)

    def _body(self, declaration: Declaration) -> dict[str, Any]:
        with self._at(declaration.body):
            if declaration.word == "type":
                self._tokens.need("=")
                return documented(self._union(), declaration.doc)
            bases: list[dict[str, Any]] = []
            while self._tokens.now.text != "{":
                if self._tokens.take("extends", "implements", ","):
                    bases.append(self._primary())
                else:
                    raise self._tokens.error(f"'{self._tokens.now.text or 'the end'}' is not expected here.")
            schema = self._object()
            for base in reversed(bases):
                schema = _merged(self._resolved(base), schema)
            return documented(schema, declaration.doc)

    @contextmanager
    def _at(self, position: int) -> Iterator[None]:
        before, self._tokens.position = self._tokens.position, position
        yield
        self._tokens.position = before

    def _union(self) -> dict[str, Any]:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise self._tokens.error(f"types are nested more than {_MAX_DEPTH} deep.")
        self._tokens.take("|")
        parts = [self._intersection()]
        while self._tokens.take("|"):
            parts.append(self._intersection())
        self._depth -= 1
        if self._tokens.now.text == "extends":
            raise self._tokens.error("conditional types are not supported; write the type that is meant.")
        return parts[0] if len(parts) == 1 else _booleans(union(parts))

    def _intersection(self) -> dict[str, Any]:
        self._tokens.take("&")
        schema = self._postfix()
        while self._tokens.take("&"):
            other = self._postfix()
            schema = _merged(self._resolved(schema), self._resolved(other))
        return schema

    def _postfix(self) -> dict[str, Any]:
        self._tokens.take("readonly")
        schema = self._primary()
        while self._tokens.now.text == "[" and not self._tokens.now.breaks:
            self._tokens.next()
            if self._tokens.now.text != "]":
                raise self._tokens.error("types of fields (T['name']) are not supported; write the type that is meant.")
            self._tokens.next()
            schema = {"type": "array", "items": schema}
        return schema

    def _primary(self) -> dict[str, Any]:
        tokens = self._tokens
        token = tokens.now
        if token.text == "{":
            return self._object()
        if token.text == "[":
            return self._tuple()
        if token.text == "(" and (tokens.ahead().text in (")", "...") or tokens.ahead(2).text in (":", ",", "?")):
            raise tokens.error("a function is not JSON.")
        if tokens.take("("):
            schema = self._union()
            tokens.need(")")
            return schema
        if token.kind == "text":
            tokens.next()
            return (
                {"type": "string"} if token.text[0] == "`" and "${" in token.text else _const(text_of(token), "string")
            )
        if token.kind == "number" or token.text == "-":
            sign = -1 if tokens.take("-") else 1
            if tokens.now.kind != "number":
                raise tokens.error(f"a number is missing before '{tokens.now.text or 'the end'}'.")
            return _const(sign * number_of(tokens.next()), "number")
        if token.kind != "name" or token.text in _OPERATORS:
            raise tokens.error(f"'{token.text or 'the end'}' is not a type that a schema can express.")
        return self._named(tokens.next())

    def _named(self, token: Token) -> dict[str, Any]:
        name = token.text
        while self._tokens.take("."):
            name = self._tokens.next().text
        arguments: list[dict[str, Any]] = []
        if self._tokens.take("<"):
            while not self._tokens.take(">"):
                arguments.append(self._union())
                if not self._tokens.take(",") and self._tokens.now.text != ">":
                    raise self._tokens.error(f"'>' is missing before '{self._tokens.now.text or 'the end'}'.")
        if name in self._arguments:
            return self._arguments[name]
        if name in self._declared:
            return self._declared_type(self._declared[name], arguments)
        if name in _SIMPLE:
            return dict(_SIMPLE[name])
        if name in _LISTS and arguments:
            return {"type": "array", "items": arguments[0]}
        if name in _MAPS and len(arguments) == 2:
            return _record(*arguments)
        if name in _SAME and arguments:
            return _without_null(arguments[0]) if name == "NonNullable" else arguments[0]
        if name in _FIELDS and arguments:
            return _selected(name, self._resolved(arguments[0]), arguments[1:])
        raise _at(token, self._tokens, f"the type {name} is not defined in this text. Paste it too.")

    def _declared_type(self, declaration: Declaration, arguments: list[dict[str, Any]]) -> dict[str, Any]:
        if not declaration.parameters:
            self.define(declaration)
            return {"$ref": f"#/$defs/{declaration.name}"}
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise self._tokens.error(f"the type {declaration.name} contains itself with other parameters.")
        outer, self._arguments = self._arguments, dict(zip(declaration.parameters, arguments, strict=False))
        schema = self._body(declaration)
        self._arguments = outer
        self._depth -= 1
        return schema

    def _resolved(self, schema: dict[str, Any]) -> dict[str, Any]:
        """A type with its fields, not a reference to them."""
        if "$ref" not in schema:
            return schema
        return self._resolved(self._definitions.schemas[schema["$ref"].removeprefix("#/$defs/")])

    def _tuple(self) -> dict[str, Any]:
        tokens = self._tokens
        tokens.need("[")
        parts, least = [], 0
        rest: Any = False
        while not tokens.take("]"):
            if tokens.take("..."):
                if tokens.now.kind == "name" and tokens.ahead().text == ":":
                    tokens.next()  # a label
                    tokens.next()
                rest = self._union().get("items", {})
            else:
                if tokens.now.kind == "name" and tokens.ahead().text in (":", "?") and tokens.ahead(2).text != "]":
                    tokens.next()  # a label
                    optional = tokens.take("?")
                    tokens.need(":")
                    parts.append(self._union())
                else:
                    parts.append(self._union())
                    optional = tokens.take("?")
                least = least if optional else len(parts)
            if not tokens.take(",") and tokens.now.text != "]":
                raise tokens.error(f"']' is missing before '{tokens.now.text or 'the end'}'.")
        schema: dict[str, Any] = {"type": "array", "prefixItems": parts, "items": rest, "minItems": least}
        return schema if parts else {"type": "array", "items": rest}

    def _object(self) -> dict[str, Any]:
        tokens = self._tokens
        tokens.need("{")
        properties: dict[str, Any] = {}
        required: list[str] = []
        other: dict[str, Any] | None = None
        while not tokens.take("}"):
            if tokens.now.kind == "end":
                raise tokens.error("'}' is missing before the end.")
            if tokens.take(";", ","):
                continue
            doc = tokens.now.doc
            while (
                tokens.now.text in ("readonly", "public", "private", "protected", "declare")
                and tokens.ahead().kind == "name"
            ):
                tokens.next()
            if tokens.now.text == "[":
                other = self._index()
                continue
            token = tokens.next()
            if token.kind not in ("name", "text", "number"):
                raise _at(token, tokens, f"a name of a field is expected, not '{token.text}'.")
            name = text_of(token) if token.kind == "text" else token.text
            optional = tokens.take("?")
            tokens.take("!")
            if tokens.now.text in ("(", "<"):
                self._notes.append(f"The method {name} is left out (line {token.line}).")
                self._skip_member()
                continue
            tokens.need(":")
            schema = self._union()
            if tokens.take("="):  # the default value of a class
                self._skip_member()
            properties[name] = documented(schema, doc)
            if not optional:
                required.append(name)
        schema = {"type": "object", "properties": properties, **({"required": required} if required else {})}
        if other is not None:
            schema["additionalProperties"] = other
            if not properties:
                del schema["properties"]
        return schema

    def _index(self) -> dict[str, Any]:
        """``[name: string]: T``"""
        tokens = self._tokens
        tokens.need("[")
        tokens.next()
        if tokens.take("in"):
            raise tokens.error("mapped types are not supported; write the fields.")
        tokens.need(":")
        self._union()
        tokens.need("]")
        tokens.need(":")
        return self._union()

    def _skip_member(self) -> None:
        tokens = self._tokens
        while tokens.now.text not in (";", "}") and tokens.now.kind != "end":
            if tokens.now.text in ("(", "[", "{"):
                tokens.skip_group()
            else:
                tokens.next()
            if tokens.now.breaks:
                return


def _at(token: Token, tokens: Tokens, message: str) -> Exception:
    error = tokens.error(message)
    error.args = (f"Line {token.line}: {message}",)
    error.line = token.line
    return error


def _const(value: Any, type_: str) -> dict[str, Any]:
    return {"type": type_, "const": value}


def _booleans(schema: dict[str, Any]) -> dict[str, Any]:
    """``true | false`` is boolean."""
    return (
        {"type": "boolean"}
        if schema.get("type") == "boolean" and set(schema.get("enum", ())) == {True, False}
        else schema
    )


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    if isinstance(schema.get("type"), list):
        return {**schema, "type": schema["type"][0]}
    return union([part for part in schema["anyOf"] if part != {"type": "null"}]) if "anyOf" in schema else schema


def _record(names: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    listed = names.get("enum", [names["const"]] if "const" in names else [])
    if listed:
        return {
            "type": "object",
            "properties": dict.fromkeys(map(str, listed), values),
            "required": list(map(str, listed)),
        }
    return {"type": "object", "additionalProperties": values}


def _selected(name: str, schema: dict[str, Any], chosen: list[dict[str, Any]]) -> dict[str, Any]:
    fields, required = schema.get("properties", {}), schema.get("required", [])
    if name in ("Pick", "Omit") and chosen:
        names = set(chosen[0].get("enum", [chosen[0].get("const")]))
        fields = {one: inner for one, inner in fields.items() if (one in names) == (name == "Pick")}
        required = [one for one in required if one in fields]
    elif name in ("Partial", "Required"):
        required = list(fields) if name == "Required" else []
    found = {**schema, "properties": fields, "required": required}
    if not required:
        del found["required"]
    return found


def _merged(one: dict[str, Any], two: dict[str, Any]) -> dict[str, Any]:
    """The fields of both types; where both have a field, that of the second counts."""
    if "properties" not in one or "properties" not in two:
        return two if not one or "properties" not in one else one
    required = list(dict.fromkeys([*one.get("required", ()), *two.get("required", ())]))
    merged = {**one, **two, "properties": {**one["properties"], **two["properties"]}}
    return {**merged, "required": required} if required else merged


def documented(schema: dict[str, Any], doc: str) -> dict[str, Any]:
    """A schema with the text and the tags (``@minimum 0``, ``@format date``) of a documentation comment."""
    if not doc:
        return schema
    text = re.sub(r"^\s*\*? ?", "", doc[3:-2], flags=re.MULTILINE)
    found = dict(schema)
    for tag, raw in _TAG.findall(text):
        key = _TAGS.get(tag.lower())
        value = raw.strip()
        if tag.lower() in ("integer", "int", "asType") or (tag.lower() == "type" and "integer" in value):
            if found.get("type") == "number":
                found["type"] = "integer"
        elif key in ("format", "pattern", "title") and value:
            found[key] = value
        elif key and value:
            try:
                found[key] = int(value) if value.lstrip("-").isdigit() else Decimal(value)
            except InvalidOperation:
                continue
    words = " ".join(_TAG.sub("", text).split())
    return {**found, "description": words} if words else found
