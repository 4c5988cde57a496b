"""From the letters of a document to the spelling of gold: a few rules per field, chosen on the training split.

Gold and document often differ in blanks and marks alone (``NO.1,`` and ``NO. 1,``). A rule is kept where it makes more
training values equal to gold than it spoils.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import field
from typing import Annotated, Any

from pydantic import AfterValidator
from pydantic.dataclasses import dataclass

from slmstudio.contract.values.kinds.registry import collapse, fold_coarsely
from training.strict_yaml import STRICT

Pair = tuple[str, str]
#: values a field needs of training documents before a rule is chosen
_MIN_PAIRS = 20

RULES: dict[str, Callable[[str], str]] = {
    "one blank after each comma": lambda text: re.sub(r"\s*,\s*(?=\S)", ", ", text),
    "no blank before a mark": lambda text: re.sub(r"\s+(?=[.,;:)])", "", text),
    "no blank after a full stop": lambda text: re.sub(r"\.\s+(?=\w)", ".", text),
    "one blank after a full stop between letters": lambda text: re.sub(r"(?<=[^\W\d_])\.(?=\w{2})", ". ", text),
    "no marks at the end": lambda text: text.rstrip(" .,;:"),
    "a full stop at the end": lambda text: text if text.endswith(".") else f"{text}.",
    "upper case": str.upper,
}


def _known_rule(name: str) -> str:
    if name not in RULES:
        raise ValueError(f"must be one of {', '.join(RULES)}")
    return name


@dataclass(config=STRICT)
class Spelling:
    """The rules of a field in the order in which they apply. ``known``: gold spellings of training documents by their
    letters and digits, which win over the rules.
    """

    rules: list[Annotated[str, AfterValidator(_known_rule)]] = field(default_factory=list)
    known: dict[str, str] = field(default_factory=dict)

    @classmethod
    def learn(cls, pairs: Sequence[Pair]) -> "Spelling":
        """From pairs of the text of a stretch and its gold value."""
        rules: list[str] = []
        if len(pairs) >= _MIN_PAIRS:
            while better := _best_rule(rules, pairs):
                rules.append(better)
        known = _known_spellings(rules, pairs)
        return cls(rules, known)

    def apply(self, text: str) -> str:
        """The value of a stretch."""
        plain = _applied(self.rules, collapse(text))
        return self.known.get(fold_coarsely(plain), plain)

    def state(self) -> dict[str, Any]:
        """As JSON."""
        return {"rules": self.rules, "known": self.known}


def _applied(rules: Iterable[str], text: str) -> str:
    for name in rules:
        text = RULES[name](text)
    return text


def _best_rule(rules: Sequence[str], pairs: Sequence[Pair]) -> str | None:
    """The rule that gains most when it is added; None if none gains 1% of the values."""

    def equal(chosen: Sequence[str]) -> int:
        return sum(_applied(chosen, collapse(text)) == gold for text, gold in pairs)

    before = equal(rules)
    gains = {name: equal([*rules, name]) - before for name in RULES if name not in rules}
    best = max(gains, key=lambda name: gains[name], default=None)
    return best if best is not None and gains[best] >= max(1, len(pairs) // 100) else None


def _known_spellings(rules: Sequence[str], pairs: Sequence[Pair]) -> dict[str, str]:
    """Spellings that at least two documents agree on, where their share says more than the rules do."""
    spellings: dict[str, Counter[str]] = defaultdict(Counter)
    right: Counter[str] = Counter()
    for text, gold in pairs:
        plain = _applied(rules, collapse(text))
        key = fold_coarsely(gold)
        if fold_coarsely(plain) == key:
            spellings[key][gold] += 1
            right[key] += plain == gold
    known = {}
    for key, counts in spellings.items():
        spelling, count = counts.most_common(1)[0]
        if count > 1 and count > right[key]:
            known[key] = spelling
    return known
