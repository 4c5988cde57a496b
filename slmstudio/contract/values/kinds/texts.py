"""Kinds whose values are texts, compared by their letters."""

from collections.abc import Hashable
from typing import TYPE_CHECKING

import regex

from slmstudio.contract.values.kinds.kind import Kind, compose, fold_text

if TYPE_CHECKING:
    from slmstudio.contract.schema.structure import Field

_STRING = frozenset({"string"})
_EVERYTHING = ("case", "spacing", "punctuation")
_DASHES = regex.compile(r"\p{Pd}|−")


def _identifier(text: str, field: "Field") -> Hashable:
    return "".join(_DASHES.sub("-", compose(text, "NFKC")).casefold().split())


def _exact(text: str, field: "Field") -> Hashable:
    return compose(text)


EXACT = Kind("exact", frozenset({"string", "number", "integer", "boolean", "object", "array", "any"}), _exact)
#: rows of a list, paired by similarity or by order
ARRAY = Kind("array", frozenset({"array"}), _exact)
TEXT = Kind("text", _STRING | {"any"}, lambda text, field: fold_text(text, field.ignore))
FREE = Kind("free", _STRING | {"any"}, lambda text, field: fold_text(text, _EVERYTHING), scored=False, keeps_lines=True)
ADDRESS = Kind("address", _STRING, lambda text, field: fold_text(compose(text, "NFKC"), _EVERYTHING))
IDENTIFIER = Kind("identifier", _STRING | {"integer"}, _identifier, one_line=True)
CLASS = Kind(
    "class",
    frozenset({"string", "number", "integer", "boolean"}),
    lambda text, field: compose(text).strip(),
    choice=True,
    prefixes=False,
)
