"""The JSON in the text that a model generated."""

import re

from slmstudio.contract.json_text import JsonError, loads

_REASONING = re.compile(r"\s*<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)", re.DOTALL)
#: of reasoning that began in the prompt
_REASONING_END = re.compile(r"</think(?:ing)?>")
_FENCE = re.compile(r"```[a-zA-Z]*[ \t]*\r?\n(.*?)```", re.DOTALL)


def strip_reasoning(content: str) -> str:
    """The output without its reasoning; "" if the reasoning does not end."""
    return content[_after_reasoning(content) :].lstrip()


def _after_reasoning(content: str) -> int:
    reasoning = _REASONING.match(content)
    if reasoning is None and content.lstrip()[:1] != "{":
        reasoning = _REASONING_END.search(content)
    return reasoning.end() if reasoning else 0


def extract_json(content: str) -> tuple[int, str]:
    """Start and text of the JSON in an output.

    Reasoning, a Markdown fence, and text outside the outermost braces are removed. Text without braces is returned
    as is. Reasoning that does not end leaves no JSON, even if it has braces.
    """
    start = _after_reasoning(content)
    fence = _FENCE.search(content, start)
    start, end = fence.span(1) if fence else (start, len(content))
    first, last = content.find("{", start, end), content.rfind("}", start, end)
    if first < 0:
        first = start
    return first, content[first : last + 1 if last >= first else end].rstrip()


def scorable_json(content: str) -> str:
    """The text of an external model that is scored: as it is where it is JSON, else the JSON in it."""
    try:
        loads(content)
    except JsonError:
        return extract_json(content)[1]
    return content
