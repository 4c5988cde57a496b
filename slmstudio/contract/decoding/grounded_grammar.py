"""The grammar of a document for grounded decoding (``grounding``), in llguidance's Lark."""

from functools import lru_cache
from typing import Any

from slmstudio.contract.decoding.grammar import limits
from slmstudio.contract.decoding.grounding import (
    MAX_SPANS,
    GroundingPlan,
    SimplifiedSchema,
    amounts,
    collapse_spaces,
    is_array,
    is_at_or_below,
    is_object,
    split_chunks,
)
from slmstudio.contract.decoding.schema import Place
from slmstudio.contract.json_text import dumps
from slmstudio.contract.schema.compiled import CompiledSchema
from slmstudio.contract.schema.structure import join

#: maxLength up to which the length of a grounded field is enforced in the grammar; longer ones are checked afterwards
_MAX_COUNTED_LENGTH = 1000

#: one character of a text as written in JSON
_LETTER = r"""(\\u[a-fA-F0-9]{4}|\\[^u]|[^\\])"""
#: any field name, as a terminal of llguidance's Lark
_NAME = r"""/"(\\(["\\\/bfnrt]|u[a-fA-F0-9]{4})|[^"\\\x00-\x1f\x7f])*"/"""


def grammar_of(compiled: CompiledSchema, ground: GroundingPlan, text: str) -> str:
    """The grammar of one document in llguidance's Lark: compact JSON in schema order, grounded fields from ``text``.

    Without grounded fields it is the grammar of the schema, in a form that llama.cpp supports, too.
    """
    return _Writer(SimplifiedSchema(compiled), ground, text).grammar()


@lru_cache(maxsize=1)
def _bytes() -> Any:
    from llguidance import LLTokenizer

    return LLTokenizer("byte")


def is_accepted(made: str, text: str) -> bool:
    """Whether a text matches a Lark grammar, or is a prefix of a match."""
    from llguidance import LLMatcher

    matcher = LLMatcher(_bytes(), LLMatcher.grammar_from_lark(made), log_level=0, limits=limits())
    tokens = list(text.encode())
    return not matcher.is_error() and int(matcher.validate_tokens(tokens)) == len(tokens)


class _Writer:
    """Writes rules for the path to each grounded field; the rest is left to llguidance's own JSON Schema."""

    def __init__(self, simple: SimplifiedSchema, ground: GroundingPlan, text: str) -> None:
        self._simple = simple
        self._text = collapse_spaces(text)
        self._chunks = split_chunks(self._text)
        # Nothing can be copied from an empty document; required fields could then not be written at all.
        self._held = ground.held if self._text else {}
        self._known = ground.known
        self._rules: list[str] = []

    def grammar(self) -> str:
        start = self._value(self._simple.root, "") if self._held else self._json(self._simple.root)
        if self._held:
            pieces = [dumps(chunk)[1:-1] for chunk in self._chunks]
            self._rules.append(f"TEXT: %regex {dumps({'substring_chunks': pieces})}")
            alone = "".join(f" | {dumps(amount)}" for amount in amounts(self._text))
            self._rules.append(f"ONE: (TEXT & /(?s:[^ ](.*[^ ])?)/){alone}")
            self._rules.append("WORDS: TEXT & /(?s:[^ ]+ .*[^ ])/")
        return "\n".join(["%llguidance {}", f"start: {start}", *self._rules, ""])

    def _rule(self, body: str, *, terminal: bool = False) -> str:
        name = f"{'T' if terminal else 'r'}{len(self._rules)}"
        self._rules.append(f"{name}: {body}")
        return name

    def _value(self, place: Place, pattern: str) -> str:
        """The name of the rule of a value."""
        solid, nullable = self._simple.solid(place)
        body = None
        if pattern in self._held:
            body = self._copied(solid, self._held[pattern], self._known.get(pattern, ()))
        elif is_at_or_below(pattern, self._held) or not pattern:
            body = self._object(solid, pattern) if is_object(solid) else None
            body = self._array(solid, pattern) if is_array(solid) else body
        if body is None:
            return self._json(place)
        return self._rule(f'{body} | "null"' if nullable else body)

    def _json(self, place: Place) -> str:
        return self._rule(f"%json {dumps(self._simple.json(place))}")

    def _copied(self, schema: dict[str, Any], joins: tuple[str, ...], known: tuple[str, ...]) -> str | None:
        """The terminal of a text from the document, with its quotes; None if it has no span of that length."""
        least, most = int(schema.get("minLength", 0)), schema.get("maxLength")
        body = "ONE"
        if most is not None and int(most) <= _MAX_COUNTED_LENGTH and not joins:
            if not self._has_stretch(max(1, least), int(most)):
                return None if least else self._rule(r'"\"\""', terminal=True)
            body = f"(ONE & /{_LETTER}{{{max(1, least)},{int(most)}}}/)"
        elif joins:
            between = " | ".join(dumps(one) for one in joins)
            body = f"(ONE | WORDS (({between}) WORDS){{1,{MAX_SPANS - 1}}})"
        if fitting := [value for value in known if least <= len(value) <= (len(value) if most is None else int(most))]:
            body = f"({body} | {' | '.join(dumps(dumps(value)[1:-1]) for value in fitting)})"
        if least == 0:
            body = f"({body})?"
        return self._rule(rf'"\"" {body} "\""', terminal=True)

    def _has_stretch(self, least: int, most: int) -> bool:
        """Whether the document has a span of that many characters."""
        sizes = [0 if chunk == " " else len(chunk) for chunk in self._chunks]
        for start, size in enumerate(sizes):
            total = 0
            for end in range(start, len(sizes)) if size else ():
                total += sizes[end] or 1
                if total > most:
                    break
                if sizes[end] and total >= least:
                    return True
        return False

    def _object(self, schema: dict[str, Any], pattern: str) -> str:
        """Fields in schema order; optional ones may be left out, with their comma."""
        required = set(schema.get("required", ()))
        members = [
            (f"{dumps(f'{dumps(name)}:')} {self._value(inner, join(pattern, name))}", name in required)
            for name, inner in schema["properties"].items()
            if inner is not False
        ]
        if schema["additionalProperties"] is not False:
            other = self._rule(f'{self._other_name(schema)} ":" {self._json(schema["additionalProperties"])}')
            members.append((self._rule(f'{other} ("," {other})*'), False))
        rest, first, empty = "", "", True
        for body, needed in reversed(members):
            here = f"{body} {rest}".strip()
            first, empty = (here, False) if needed else (f"{here} | {first}" if first else here, empty)
            first = self._rule(first)
            comma = f'"," {body}'
            rest = self._rule(f"{comma if needed else f'({comma})?'} {rest}".strip())
        return f'"{{" {first}{"?" if empty else ""} "}}"'

    def _other_name(self, schema: dict[str, Any]) -> str:
        """The terminal of a field name, with its quotes, other than the declared ones."""
        known = " | ".join(dumps(dumps(name)) for name in schema["properties"])
        return self._rule(f"{_NAME} & ~({known})", terminal=True)

    def _array(self, schema: dict[str, Any], pattern: str) -> str:
        least, most = int(schema.get("minItems", 0)), schema.get("maxItems")
        if most is not None and int(most) == 0:
            return '"[]"'
        item = self._value(schema["items"], f"{pattern}[]")
        more = f"{{{max(0, least - 1)},{'' if most is None else int(most) - 1}}}"
        some = item if most is not None and int(most) == 1 else f'{item} ("," {item}){more}'
        return f'"[" ({some}){"?" if least == 0 else ""} "]"'
