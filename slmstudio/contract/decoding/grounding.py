"""Grounded decoding: the values of copied fields are restricted to text of the document.

For a field with ``evidence`` the grammar of a document allows only substrings of its text, so that the value cannot be
hallucinated. Every run of white space counts as one blank, so that a value may span lines, and a value never starts or
ends inside a word or a number.

Not every such field can be grounded: if gold is not in the text verbatim (a name in other letters, an address with a
line left out), the right answer would be forbidden. So the gold of the training split decides: a field is grounded only
if at least ``MIN_COPIED_SHARE`` of its gold values could be written, as one span of the text, as a few spans joined the
way gold joins them, or, where evidence is not required, as a known value: one that several training documents have,
although not all of their texts contain it (a supplier's address that people complete).
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from typing import Any

from slmstudio.contract.decoding.grammar import decoder_schema, limits
from slmstudio.contract.decoding.schema import OPTIONS, Place
from slmstudio.contract.json_text import dumps
from slmstudio.contract.schema.compiled import CompiledSchema
from slmstudio.contract.schema.structure import Field, join, split
from slmstudio.contract.values.kinds.registry import KINDS

#: minimum share of training gold that a grounded field must still be able to write
MIN_COPIED_SHARE = 0.9
#: separators between two spans of the text in a value that joins several
SEPARATORS = (" ", ", ", ",", "; ", " - ")
MAX_SPANS = 6
#: training documents that must have a known value, and the maximum number of known values of a field
MIN_KNOWN_DOCUMENTS = 2
MAX_KNOWN_VALUES = 300
#: training documents that a plan reads
MAX_PLAN_DOCUMENTS = 500

_CHUNK = re.compile(r"[^\W_]+(?:(?<=\d)[.,](?=\d)[^\W_]+)*|.", re.DOTALL)
# An amount may be written together with a currency of up to three letters, as in ``contract.evidence``.
_AMOUNT = re.compile(r"(?<![^\W_]{4})(?<![\d.,])\d[\d.,]*[.,]\d+(?!\d|[.,]\d)(?![^\W\d_]{4})")


@dataclass(frozen=True)
class GroundingPlan:
    """The grounding of each field: ``held`` maps the pattern of a grounded field to its separators (none: a single
    span only), ``known`` to the values that it may have without a span, ``left`` maps the pattern of an ungrounded
    field to the reason.
    """

    held: dict[str, tuple[str, ...]] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)
    known: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready; of the known values their number."""
        return {
            "held": {pattern: list(joins) for pattern, joins in self.held.items()},
            "left": dict(self.left),
            "known": {pattern: len(values) for pattern, values in self.known.items()},
        }


def collapse_spaces(text: str) -> str:
    """The text with every run of white space replaced by one blank."""
    return " ".join(text.split())


def split_chunks(text: str) -> list[str]:
    """A collapsed text in its indivisible pieces: words, numbers, and every other character by itself."""
    return _CHUNK.findall(text)


def amounts(text: str) -> list[str]:
    """Amounts that are written together with a currency: 31.00 of RM31.00. Each is a value by itself, although it
    splits a word.
    """
    ends = {0}
    for match in _CHUNK.finditer(text):
        ends.add(match.end())
    parting = (match for match in _AMOUNT.finditer(text) if not ends.issuperset(match.span()))
    return list(dict.fromkeys(match[0] for match in parting))


def candidates(compiled: CompiledSchema) -> list[Field]:
    """The free-text fields that a schema declares as copied from the document."""
    return [leaf for leaf in compiled.fields if leaf.evidence in ("expected", "required") and leaf.type == "string"]


# -- what gold allows -----------------------------------------------------------------------------------------------


def build_plan(compiled: CompiledSchema, rows: Iterable[tuple[str, Any]]) -> GroundingPlan:
    """The grounding of each field, from texts with their gold: training rows only, never rows of the evaluation.

    Only the first ``MAX_PLAN_DOCUMENTS`` are read.
    """
    simple = SimplifiedSchema(compiled)
    wanted = candidates(compiled)
    reached = dict(simple.texts(simple.root, "", {leaf.pattern for leaf in wanted}))
    ground = GroundingPlan()
    seen = {leaf.pattern: _GoldStatistics() for leaf in wanted}
    for text, gold in islice(rows, MAX_PLAN_DOCUMENTS):
        document = _Text(text)
        for leaf in wanted:
            for value in _values(gold, split(leaf.pattern)):
                if isinstance(value, str) and value.strip():
                    seen[leaf.pattern].note(document, value, as_written=leaf.evidence != "required")
    for leaf in wanted:
        why = reached.get(leaf.pattern, "it is in a part of the schema with several alternatives")
        if why and leaf.format:  # the decoder has a pattern for it
            why = "the schema sets its format"
        joins, known, doubt = seen[leaf.pattern].verdict(leaf)
        if why or doubt:
            ground.left[leaf.pattern] = why or doubt
        else:
            ground.held[leaf.pattern] = joins
            if known:
                ground.known[leaf.pattern] = known
    return ground


