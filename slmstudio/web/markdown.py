"""Markdown files from templates: values are escaped and render as plain text, whatever characters they contain.

Templates turn HTML escaping off and pass every value through a filter of ``slmstudio.templatetags.markdown``.
"""

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from django.template.loader import render_to_string

# Bidirectional embeddings and overrides: they change the direction of everything that follows.
_BIDI = re.compile("[\u202a-\u202e\u2066-\u2069]")
# Markdown syntax: anywhere in a line, or only at its start.
_ANYWHERE = re.compile(r"[\\`*\[\]<>|~$]|(?<![^\W_])_|_(?![^\W_])|&(?=#?\w+;)")
_AT_START = re.compile(r"^(\d+(?=[.)](?:\s|$))|(?=[#+=]|-(?!\d)))")


def printable(text: str) -> str:
    """Text without control characters, lone surrogates and bidirectional overrides; line breaks become ``\\n``."""
    text = _BIDI.sub("", "\n".join(text.replace("\t", " ").splitlines()))
    return "".join(letter for letter in text if letter == "\n" or unicodedata.category(letter) not in ("Cc", "Cs"))


def escape_line(value: Any) -> str:
    """One line of Markdown that renders as this text."""
    plain = " ".join(printable(str(value)).split())
    return _AT_START.sub(r"\1\\", _ANYWHERE.sub(r"\\\g<0>", plain))


def escape_lines(value: Any) -> str:
    """Markdown that renders as this text with its line breaks, usable in a paragraph and in a list item."""
    return "  \n  ".join(line for line in map(escape_line, printable(str(value)).split("\n")) if line)


def code(value: Any) -> str:
    """A name as inline code. A bar is escaped, because it ends a table cell even there."""
    return "`" + " ".join(printable(str(value)).split()).replace("`", "'").replace("|", "\\|") + "`"


def render_markdown(template: str, context: Mapping[str, Any]) -> str:
    """The template as a Markdown file. Runs of blank lines, which tags leave, are collapsed to one."""
    return re.sub(r"\n{3,}", "\n\n", render_to_string(template, dict(context))).strip() + "\n"
