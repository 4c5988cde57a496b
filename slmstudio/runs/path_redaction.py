"""Error messages without absolute paths, so that they do not reveal the machine's directory layout."""

import re
import sys
import tempfile
from functools import cache
from pathlib import Path

from django.conf import settings

#: other folders of a system; a JSON Pointer such as /items/0/total is not a path
_ELSEWHERE = re.compile(
    r"(?<![\w/.:~$%-])/(?:home|root|usr|var|srv|opt|tmp|mnt|media|etc|run|proc|dev|Users|private|Volumes)"
    r"(?:/[\w.+@%=-]+)*/([\w.+@%=-]+)"
)


@cache
def _roots() -> list[tuple[str, str]]:
    """The folders that the application's paths begin with, longest first, and their replacements."""
    named = {
        str(settings.HOME): "$SLM_HOME",
        sys.prefix: "python",
        str(settings.BASE_DIR): "",
        tempfile.gettempdir(): "tmp",
        str(Path.home()): "~",
    }
    return sorted(((root, name) for root, name in named.items() if root != "/"), key=lambda pair: -len(pair[0]))


def redact_paths(text: str) -> str:
    """A text whose absolute paths start at a folder of the application, or are reduced to their last part."""
    for root, name in _roots():
        text = re.sub(rf"(?<![\w/.-]){re.escape(root)}(/|(?![\w.-]))", rf"{name}\1" if name else "", text)
    return _ELSEWHERE.sub(r"\1", text)
