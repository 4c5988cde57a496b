"""Unknown keywords: notes of other tools, or misspelled rules."""

from functools import lru_cache
from typing import Any

from slmstudio.contract.schema.keywords import DEFINITIONS, LISTS, MAPS, SINGLES, TYPES

#: keyword -> the types its value has
_RULES: dict[str, tuple[type, ...]] = {
    **{key: (dict,) for key in MAPS if key not in DEFINITIONS},
    **dict.fromkeys(LISTS, (list,)),
    **dict.fromkeys(SINGLES, (dict, bool, list)),
    **dict.fromkeys(
        ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength"),
        (int, float, object),
    ),
    **dict.fromkeys(("minItems", "maxItems", "minProperties", "maxProperties", "minContains", "maxContains"), (int,)),
    "type": (str, list),
    "enum": (list,),
    "const": (object,),
    "pattern": (str,),
    "required": (list,),
    "uniqueItems": (bool,),
    "dependentRequired": (dict,),
    "$ref": (str,),
}
#: words of other tools that are near a keyword
_OTHER = {"cost", "note", "notes", "formats", "requires", "when", "them", "tape", "ref"}
_SHORT = 4


def meant(key: str, value: Any) -> str:
    """The rule that an unknown keyword is a misspelling of; "" if it is a note."""
    if key in _OTHER:
        return ""
    for rule, types in _RULES.items():
        if isinstance(value, types) and is_near(key, rule) and _suits(rule, value):
            return rule
    return ""


def _suits(rule: str, value: Any) -> bool:
    if rule == "type":
        return value in TYPES or (isinstance(value, list) and all(item in TYPES for item in value))
    if rule in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength"):
        return not isinstance(value, bool | str | list | dict)
    return True


@lru_cache(maxsize=10_000)
def is_near(key: str, rule: str) -> bool:
    """Whether a word is another spelling of a keyword or type, or one mistake away from it (two if it is long)."""
    if key.lower() == rule.lower() or key.replace("_", "").replace("-", "").lower() == rule.lower():
        return True
    if len(rule) <= _SHORT:
        return rule in ("type", "enum") and len(key) == len(rule) and _distance(key, rule, 1) <= 1
    allowed = 2 if len(rule) >= 10 else 1
    return abs(len(key) - len(rule)) <= allowed and _distance(key, rule, allowed) <= allowed


def _distance(word: str, other: str, limit: int) -> int:
    """The optimal string alignment distance: insertions, deletions, substitutions, swaps of neighbors."""
    before: list[int] = []
    last = list(range(len(other) + 1))
    for row, first in enumerate(word, 1):
        line = [row]
        for column, second in enumerate(other, 1):
            cost = min(last[column] + 1, line[-1] + 1, last[column - 1] + (first != second))
            if row > 1 and column > 1 and first == other[column - 2] and word[row - 2] == second:
                cost = min(cost, before[column - 2] + 1)
            line.append(cost)
        if min(line) > limit:
            return limit + 1
        before, last = last, line
    return last[-1]
