"""Interfaces, types and enums of TypeScript source: the part of the language that describes JSON."""

from typing import Any

from slmstudio.contract.sources.drafts import Definitions, Draft, Reason
from slmstudio.contract.sources.typescript_tokens import Tokens, number_of, text_of
from slmstudio.contract.sources.typescript_types import Declaration, TypeParser, documented


def schema_from_typescript(text: str, name: str = "") -> Draft:
    """The schema of the types in a text. ``name``: the type of the document; by default the last one that no other
    refers to.

    Raises:
        SourceError: with the line of what cannot be read or is not defined.
    """
    source = _Source(text)
    chosen, names = source.definitions.document(name)
    reasons = (Reason("", f"The type {chosen}, line {source.definitions.lines[chosen]}."),)
    notes = tuple(source.notes)
    return Draft(source.definitions.schema(chosen), "typescript", reasons, notes, chosen, names)


class _Source:
    def __init__(self, text: str) -> None:
        self.definitions = Definitions()
        self.notes: list[str] = []
        self._tokens = Tokens(text)
        self._declared: dict[str, Declaration] = {}
        while self._tokens.now.kind != "end":
            self._statement()
        parser = TypeParser(self._tokens, self._declared, self.definitions, self.notes)
        for declaration in list(self._declared.values()):
            if not declaration.parameters:
                parser.define(declaration)

    def _statement(self) -> None:
        """Notes where a type is declared; its body is read once all names are known."""
        tokens = self._tokens
        doc, line = tokens.now.doc, tokens.now.line
        while tokens.take("export", "declare", "default"):
            pass
        is_constant = tokens.now.text == "const" and tokens.ahead().text == "enum"
        if is_constant:
            tokens.next()
        word = tokens.now.text
        if word == "enum":
            tokens.next()
            name = tokens.next().text
            self.definitions.parts.add(name)
            self.definitions.schemas[name] = documented(self._enum(), doc)
            self._declared[name] = Declaration(name, line, (), -1, "enum", doc)
        elif word in ("interface", "type", "class") and tokens.ahead().kind == "name":
            tokens.next()
            name = tokens.next().text
            parameters = self._parameters()
            self._declared[name] = Declaration(name, line, parameters, tokens.position, word, doc)
            self._skip_body(word)
        else:
            tokens.next()
            tokens.skip_statement()

    def _parameters(self) -> tuple[str, ...]:
        """``<T, K extends string = "a">``: the names."""
        tokens = self._tokens
        names: list[str] = []
        if not tokens.take("<"):
            return ()
        depth = 1
        expects = True
        while depth and tokens.now.kind != "end":
            token = tokens.next()
            depth += (token.text == "<") - (token.text == ">")
            if expects and token.kind == "name":
                names.append(token.text)
            expects = depth == 1 and token.text == ","
        return tuple(names)

    def _skip_body(self, word: str) -> None:
        tokens = self._tokens
        if word != "type":
            while tokens.now.text != "{" and tokens.now.kind != "end":
                tokens.next()
            tokens.skip_group()
            return
        tokens.need("=")
        # A type goes on behind an operator and over lines that start with one.
        while tokens.now.kind != "end":
            if tokens.now.text in ("{", "(", "["):
                tokens.skip_group()
            else:
                tokens.next()
            before = tokens.ahead(-1).text
            if tokens.take(";"):
                return
            goes_on = tokens.now.text in ("|", "&", ">", ",", "[", ".", "?", ":") or before in (
                "|",
                "&",
                "<",
                ",",
                "=",
                ":",
                "?",
            )
            if tokens.now.breaks and not goes_on:
                return

    def _enum(self) -> dict[str, Any]:
        tokens = self._tokens
        tokens.need("{")
        values: list[Any] = []
        while not tokens.take("}"):
            name = tokens.next()
            value: Any = values[-1] + 1 if values and isinstance(values[-1], int) else len(values)
            if tokens.take("="):
                sign = -1 if tokens.take("-") else 1
                token = tokens.next()
                if token.kind not in ("text", "number"):
                    raise tokens.error(f"the value of {name.text} in the enum is neither a text nor a number.")
                value = text_of(token) if token.kind == "text" else sign * number_of(token)
            values.append(value)
            if not tokens.take(",") and tokens.now.text != "}":
                raise tokens.error(f"',' or '}}' is missing before '{tokens.now.text or 'the end'}'.")
        if not values:
            raise tokens.error("the enum has no values.")
        types = {"string" if isinstance(value, str) else "number" for value in values}
        return {**({"type": types.pop()} if len(types) == 1 else {}), "enum": values}