class _Text:
    """A document, and where values may begin and end in it."""

    def __init__(self, text: str) -> None:
        self.text = collapse_spaces(text)
        self._places: set[int] | None = None
        self._amounts: list[str] | None = None

    @property
    def places(self) -> set[int]:
        if self._places is None:
            self._places, at = {0}, 0
            for chunk in split_chunks(self.text):
                at += len(chunk)
                self._places.add(at)
        return self._places

    def holds(self, value: str) -> bool:
        """Whether a value is in the text verbatim, without splitting a word."""
        at = self.text.find(value)
        while at >= 0:
            if at in self.places and at + len(value) in self.places:
                return True
            at = self.text.find(value, at + 1)
        if self._amounts is None:
            self._amounts = amounts(self.text)
        return value in self._amounts

    def joins(self, value: str) -> list[str] | None:
        """The separators of the fewest spans of at least two words that make up a value; None if none do."""
        best: dict[int, list[str]] = {0: []}  # end of the covered part -> the separators up to there
        ends = [at for at in range(1, len(value) + 1) if at == len(value) or not value[at - 1 : at + 1].isalnum()]
        for start in [0, *ends]:
            if start not in best:
                continue
            for end in reversed([end for end in ends if end > start]):
                piece = value[start:end]
                if " " not in piece or piece != piece.strip() or not self.holds(piece):
                    continue
                for separator in [""] if end == len(value) else SEPARATORS:
                    after = end + len(separator)
                    if not value.startswith(separator, end) or (separator and after >= len(value)):
                        continue
                    separators = [*best[start], separator] if separator else best[start]
                    if len(separators) < MAX_SPANS and len(separators) < len(best.get(after, [*separators, ""])):
                        best[after] = separators
        return best.get(len(value))


class _GoldStatistics:
    """The gold of one field: how often it is one span, several spans, or not in its text verbatim."""

    def __init__(self) -> None:
        self.whole = self.pieces = 0
        self.joined: Counter[str] = Counter()
        self.values: Counter[str] = Counter()
        #: values that are not in the text of their document
        self.elsewhere: Counter[str] = Counter()

    def note(self, document: _Text, written: str, *, as_written: bool) -> None:
        """``as_written``: gold with other white space than the grammar writes counts as not in the text."""
        value = collapse_spaces(written)
        self.values[value] += 1
        if as_written and value != written:
            self.elsewhere[value] += 1
            return
        if document.holds(value):
            self.whole += 1
            return
        joins = document.joins(value)
        if joins:
            self.pieces += 1
            self.joined.update(set(joins))
        else:
            self.elsewhere[value] += 1

    def verdict(self, leaf: Field) -> tuple[tuple[str, ...], tuple[str, ...], str]:
        """The separators it may use and its known values, or why it is not grounded."""
        count = self.values.total()
        if not count:
            plain = leaf.evidence == "required" and not KINDS[leaf.kind].by_meaning
            return (), (), "" if plain else "no training document has a value for it"
        known = () if leaf.evidence == "required" else self._known()
        if self.whole >= MIN_COPIED_SHARE * count:
            return (), known, ""
        there = self.whole + self.pieces
        if there + sum(self.elsewhere[value] for value in known) >= MIN_COPIED_SHARE * count:
            return tuple(join for join in SEPARATORS if self.joined[join]), known, ""
        return (), (), f"only {there} of {count} gold values of the training split are verbatim in their documents"

    def _known(self) -> tuple[str, ...]:
        """The values of several documents that are not in each of their texts, most frequent first."""
        several = [value for value in self.elsewhere if self.values[value] >= MIN_KNOWN_DOCUMENTS]
        return tuple(sorted(several, key=lambda value: (-self.values[value], value))[:MAX_KNOWN_VALUES])


def _values(value: Any, steps: tuple[str | int | None, ...]) -> Iterator[Any]:
    """The values at a pattern in a gold value: one for each row."""
    if not steps:
        yield value
    elif steps[0] is None:
        for row in value if isinstance(value, list) else []:
            yield from _values(row, steps[1:])
    elif isinstance(value, dict) and steps[0] in value:
        yield from _values(value[steps[0]], steps[1:])


