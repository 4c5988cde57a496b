"""The child process that reads uploads before their import (``review_child``).

A file that takes too much time or memory costs its own request, and no thread of the studio.
"""

import json
from decimal import Decimal
from typing import Any, Final

from labeling.imports.rows import ReadError
from slmstudio.contract.json_text import dumps
from slmstudio.runs.limited_child import CPU_SECONDS, LimitedChild, LimitError

_CHILD: Final = LimitedChild("labeling.imports.review_child")
_PROBLEMS: Final = {
    "time": f"Reading it takes more than {CPU_SECONDS:.0f} seconds. Split the file, or correct it.",
    "memory": "Reading it takes too much memory. Split the file, or correct it.",
    "failed": "It cannot be read: the file is damaged.",
}


def ask(action: str, **request: Any) -> Any:
    """The answer of the child: one of ``review_child.ACTIONS`` with these arguments.

    Raises:
        ReadError: the file cannot be read, or not within the limits.
    """
    try:
        answer = json.loads(_CHILD.ask(dumps([action, request])), parse_float=Decimal)
    except LimitError as error:
        raise ReadError(_PROBLEMS[error.what]) from None
    if "error" in answer:
        raise ReadError(answer["error"])
    return answer["value"]
