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
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from slmstudio.contract.decoding.grammar import decoder_schema
from slmstudio.contract.decoding.schema import OPTIONS, Place
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
    return [one for one in compiled.fields if one.evidence in ("expected", "required") and one.type == "string"]


# -- what gold allows -----------------------------------------------------------------------------------------------


def build_plan(compiled: CompiledSchema, rows: Iterable[tuple[str, Any]]) -> GroundingPlan:
    """The grounding of each field, from texts with their gold: training rows only, never rows of the evaluation.

    Only the first ``MAX_PLAN_DOCUMENTS`` are read.
    """
    simple = SimplifiedSchema(compiled)
    wanted = candidates(compiled)
    reached = dict(simple.texts(simple.root, "", {one.pattern for one in wanted}))
    ground = GroundingPlan()
    seen = {one.pattern: _GoldStatistics() for one in wanted}
    for text, gold in islice(rows, MAX_PLAN_DOCUMENTS):
        document = _Text(text)
        for one in wanted:
            for value in _values(gold, split(one.pattern)):
                if isinstance(value, str) and value.strip():
                    seen[one.pattern].note(document, value, as_written=one.evidence != "required")
    for one in wanted:
        why = reached.get(one.pattern, "it is in a part of the schema with several alternatives")
        if why and one.format:  # the decoder has a pattern for it
            why = "the schema sets its format"
        joins, known, doubt = seen[one.pattern].verdict(one)
        if why or doubt:
            ground.left[one.pattern] = why or doubt
        else:
            ground.held[one.pattern] = joins
            if known:
                ground.known[one.pattern] = known
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
                for one in [""] if end == len(value) else SEPARATORS:
                    after = end + len(one)
                    if not value.startswith(one, end) or (one and after >= len(value)):
                        continue
                    found = [*best[start], one] if one else best[start]
                    if len(found) < MAX_SPANS and len(found) < len(best.get(after, [*found, ""])):
                        best[after] = found
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

    def verdict(self, one: Field) -> tuple[tuple[str, ...], tuple[str, ...], str]:
        """The separators it may use and its known values, or why it is not grounded."""
        count = self.values.total()
        if not count:
            plain = one.evidence == "required" and not KINDS[one.kind].by_meaning
            return (), (), "" if plain else "no training document has a value for it"
        known = () if one.evidence == "required" else self._known()
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
    return any(one == pattern or one.startswith((f"{pattern}.", f"{pattern}[")) for one in wanted)


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
