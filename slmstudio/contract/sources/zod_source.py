"""Schemas of zod 3 and 4 in TypeScript source: the calls are read, nothing is executed."""

import contextlib
from typing import Any

from slmstudio.contract.sources.drafts import Definitions, Draft, Reason, SourceError
from slmstudio.contract.sources.typescript_tokens import Tokens, number_of, text_of
from slmstudio.contract.sources.zod_calls import Arguments, Zod, base, chained, is_getter

_KEPT_DEPTH = 60


def schema_from_zod(text: str, name: str = "") -> Draft:
    """The schema of the zod objects in a text. ``name``: the constant of the document; by default the last one that no
    other refers to.

    Raises:
        SourceError: with the line of what cannot be read.
    """
    source = _Source(text)
    chosen, names = source.definitions.document(name)
    reasons = (Reason("", f"The constant {chosen}, line {source.definitions.lines[chosen]}."),)
    notes = [f"Left to code, not checked: {name} (line {line})." for name, line in source.skipped]
    return Draft(source.definitions.schema(chosen), "zod", reasons, tuple(notes), chosen, names)


class _Source:
    def __init__(self, text: str) -> None:
        self.definitions = Definitions()
        self.skipped: list[tuple[str, int]] = []
        self._tokens = Tokens(text)
        self._constants: dict[str, int] = {}
        self._depth = 0
        tokens = self._tokens
        while tokens.now.kind != "end":
            if tokens.take("const", "let", "var") and tokens.now.kind == "name":
                self._constant()
            elif tokens.now.text in ("{", "(", "["):
                tokens.skip_group()
            else:
                tokens.next()
        for name in list(self._constants):
            self._define(name)

    def _constant(self) -> None:
        token = self._tokens.next()
        while self._tokens.now.text not in ("=", ";") and self._tokens.now.kind != "end":
            self._tokens.next()
        if self._tokens.take("="):
            self._constants[token.text] = self._tokens.position
            self.definitions.lines[token.text] = token.line

    def _define(self, name: str) -> None:
        if name in self.definitions.schemas:
            return
        self.definitions.schemas[name] = {}
        before, self._tokens.position = self._tokens.position, self._constants[name]
        value = self._value()
        self._tokens.position = before
        if isinstance(value, Zod):
            self.definitions.schemas[name] = value.schema
        else:
            del self.definitions.schemas[name]
        if not isinstance(value, Zod) or "properties" not in value.schema:
            self.definitions.parts.add(name)

    def _value(self) -> Any:
        """A schema, a literal, or None for other code, which is skipped."""
        tokens = self._tokens
        self._depth += 1
        if self._depth > _KEPT_DEPTH:
            raise tokens.error(f"calls are nested more than {_KEPT_DEPTH} deep.")
        try:
            return self._inner()
        finally:
            self._depth -= 1

    def _inner(self) -> Any:
        tokens = self._tokens
        token = tokens.now
        if token.kind == "text":
            return self._plain(text_of(tokens.next()))
        if token.kind == "pattern":
            return self._plain(tokens.next().text[1:].rpartition("/")[0])
        if token.kind == "number" or token.text == "-":
            sign = -1 if tokens.take("-") else 1
            if tokens.now.kind != "number":
                return self._skipped()
            token = tokens.next()
            with contextlib.suppress(SourceError):  # Number.MAX_VALUE is no bound
                return self._plain(sign * number_of(token))
            return self._plain(None)
        if token.text in ("true", "false", "null"):
            return self._plain({"true": True, "false": False, "null": None}[tokens.next().text])
        if token.text == "[":
            return self._plain(self._list("[", "]"))
        if token.text == "{":
            return self._object()
        if token.text == "(" and tokens.ahead().text == ")" and tokens.ahead(2).text == "=>":
            for _ in range(3):
                tokens.next()
            return self._value()
        if token.kind == "name":
            return self._named()
        return self._skipped()

    def _plain(self, value: Any) -> Any:
        """A literal; more code behind it (``as const``, ``+ 1``) is skipped."""
        if self._tokens.now.text not in (",", ")", "]", "}", ";", ""):
            self._skipped()
        return value

    def _named(self) -> Any:
        tokens = self._tokens
        token = tokens.next()
        if token.text == "z":
            path = []
            while tokens.take("."):
                path.append(tokens.next().text)
            if tokens.now.text != "(":
                return self._skipped()
            return self._chain(base(path, Arguments(self._list("(", ")"), token.line)))
        if token.text in self._constants:
            self._define(token.text)
            if token.text not in self.definitions.schemas:
                return self._skipped()
            return self._chain(Zod({"$ref": f"#/$defs/{token.text}"}))
        if token.text[:1].isupper() and tokens.now.text in (",", ")", "]", "}"):
            raise SourceError(f"{token.text} is not defined in this text. Paste it too.", token.line)
        return self._skipped()

    def _chain(self, value: Zod) -> Zod:
        tokens = self._tokens
        while tokens.take("."):
            token = tokens.next()
            if tokens.now.text != "(":  # .shape, .options
                continue
            arguments = Arguments(self._list("(", ")"), token.line)
            if not chained(value, token.text, arguments, self._resolved):
                self.skipped.append((token.text, token.line))
        return value

    def _resolved(self, schema: dict[str, Any]) -> dict[str, Any]:
        target = schema.get("$ref")
        return self.definitions.schemas[target.removeprefix("#/$defs/")] if isinstance(target, str) else schema

    def _list(self, opening: str, closing: str) -> list[Any]:
        tokens = self._tokens
        tokens.need(opening)
        values = []
        while not tokens.take(closing):
            if tokens.now.kind == "end":
                raise tokens.error(f"'{closing}' is missing before the end.")
            values.append(self._value())
            if not tokens.take(",") and tokens.now.text != closing:
                self._skipped()
                tokens.take(",")
        return values

    def _object(self) -> dict[str, Any]:
        tokens = self._tokens
        tokens.need("{")
        found: dict[str, Any] = {}
        while not tokens.take("}"):
            if tokens.now.kind == "end":
                raise tokens.error("'}' is missing before the end.")
            if tokens.take("..."):
                spread = self._value()
                if isinstance(spread, Zod):  # ...Base.shape
                    fields = self._resolved(spread.schema)
                    for name, inner in fields.get("properties", {}).items():
                        found[name] = Zod(inner, name not in fields.get("required", ()))
            elif is_getter(tokens):
                name = tokens.next().text
                for text in ("(", ")"):
                    tokens.need(text)
                while not tokens.take("return") and tokens.now.kind != "end":
                    tokens.next()
                found[name] = self._value()
                tokens.take(";")
                tokens.need("}")
            else:
                token = tokens.next()
                name = text_of(token) if token.kind == "text" else token.text
                found[name] = self._value() if tokens.take(":") else self._shorthand(name)
            if not tokens.take(",") and tokens.now.text != "}":
                raise tokens.error(f"',' or '}}' is missing before '{tokens.now.text or 'the end'}'.")
        return found

    def _shorthand(self, name: str) -> Any:
        """``{ Line }``; other names, and methods, are code."""
        if name in self._constants and self._tokens.now.text in (",", "}"):
            self._define(name)
            return Zod({"$ref": f"#/$defs/{name}"}) if name in self.definitions.schemas else None
        return self._skipped()

    def _skipped(self) -> None:
        """Takes other code up to the end of an argument."""
        tokens = self._tokens
        while tokens.now.text not in (",", ")", "]", "}", ";") and tokens.now.kind != "end":
            if tokens.now.text in ("(", "[", "{"):
                tokens.skip_group()
            else:
                tokens.next()
