"""The expression language of invariants: text in, a syntax tree out. It has no loops, calls or side effects.

    sum(line_items[].amount) == total_amount
    sum(line_items[].quantity * line_items[].unit_price) == net within 0.05
    due_date >= date and due_date <= date + 90
    tax == 0 or tax_id != null
    date <= today()

Operators, loosest first: ``or``, ``and``, ``not``, one comparison (``== != < <= > >=``, with ``within N`` after it),
``+ -``, ``* /``, unary ``-``. Functions: sum, count, min, max, abs, round, today (the current
date, where it is latest). Literals: numbers, "texts", true, false,
null. Paths are written as everywhere in the project; ``[]`` stands for every row.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any

from slmstudio.contract.json_text import loads

FUNCTIONS = {
    "sum": (1, 1),
    "count": (1, 1),
    "min": (1, 8),
    "max": (1, 8),
    "abs": (1, 1),
    "round": (1, 2),
    "today": (0, 0),
}
COMPARISONS = ("==", "!=", "<=", ">=", "<", ">")
_MAX_TOKENS = 200
_MAX_NESTING = 20
_WORDS = {"and", "or", "not", "within", "true", "false", "null"}
_TOKEN = re.compile(
    r"""\s*(?:
    (?P<number>\d+(?:\.\d+)?)
  | (?P<text>"(?:[^"\\]|\\.)*")
  | (?P<path>[^\W\d][\w$-]*(?:\[\]|\.[^\W\d][\w$-]*|\["(?:[^"\\]|\\.)*"\])*)
  | (?P<quoted>\["(?:[^"\\]|\\.)*"\](?:\[\]|\.[^\W\d][\w$-]*|\["(?:[^"\\]|\\.)*"\])*)
  | (?P<operator>==|!=|<=|>=|[-+*/<>(),])
    )""",
    re.VERBOSE,
)
_PATH_STEP = re.compile(r'\[\]|\["(?:[^"\\]|\\.)*"\]|[^.\[\]]+')


class ExpressionError(ValueError):
    """The text is not a valid invariant; the message says where."""


@dataclass(frozen=True, slots=True)
class Literal:
    """A number, text, true, false or null."""

    value: Any


@dataclass(frozen=True, slots=True)
class Path:
    """A path in the document; a None step stands for every row."""

    text: str
    steps: tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class Operation:
    """An operator or function with arguments. A comparison may have its own tolerance."""

    name: str
    arguments: tuple["Expression", ...]
    within: Decimal | None = None


Expression = Literal | Path | Operation


@dataclass(frozen=True, slots=True)
class Invariant:
    """A parsed rule."""

    text: str
    root: Expression

    def paths(self) -> list[tuple[str | None, ...]]:
        """The paths that the rule reads, in the order in which they are written."""
        return [node.steps for node in walk(self.root) if isinstance(node, Path)]


def walk(node: Expression) -> Iterator[Expression]:
    """A node and everything below it, in the order in which it is written."""
    yield node
    if isinstance(node, Operation):
        for argument in node.arguments:
            yield from walk(argument)


def _tokens(text: str) -> list[tuple[str, str]]:
    tokens: list[tuple[str, str]] = []
    position = 0
    end = len(text.rstrip())
    while position < end:
        match = _TOKEN.match(text, position)
        if not match:
            raise ExpressionError(f"'{text[position:].strip()[:20]}' is not valid here")
        kind = str(match.lastgroup)
        word = match[kind]
        tokens.append(("word" if kind == "path" and word in _WORDS else kind, word))
        position = match.end()
        if len(tokens) > _MAX_TOKENS:
            raise ExpressionError(f"it has more than {_MAX_TOKENS} tokens")
    return tokens


class _Parser:
    """Recursive descent, at most ``_MAX_NESTING`` brackets and signs deep."""

    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self.tokens = tokens
        self.position = 0
        self.depth = 0

    def deeper(self, part: Callable[[], Expression]) -> Expression:
        self.depth += 1
        if self.depth > _MAX_NESTING:
            raise ExpressionError(f"it is nested more than {_MAX_NESTING} deep")
        node = part()
        self.depth -= 1
        return node

    def peek(self) -> str:
        return self.tokens[self.position][1] if self.position < len(self.tokens) else ""

    def kind(self) -> str:
        return self.tokens[self.position][0] if self.position < len(self.tokens) else ""

    def take(self, *words: str) -> str:
        if self.kind() in ("operator", "word") and self.peek() in words:
            self.position += 1
            return self.tokens[self.position - 1][1]
        return ""

    def need(self, word: str) -> None:
        if not self.take(word):
            raise ExpressionError(f"'{word}' is missing before '{self.peek() or 'the end'}'")

    def disjunction(self) -> Expression:
        parts = [self.conjunction()]
        while self.take("or"):
            parts.append(self.conjunction())
        return parts[0] if len(parts) == 1 else Operation("or", tuple(parts))

    def conjunction(self) -> Expression:
        parts = [self.negation()]
        while self.take("and"):
            parts.append(self.negation())
        return parts[0] if len(parts) == 1 else Operation("and", tuple(parts))

    def negation(self) -> Expression:
        if self.take("not"):
            return Operation("not", (self.deeper(self.negation),))
        return self.comparison()

    def comparison(self) -> Expression:
        left = self.addition()
        operator = self.take(*COMPARISONS)
        if not operator:
            return left
        right = self.addition()
        if self.take(*COMPARISONS):
            raise ExpressionError("write two comparisons with 'and' between them")
        within = None
        if self.take("within"):
            if self.kind() != "number":
                raise ExpressionError("a number must follow 'within'")
            within = Decimal(self.peek())
            self.position += 1
        return Operation(operator, (left, right), within)

    def addition(self) -> Expression:
        node = self.product()
        while operator := self.take("+", "-"):
            node = Operation(operator, (node, self.product()))
        return node

    def product(self) -> Expression:
        node = self.unary()
        while operator := self.take("*", "/"):
            node = Operation(operator, (node, self.unary()))
        return node

    def unary(self) -> Expression:
        if self.take("-"):
            return Operation("negative", (self.deeper(self.unary),))
        return self.atom()

    def atom(self) -> Expression:
        if self.take("("):
            node = self.deeper(self.disjunction)
            self.need(")")
            return node
        kind, word = self.kind(), self.peek()
        if kind in ("", "operator") or word in ("and", "or", "not", "within"):
            raise ExpressionError(f"a field or a number is missing before '{word or 'the end'}'")
        self.position += 1
        if kind == "number":
            return Literal(Decimal(word))
        if kind == "text":
            return Literal(loads(word))
        if kind == "word":
            return Literal({"true": True, "false": False, "null": None}[word])
        if word in FUNCTIONS and self.peek() == "(":
            return self.call(word)
        if self.peek() == "(":
            raise ExpressionError(f"'{word}' is not a function; the functions are {', '.join(FUNCTIONS)}")
        return Path(word, tuple(_step(part) for part in _PATH_STEP.findall(word)))

    def call(self, name: str) -> Expression:
        self.need("(")
        arguments = [] if self.peek() == ")" else [self.deeper(self.addition)]
        while self.take(","):
            arguments.append(self.deeper(self.addition))
        self.need(")")
        fewest, limit = FUNCTIONS[name]
        if not fewest <= len(arguments) <= limit:
            number = {0: "no values", 1: "1 value"}.get(limit, f"{fewest} to {limit} values")
            raise ExpressionError(f"{name}() takes {number}")
        return Operation(name, tuple(arguments))


def _step(part: str) -> str | None:
    if part == "[]":
        return None
    return str(loads(part[1:-1])) if part.startswith('["') else part


def _is_test(node: Expression) -> bool:
    if isinstance(node, Operation):
        if node.name in ("and", "or", "not"):
            return all(_is_test(argument) for argument in node.arguments)
        inside = [inner for argument in node.arguments for inner in walk(argument)]
        logic = (*COMPARISONS, "and", "or", "not")
        nested = any(isinstance(inner, Operation) and inner.name in logic for inner in inside)
        return node.name in COMPARISONS and not nested
    return False


@lru_cache(maxsize=1024)
def parse(text: str) -> Invariant:
    """Parse an invariant. Raises ExpressionError with a sentence about the first error."""
    parser = _Parser(_tokens(text))
    root = parser.disjunction()
    if parser.position < len(parser.tokens):
        raise ExpressionError(f"'{parser.peek()}' is not expected here")
    if not _is_test(root):
        raise ExpressionError("it must compare something, e.g. a == b")
    return Invariant(text, root)