def is_at_or_below(pattern: str, wanted: Iterable[str]) -> bool:
    """Whether a wanted pattern is this one or below it."""
    return any(other == pattern or other.startswith((f"{pattern}.", f"{pattern}[")) for other in wanted)


class SimplifiedSchema:
    """The simplified schema (``contract.decoder``), traversed to find grounded fields."""

    def __init__(self, compiled: CompiledSchema) -> None:
        """Raises ValueError if no value satisfies the schema."""
        schema = decoder_schema(compiled.schema)
        self.defs: dict[str, Place] = schema["$defs"]
        self.root: Place = {key: value for key, value in schema.items() if key != "$defs"}
        if not self.root:
            raise ValueError("the decoder does not support this schema: no value satisfies it")

    def solid(self, place: Place) -> tuple[dict[str, Any], bool]:
        """The resolved schema at a place, and whether null is allowed; {} for several alternatives."""
        if not isinstance(place, dict):
            return {}, False
        if "$ref" in place:
            return self.solid(self.defs[place["$ref"].removeprefix("#/$defs/")])
        options = [option for option in place.get("anyOf", ()) if option != {"type": "null"}]
        if len(options) == 1:
            return self.solid(options[0])[0], True
        return place, False

    def texts(self, place: Place, pattern: str, wanted: set[str]) -> Iterator[tuple[str, str]]:
        """Each wanted pattern that the grammar reaches, with the reason why it is not grounded there ("" if it is)."""
        solid, _ = self.solid(place)
        if pattern in wanted:
            yield pattern, _exclusion_reason(solid)
        elif is_object(solid):
            for name, inner in solid["properties"].items():
                if is_at_or_below(join(pattern, name), wanted):
                    yield from self.texts(inner, join(pattern, name), wanted)
        elif is_array(solid) and is_at_or_below(f"{pattern}[]", wanted):
            yield from self.texts(solid["items"], f"{pattern}[]", wanted)

    def json(self, place: Place) -> dict[str, Any]:
        """A place as a standalone schema, with the definitions that it needs."""
        needed: dict[str, Place] = {}
        stack = [place]
        while stack:
            here = stack.pop()
            if isinstance(here, dict | list):
                stack.extend(here.values() if isinstance(here, dict) else here)
            elif isinstance(here, str) and here.startswith("#/$defs/"):
                name = here.removeprefix("#/$defs/")
                if name not in needed and name in self.defs:
                    needed[name] = self.defs[name]
                    stack.append(self.defs[name])
        shared = {"$defs": needed} if needed else {}
        return {**shared, **(place if isinstance(place, dict) else {}), "x-guidance": OPTIONS}


def _exclusion_reason(solid: dict[str, Any]) -> str:
    if "anyOf" in solid:
        return "it has several alternatives"
    if "enum" in solid:
        return "the schema lists its values"
    if solid.get("type") != "string":
        return "it can be another type than a string"
    return "the schema sets its pattern" if "pattern" in solid or "allOf" in solid else ""


def is_object(solid: dict[str, Any]) -> bool:
    """An object whose fields are written in order."""
    return solid.get("type") == "object" and "patternProperties" not in solid and bool(solid["properties"])


def is_array(solid: dict[str, Any]) -> bool:
    return solid.get("type") == "array" and "prefixItems" not in solid and solid["items"] is not False


# -- the grammar of a document, in llguidance's Lark -------------------------------------------------------------------

#: maxLength up to which the length of a grounded field is enforced in the grammar; longer ones are checked afterwards
_MAX_COUNTED_LENGTH = 1000

#: one character of a text as written in JSON
_LETTER = r"""(\\u[a-fA-F0-9]{4}|\\[^u]|[^\\])"""
#: any field name, as a terminal of llguidance's Lark
_NAME = r"""/"(\\(["\\\/bfnrt]|u[a-fA-F0-9]{4})|[^"\\\x00-\x1f\x7f])*"/"""


