"""HTML as the test client gets it: whitespace that a browser does not show is gone.

Templates are formatted, so text and attributes are broken over lines; a test must not depend on where.
"""

import re
from typing import Any

from django.test.client import Client

_KEPT = re.compile(r"(<(pre|textarea|script)\b.*?</\2\s*>)", re.DOTALL)
_BLOCK = (
    "address|article|aside|button|dd|details|div|dl|dt|fieldset|figcaption|footer|form|h[1-6]|header|label|legend|li|"
    "main|nav|ol|optgroup|option|p|section|select|summary|table|tbody|td|tfoot|th|thead|title|tr|ul"
)
_STEPS = (
    (re.compile(r"\s+"), " "),
    (re.compile(r" (/?>)"), r"\1"),  # the end of a tag
    (re.compile(r'(class=") ?([^"]*?) ?"'), r'\1\2"'),
    (re.compile(rf"(<(?:{_BLOCK})(?: [^<>]*)?>) "), r"\1"),  # the first of a block
    (re.compile(rf" (</(?:{_BLOCK})>)"), r"\1"),  # the last of a block
)


def collapse(html: str) -> str:
    """``html`` with one space where a browser shows one, and none at the edges of blocks."""
    parts = _KEPT.split(html)
    for index in range(0, len(parts), 3):
        for pattern, replacement in _STEPS:
            parts[index] = pattern.sub(replacement, parts[index])
    return "".join(part for index, part in enumerate(parts) if index % 3 != 2)


def collapse_responses() -> None:
    """Every HTML response of the test client from here on is collapsed."""
    request = Client.request

    def collapsed(client: Client, **environ: Any) -> Any:
        response = request(client, **environ)
        is_html = response.headers.get("Content-Type", "").startswith("text/html")
        if is_html and not response.streaming and not response.headers.get("Content-Encoding"):
            response.content = collapse(response.content.decode()).encode()
        return response

    Client.request = collapsed  # type: ignore[assignment, method-assign]
