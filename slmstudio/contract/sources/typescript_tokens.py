"""Tokens of TypeScript: names, texts, numbers, signs and documentation comments, each with its line."""

import re
from dataclasses import dataclass
from decimal import Decimal

from slmstudio.contract.json_text import JsonError, loads, number_fits
from slmstudio.contract.sources.drafts import SourceError

_TOKEN = re.compile(
    r"""
    (?P<space>[ \t\r\n\ufeff]+)
  | (?P<doc>/\*\*(?!/)(?:[^*]|\*(?!/))*\*/)
  | (?P<comment>//[^\n]*|/\*(?:[^*]|\*(?!/))*\*/)
  | (?P<name>[^\W\d][\w]*|\$[\w$]*)
  | (?P<number>\d[\d_]*(?:\.\d+)?(?:[eE][+-]?\d+)?)
  | (?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\.)*`)
  | (?P<pattern>/(?![/*])(?:[^/\\\n\[]|\\.|\[(?:[^\]\\\n]|\\.)*\])+/[a-z]*)
  | (?P<sign>=>|\.\.\.|\?\.|[{}()\[\]<>|&:;,?=.\-+!*@/%~^#])
    """,
    re.VERBOSE,
)
_MAX_TOKENS = 200_000


@dataclass(frozen=True, slots=True)
class Token:
    """``kind``: name, number, text, pattern (a regular expression), sign or end. ``doc``: the comment before it;
    ``breaks``: a line break is before it.
    """

    kind: str
    text: str
    line: int
    doc: str = ""
    breaks: bool = False


def tokens(text: str) -> list[Token]:
    """The tokens of a text, with one of the kind ``end`` behind them.

    Raises:
        SourceError: with the line of a character that TypeScript does not have.
    """
    found: list[Token] = []
    position, line, doc, breaks = 0, 1, "", False
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None or len(found) > _MAX_TOKENS:
            raise SourceError(f"'{text[position : position + 12].splitlines()[0]}' is not expected here.", line)
        kind, word = str(match.lastgroup), match.group()
        lines = word.count("\n")
        if kind == "doc":
            doc = word
        elif kind not in ("space", "comment"):
            found.append(Token(kind, word, line, doc, breaks))
            doc, breaks = "", False
        breaks = breaks or lines > 0
        line += lines
        position = match.end()
    found.append(Token("end", "", line, "", True))
    return found


def text_of(token: Token) -> str:
    """The value of a text token."""
    inner = token.text[1:-1]
    if token.text[0] != '"':
        inner = inner.replace("\\'", "'").replace("\\`", "`").replace('\\"', '"').replace('"', '\\"')
    try:
        return str(loads(f'"{inner}"'))
    except JsonError:
        return token.text[1:-1]


def number_of(token: Token) -> int | Decimal:
    """The value of a number token.

    Raises:
        SourceError: it has more digits than the project stores.
    """
    value = Decimal(token.text.replace("_", ""))
    if not number_fits(value):
        raise SourceError(f"the number {token.text} has too many digits.", token.line)
    return int(value) if value == value.to_integral_value() else value


class Tokens:
    """A position in a list of tokens."""

    def __init__(self, text: str) -> None:
        self._all = tokens(text)
        self.position = 0

    @property
    def now(self) -> Token:
        """The next token, which stays."""
        return self._all[self.position]

    def ahead(self, count: int = 1) -> Token:
        """A token behind the next one."""
        return self._all[min(self.position + count, len(self._all) - 1)]

    def next(self) -> Token:
        """Takes a token."""
        token = self.now
        self.position = min(self.position + 1, len(self._all) - 1)
        return token

    def take(self, *texts: str) -> bool:
        """Takes the next token if it is one of these names or signs."""
        if self.now.kind in ("name", "sign") and self.now.text in texts:
            self.next()
            return True
        return False

    def need(self, text: str) -> Token:
        """Takes a sign that must be there.

        Raises:
            SourceError: it is not.
        """
        if self.now.kind not in ("name", "sign") or self.now.text != text:
            raise self.error(f"'{text}' is missing before '{self.now.text or 'the end'}'.")
        return self.next()

    def error(self, message: str) -> SourceError:
        """An error at the next token."""
        return SourceError(message, self.now.line)

    def skip_group(self) -> None:
        """Takes a bracket and all up to the one that closes it."""
        depth = 0
        while self.now.kind != "end":
            word = self.next().text
            depth += (word in ("{", "(", "[")) - (word in ("}", ")", "]"))
            if depth == 0:
                return

    def skip_statement(self) -> None:
        """Takes all up to the end of a statement: a semicolon, or a line that starts another one."""
        while self.now.kind != "end":
            if self.now.text in ("{", "(", "["):
                self.skip_group()
                if self.now.breaks and self.now.kind == "name":
                    return
                continue
            if self.take(";"):
                return
            self.next()
            if self.now.breaks and self.now.text in _STATEMENTS:
                return


_STATEMENTS = (
    "export",
    "interface",
    "type",
    "enum",
    "import",
    "const",
    "declare",
    "class",
    "function",
    "let",
    "namespace",
)