def grammar_of(
    compiled: CompiledSchema, ground: GroundingPlan, text: str, given: Mapping[str, Any] | None = None
) -> str:
    """The grammar of one document in llguidance's Lark: compact JSON in schema order, grounded fields from ``text``.

    Without grounded fields it is the grammar of the schema, in a form that llama.cpp supports, too. ``given``: the
    values of fields outside of lists and of lists as wholes, by pattern; None for an absent one, which is null or left
    out. They have no effect in a part of the schema with several alternatives.
    """
    return _Writer(SimplifiedSchema(compiled), ground, text, given or {}).grammar()


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
    """Writes rules for the path to each grounded or given field; the rest is left to llguidance's own JSON Schema."""

    def __init__(self, simple: SimplifiedSchema, ground: GroundingPlan, text: str, given: Mapping[str, Any]) -> None:
        self._simple = simple
        self._given = given
        self._present = [pattern for pattern, value in given.items() if value is not None]
        self._text = collapse_spaces(text)
        self._chunks = split_chunks(self._text)
        # Nothing can be copied from an empty document; required fields could then not be written at all.
        self._held = ground.held if self._text else {}
        self._known = ground.known
        self._rules: list[str] = []

    def grammar(self) -> str:
        start = self._value(self._simple.root, "") if self._held or self._given else self._json(self._simple.root)
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
        if pattern in self._given and (nullable or self._given[pattern] is not None):
            return self._rule(dumps(dumps(self._given[pattern])))
        if pattern in self._held:
            body = self._copied(solid, self._held[pattern], self._known.get(pattern, ()))
        elif is_at_or_below(pattern, (*self._held, *self._given)) or not pattern:
            body = self._object(solid, pattern) if is_object(solid) else None
            body = self._array(solid, pattern) if is_array(solid) else body
        if body is None:
            return self._json(place)
        is_null = nullable and not is_at_or_below(pattern, self._present)
        return self._rule(f'{body} | "null"' if is_null else body)

    def _json(self, place: Place) -> str:
        return self._rule(f"%json {dumps(self._simple.json(place))}")

    def _copied(self, schema: dict[str, Any], joins: tuple[str, ...], known: tuple[str, ...]) -> str | None:
        """The terminal of a text from the document, with its quotes; None if it has no span of that length."""
        min_length, max_length = int(schema.get("minLength", 0)), schema.get("maxLength")
        body = "ONE"
        if max_length is not None and int(max_length) <= _MAX_COUNTED_LENGTH and not joins:
            if not self._has_stretch(max(1, min_length), int(max_length)):
                return None if min_length else self._rule(r'"\"\""', terminal=True)
            body = f"(ONE & /{_LETTER}{{{max(1, min_length)},{int(max_length)}}}/)"
        elif joins:
            between = " | ".join(dumps(separator) for separator in joins)
            body = f"(ONE | WORDS (({between}) WORDS){{1,{MAX_SPANS - 1}}})"
        upper = max(map(len, known), default=0) if max_length is None else int(max_length)
        if fitting := [value for value in known if min_length <= len(value) <= upper]:
            body = f"({body} | {' | '.join(dumps(dumps(value)[1:-1]) for value in fitting)})"
        if min_length == 0:
            body = f"({body})?"
        return self._rule(rf'"\"" {body} "\""', terminal=True)

    def _has_stretch(self, min_length: int, max_length: int) -> bool:
        """Whether the document has a span of that many characters."""
        sizes = [0 if chunk == " " else len(chunk) for chunk in self._chunks]
        for start, size in enumerate(sizes):
            total = 0
            for end in range(start, len(sizes)) if size else ():
                total += sizes[end] or 1
                if total > max_length:
                    break
                if sizes[end] and total >= min_length:
                    return True
        return False

    def _object(self, schema: dict[str, Any], pattern: str) -> str:
        """Fields in schema order; optional ones may be left out, with their comma."""
        required = set(schema.get("required", ()))
        members = [
            (
                f"{dumps(f'{dumps(name)}:')} {self._value(inner, join(pattern, name))}",
                name in required or is_at_or_below(join(pattern, name), self._present),
            )
            for name, inner in schema["properties"].items()
            if inner is not False and (name in required or not self._is_absent(inner, join(pattern, name)))
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

    def _is_absent(self, place: Place, pattern: str) -> bool:
        """Whether a field is given as absent and cannot be null."""
        return pattern in self._given and self._given[pattern] is None and not self._simple.solid(place)[1]

    def _other_name(self, schema: dict[str, Any]) -> str:
        """The terminal of a field name, with its quotes, other than the declared ones."""
        known = " | ".join(dumps(dumps(name)) for name in schema["properties"])
        return self._rule(f"{_NAME} & ~({known})", terminal=True)

    def _array(self, schema: dict[str, Any], pattern: str) -> str:
        min_items, max_items = int(schema.get("minItems", 0)), schema.get("maxItems")
        if max_items is not None and int(max_items) == 0:
            return '"[]"'
        item = self._value(schema["items"], f"{pattern}[]")
        more = f"{{{max(0, min_items - 1)},{'' if max_items is None else int(max_items) - 1}}}"
        some = item if max_items is not None and int(max_items) == 1 else f'{item} ("," {item}){more}'
        return f'"[" ({some}){"?" if min_items == 0 else ""} "]"'
